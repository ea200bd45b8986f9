"""The states of a connection of the express lane, what may follow each, and how long it waits in them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import attrs


class State(Enum):
    """What a connection does with what the client sends."""

    HEADS = auto()
    """It reads the heads of requests, with small bodies."""
    BODY = auto()
    """It receives a large body."""
    ENDING = auto()
    """It takes no more requests, and ends when what it owes is answered."""
    LINGERING = auto()
    """All is answered. The client is left time to read it: to close at once could destroy what is on its way."""
    HANDED_OVER = auto()
    """Final: somebody else goes on with it."""
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
"""What may follow each state. A connection that is in a final one takes nothing and says nothing any more."""

FINAL = tuple(state for state, following in NEXT.items() if not following)


@attrs.frozen
class Timeouts:
    """How long a connection waits, in seconds: for a head, and for its next request or for anything else."""

    head_seconds: float
    idle_seconds: float
