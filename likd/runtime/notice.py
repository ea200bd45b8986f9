"""A notice: one task is told that there is something to do, however often it is told before it comes to look."""

from __future__ import annotations

import trio


class Notice:
    """Remembers that it was given until the one task that waits for it takes it, so none is missed.

    An event that is replaced after each use does the same, at the price of an object and with a gap to watch for.
    """

    __slots__ = ("_given", "_lot")

    def __init__(self) -> None:
        self._given = False
        self._lot = trio.lowlevel.ParkingLot()

    def give(self) -> None:
        """Wake who waits; who comes later does not wait."""
        self._given = True
        self._lot.unpark()

    async def wait(self) -> None:
        """Wait until it is given, and take it. If that is cancelled, it is still there."""
        if self._given:
            await trio.lowlevel.checkpoint()
        else:
            await self._lot.park()
        self._given = False
