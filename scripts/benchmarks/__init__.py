"""likd beside its peers and its own past, measured in one run, every sum checked."""
