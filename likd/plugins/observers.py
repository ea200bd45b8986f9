"""Observers: plug-ins that are told what is new of each URL. What one of them does wrong is mended by its counter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import entry_points
from typing import TypeAlias

from likd.errors import StartError

ENTRY_POINT_GROUP = "likd.observers"

Observer: TypeAlias = Callable[[str, Mapping[str, int]], Awaitable[None]]
"""Is called with a URL and how much each of its counts has grown since the last call."""


def load_observers() -> list[Observer]:
    """The observers that installed packages offer. Raises StartError for one that can't be loaded."""
    observers: list[Observer] = []
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        try:
            observers.append(entry_point.load())
        except Exception as error:
            raise StartError(f"observer {entry_point.name}: {type(error).__name__}: {error}") from error
    return observers
