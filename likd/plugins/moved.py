"""Old places of what packages with handlers and observers import: each works for one minor version, and warns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module


def moved(old: str, new: str) -> Callable[[str], object]:
    """The `__getattr__` of the module `old`, whose public names are in the module `new` now."""

    def find(name: str) -> object:
        found: object = None if name.startswith("_") else getattr(import_module(new), name, None)
        if found is None:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        message = f"{old}.{name} is {new}.{name} now; the old place goes with version 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return found

    return find
