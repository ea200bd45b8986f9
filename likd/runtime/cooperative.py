"""Cooperative work: long computations in steps, between which other tasks get their turn."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

import trio

SLICE_BYTES = 1 << 17
"""How much a step reads: about a millisecond's worth."""

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that can be paused after each step, so that other tasks get their turn; its result is what it returns."""


def finish(steps: Steps[T]) -> T:
    """Do all steps at once."""
    try:
        while True:
            next(steps)
    except StopIteration as done:
        result: T = done.value
        return result


async def finish_in_turns(steps: Steps[T]) -> T:
    """Do all steps, letting other tasks in between."""
    try:
        while True:
            next(steps)
            await trio.lowlevel.checkpoint()
    except StopIteration as done:
        result: T = done.value
        return result
