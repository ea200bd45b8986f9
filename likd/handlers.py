"""The old place of `likd.plugins.handlers`, for packages that import from it. It goes with version 0.3."""

from __future__ import annotations

import warnings

from likd.plugins import handlers as _handlers


def __getattr__(name: str) -> object:
    found: object = getattr(_handlers, name)
    warnings.warn("likd.handlers is likd.plugins.handlers now", DeprecationWarning, stacklevel=2)
    return found
