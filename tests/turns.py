"""How often others have their turn while something works, for tests of work that goes in steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio


@attrs.define
class Turns:
    """Turns that another task had."""

    count: int = 0

    async def take(self) -> None:
        """Have one turn after the other, until cancelled."""
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1


@asynccontextmanager
async def others_turns() -> AsyncIterator[Turns]:
    """Another task that counts the turns it has while the body of the `async with` works."""
    turns = Turns()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.take)
        yield turns
        nursery.cancel_scope.cancel()
