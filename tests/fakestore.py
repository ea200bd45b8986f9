"""A store in memory, and tables that count without a pool, for tests of what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from likd.counting.actors import Actors
from likd.counting.aliases import Aliases
from likd.counting.counter import UrlCounter
from likd.counting.ledger import Ledger
from likd.counting.table import Table
from likd.counting.waiting import TRANSACTION_ROWS_MAX
from likd.durability.batch_file import Batch
from likd.errors import StoreError
from likd.model import Counts, Rows
from likd.queries.top_lists import value
from likd.queries.totals import Totals
from likd.runtime.cooperative import finish
from likd.stores.protocol import Applied, Increments, Part
from tests.rows import add_rows


def totals_over(
    store: Any,
    *,
    applied: int = 0,
    cache_urls_max: int,
    actors: Actors | None = None,
    aliases: Aliases | None = None,
    transaction_rows_max: int = TRANSACTION_ROWS_MAX,
) -> Totals:
    """Totals over `store` and a ledger in which nothing is."""
    ledger = Ledger(
        applied=applied,
        actors=actors or Actors(store, applied=applied, cached_max=cache_urls_max),
        aliases=aliases,
        transaction_rows_max=transaction_rows_max,
    )
    return Totals(store, ledger, cache_urls_max=cache_urls_max)


class FakeStore:
    """A store in memory. With `slow`, a read waits at its gates: before it looks, and before it says what it saw."""

    kind = "fake"
    node = epoch = 1
    replay_seconds = 0.0
    parts: frozenset[Part] = frozenset(("actors", "top lists", "pages"))
    ends: frozenset[int] = frozenset()

    def __init__(self, rows: Rows | None = None, *, slow: bool = False) -> None:
        self.applied = 0
        self.rows: Rows = rows or {}
        self.liking: set[bytes] = set()
        self.slow = slow
        self.away = False
        self.reads: list[list[str]] = []
        self.tops = 0
        self.gates: list[trio.Event] = []

    async def open(self, names: Sequence[str]) -> int:
        return self.applied

    async def apply(self, increments: Increments) -> Applied | None:
        await trio.lowlevel.checkpoint()
        if increments.last <= self.applied:
            return None
        self.commit(increments)
        return Applied()

    def commit(self, increments: Increments) -> None:
        assert increments.first > self.applied
        self.applied = increments.last
        add_rows(self.rows, increments.rows)
        for key, (likes, _) in increments.actors.items():
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
        self.tops += 1
        await self._gate()
        if self.away:
            raise StoreError("away")
        seen = self.applied, best(self.rows, by, limit)
        await self._gate()
        return seen

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        await self._gate()
        return sorted((url, counts.copy()) for url, counts in self.rows.items() if url > after)[:limit]

    async def aclose(self) -> None: ...

    async def _gate(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.slow:
            self.gates.append(trio.Event())
            await self.gates[-1].wait()


def best(rows: Rows, by: str, limit: int) -> list[tuple[str, Counts]]:
    """The top list of `rows`, the plain way."""
    ranked = sorted(rows.items(), key=lambda item: (-value(item[1], by), item[0]))
    return [(url, counts.copy()) for url, counts in ranked if value(counts, by) > 0][:limit]


def post(table: Table, url: str, n: int, name: str = "likes") -> None:
    """Count, as the event manager and the pool do."""
    counter = table.counters.get(url)
    if counter is None:
        counter = table.counters[url] = UrlCounter(0, url=url)
        table.urls.add(url)
    delta = counter.delta or {}
    counter.delta = {**delta, name: n + delta.get(name, 0)}
    table.posts += 1


def batch_of(table: Table, closed: float = 0.0) -> Batch:
    if table.rows is None:
        finish(table.commit(lambda _: None))
    assert table.rows is not None
    return Batch(table.id, 0.0, closed, ("likes",), table.rows)
