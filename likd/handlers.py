"""The old name of `likd.plugins.handlers`, for packages that import it. It will be removed in version 0.3."""

from __future__ import annotations

import warnings

from likd.plugins import handlers as _handlers


def __getattr__(name: str) -> object:
    found: object = getattr(_handlers, name)
    warnings.warn("likd.handlers is now likd.plugins.handlers", DeprecationWarning, stacklevel=2)
    return found
