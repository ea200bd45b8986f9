"""likd: a like engine."""

__version__ = "0.1.0"
