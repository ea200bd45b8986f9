"""The old place of `likd.model`, for packages that import from it."""

from likd.plugins.moved import moved

__getattr__ = moved("likd.events", "likd.model")
