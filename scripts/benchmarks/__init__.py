"""Measures likd next to its peers and its own past, in one run, with every sum checked."""
