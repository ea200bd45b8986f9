"""A simulated store: it goes away and comes back, and sometimes commits without saying so."""

from __future__ import annotations

import random
from collections.abc import Sequence

import trio

from likd.events import Counts, Rows
from likd.store import Increments, StoreError
from tests.rows import add_rows


class SimStore:
    """Implements likd.store.Store. Commits are atomic and durable, as a database promises."""

    kind = "simulated"

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.faults = 0.0
        self.off = False
        self.applied = 0
        self.rows: Rows = {}
        self.liking: set[bytes] = set()
        self.transactions: list[tuple[int, int]] = []

    async def open(self, names: Sequence[str]) -> int:
        await trio.sleep(self._rng.random() * 0.01)
        return self.applied

    async def apply(self, increments: Increments) -> None:
        await trio.lowlevel.checkpoint()
        await self._talk()
        if increments.last > self.applied:
            assert increments.first > self.applied, f"{increments} is applied in part"
            self.applied = increments.last
            self.transactions.append((increments.first, increments.last))
            add_rows(self.rows, increments.rows)
            for key, likes in increments.actors.items():
                (self.liking.add if likes else self.liking.discard)(key)
        await self._talk()

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        await trio.lowlevel.checkpoint()
        await self._talk()
        found = self.applied, {url: self.rows[url].copy() for url in urls if url in self.rows}
        await self._talk()
        return found

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        await trio.lowlevel.checkpoint()
        await self._talk()
        found = self.applied, self.liking.intersection(keys)
        await self._talk()
        return found

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        await trio.lowlevel.checkpoint()
        await self._talk()
        ranked = sorted(self.rows.items(), key=lambda item: (-item[1].get(by, 0), item[0]))
        return self.applied, ranked[:limit]

    async def aclose(self) -> None:
        pass

    async def _talk(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self._rng.random() * 0.01)
        if self.off:
            await trio.sleep_forever()
        if self._rng.random() < self.faults:
            raise StoreError("the store is away")
