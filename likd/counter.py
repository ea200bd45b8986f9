"""The old place of `likd.plugins.observers`, for packages that import from it."""

from likd.plugins.moved import moved

__getattr__ = moved("likd.counter", "likd.plugins.observers")
