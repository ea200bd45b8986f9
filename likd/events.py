"""The old name of `likd.model`, for packages that import it. It will be removed in version 0.3."""

from likd.plugins.moved import moved

__getattr__ = moved("likd.events", "likd.model")
