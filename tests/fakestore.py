"""A store in memory, and tables that count without a pool, for tests of what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from likd.batchfile import Batch
from likd.counter import Counter
from likd.events import Counts, Rows
from likd.store import Increments, StoreError
from likd.table import Table
from tests.rows import add_rows


class FakeStore:
    """A store in memory. With `slow`, a read waits at its gates: before it looks, and before it says what it saw."""

    kind = "fake"

    def __init__(self, rows: Rows | None = None, *, slow: bool = False) -> None:
        self.applied = 0
        self.rows: Rows = rows or {}
        self.liking: set[bytes] = set()
        self.slow = slow
        self.away = False
        self.reads: list[list[str]] = []
        self.gates: list[trio.Event] = []

    async def open(self, names: Sequence[str]) -> int:
        return self.applied

    async def apply(self, increments: Increments) -> None:
        self.commit(increments)

    def commit(self, increments: Increments) -> None:
        assert increments.first > self.applied
        self.applied = increments.last
        add_rows(self.rows, increments.rows)
        for key, likes in increments.actors.items():
            (self.liking.add if likes else self.liking.discard)(key)

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        self.reads.append(list(urls))
        await self._gate()
        if self.away:
            raise StoreError("away")
        seen = self.applied, {url: self.rows[url].copy() for url in urls if url in self.rows}
        await self._gate()
        return seen

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        await self._gate()
        seen = self.applied, self.liking.intersection(keys)
        await self._gate()
        return seen

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        raise NotImplementedError

    async def aclose(self) -> None: ...

    async def _gate(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.slow:
            self.gates.append(trio.Event())
            await self.gates[-1].wait()


def post(table: Table, url: str, likes: int) -> None:
    """Count, as the event manager and the pool do."""
    counter = table.counters.get(url)
    if counter is None:
        counter = table.counters[url] = Counter(0, url=url)
        table.urls.add(url)
    counter.delta = {"likes": likes + (counter.delta or {}).get("likes", 0)}


def batch_of(table: Table, closed: float = 0.0) -> Batch:
    table.commit()
    assert table.rows is not None
    return Batch(table.id, 0.0, closed, ("likes",), table.rows)
