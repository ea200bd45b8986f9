"""A notice: tells one task that there is something to do, however often it is given before the task looks."""

from __future__ import annotations

import trio


class Notice:
    """Remembers that it was given until the one task that waits for it takes it, so that none is missed.

    An event that is replaced after each use does the same, but costs an object and has a gap to watch out for.
    """

    __slots__ = ("_given", "_lot")

    def __init__(self) -> None:
        self._given = False
        self._lot = trio.lowlevel.ParkingLot()

    def give(self) -> None:
        """Wake the waiting task; a task that comes later does not wait."""
        self._given = True
        self._lot.unpark()

    async def wait(self) -> None:
        """Wait until it is given, and take it. If this is cancelled, it is not taken."""
        if self._given:
            await trio.lowlevel.checkpoint()
        else:
            await self._lot.park()
        self._given = False
