"""Backoff: how long to wait before a retry."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs


@attrs.define(eq=False)
class Backoff:
    """Pauses that double from `first_seconds` to `max_seconds`, each varied at random by a factor of 0.5 to 1.5.

    The randomness spreads retries of things that failed at the same moment.
    """

    first_seconds: float
    max_seconds: float
    jitter: Callable[[], float] = random.random
    """From 0 to 1."""
    _seconds: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reset()

    def next(self) -> float:
        """How many seconds to wait now."""
        seconds = self._seconds
        self._seconds = min(seconds * 2, self.max_seconds)
        return seconds * (0.5 + self.jitter())

    def reset(self) -> None:
        """After a success: the next pause is the first again."""
        self._seconds = self.first_seconds
