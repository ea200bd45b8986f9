"""likd: a like engine."""

__version__ = "0.2.0"
