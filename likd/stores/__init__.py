"""Where totals live for good."""
