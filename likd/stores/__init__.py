"""Where totals are kept permanently."""
