"""The old place of `likd.plugins.handlers`, for packages that import from it."""

from likd.plugins.moved import moved

__getattr__ = moved("likd.handlers", "likd.plugins.handlers")
