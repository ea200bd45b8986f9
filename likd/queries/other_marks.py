"""How far the other nodes of a shared store are, so that no total goes back when the store does."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
import trio

GIVEN_AGAIN_SECONDS = 5.0
"""How long a node that is alive may take, at most, to give a store that went back what it lacks."""

log = structlog.get_logger(__name__)


class OtherMarks:
    """The newest marks of other nodes that were seen.

    A store that went back in time lacks what other nodes gave it, until each gives it again. Reads from before that are
    not taken, unless it does not come.
    """

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._behind_since: float | None = None
        self.given_up = 0
        """How often it did not come: totals were less from then on."""

    def take(self, marks: Mapping[int, int]) -> bool:
        """Whether what the store has as of these `marks` is to be taken. If not, ask again in a moment."""
        if not marks:
            return True
        if any(marks.get(node, mark) < mark for node, mark in self._known.items()):
            now = trio.current_time()
            if self._behind_since is None:
                self._behind_since = now
            if now - self._behind_since < GIVEN_AGAIN_SECONDS:
                return False
            lost = {node: mark for node, mark in marks.items() if mark < self._known.get(node, 0)}
            log.error("the store lost what other nodes gave it, and they do not give it again", marks=lost)
            self.given_up += 1
            self._known = {}
        self._behind_since = None
        self._known |= marks
        return True
