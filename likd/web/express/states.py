"""The states of an express-lane connection, what may follow each, and how long it may wait in them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import attrs


class State(Enum):
    """What a connection does with what its client sends."""

    HEADS = auto()
    """It reads the heads of requests, with small bodies."""
    BODY = auto()
    """It receives a large body."""
    ENDING = auto()
    """It takes no more requests, and ends when all are answered."""
    LINGERING = auto()
    """Everything is answered. The client gets time to read it: closing at once could destroy what is on its way."""
    HANDED_OVER = auto()
    """Final: another lane serves it."""
    CLOSED = auto()
    """Final."""


NEXT: Mapping[State, frozenset[State]] = {
    State.HEADS: frozenset({State.BODY, State.ENDING, State.HANDED_OVER, State.CLOSED}),
    State.BODY: frozenset({State.HEADS, State.ENDING, State.CLOSED}),
    State.ENDING: frozenset({State.LINGERING, State.CLOSED}),
    State.LINGERING: frozenset({State.CLOSED}),
    State.HANDED_OVER: frozenset(),
    State.CLOSED: frozenset(),
}
"""What may follow each state. A connection in a final one neither takes nor sends anything any more."""

FINAL = tuple(state for state, following in NEXT.items() if not following)


@attrs.frozen
class Timeouts:
    """How long a connection waits, in seconds: for a head, and for its next request or anything else."""

    head_seconds: float
    idle_seconds: float
