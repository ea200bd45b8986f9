"""The only way from the event loop to a database: each call runs in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import trio

from likd.model import Counts, Fold, IdempotencyKey, Rows
from likd.stores.database import Database
from likd.stores.keys import Claim, Settled
from likd.stores.nodes import Node
from likd.stores.protocol import Applied, Folding, Increments, NativeStore, News, Part, SharedRead, Store, Unit
from likd.stores.sites import PagesQuery, PagesRead, PastRead, SitesRead, Span

T = TypeVar("T")


class ThreadedStore:
    """`database` as a Store: one call at a time writes, one reads, one lists, and none holds the event loop.

    A read may be abandoned: its thread finishes it, and the next one waits for that. A write is always awaited, but an
    `open` may be abandoned, too; then the store is not used any more. `wall_clock` is the time by which old history is
    removed.
    """

    def __init__(self, database: Database, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._writing = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)
        self._listing = trio.CapacityLimiter(1)
        self._claiming = trio.CapacityLimiter(1)
        self._abandoned = False

    @property
    def kind(self) -> str:
        return self._database.kind

    @property
    def node(self) -> int:
        return self._database.chain.node

    @property
    def epoch(self) -> int:
        return self._database.chain.epoch

    @property
    def replay_seconds(self) -> float:
        return self._database.replay_seconds

    @property
    def parts(self) -> frozenset[Part]:
        return self._database.parts()

    @property
    def ends(self) -> frozenset[int]:
        return frozenset()

    async def open(self, names: Sequence[str]) -> int:
        try:
            # When opened again, it may be a different database: nobody may read meanwhile.
            async with self._reading, self._listing, self._claiming:
                return await self._call(self._writing, self._open, tuple(names), abandon=True)
        except trio.Cancelled:
            self._abandoned = True
            raise

    async def apply(self, increments: Increments) -> Applied | None:
        if increments.merge is not None and increments.merge.erases:
            # Others may write between two parts; what is cut off in between goes on when it is given again.
            while await self._call(self._writing, self._database.erase_part, increments):
                pass
        return await self._call(self._writing, self._database.apply, increments, self._now())

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        return await self._call(self._reading, self._database.read, urls)

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        return await self._call(self._reading, self._database.read_actors, keys)

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        return await self._call(self._reading, self._database.top, by, limit)

    async def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        return await self._call(self._reading, self._database.history, url, unit, begin, end)

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        return await self._call(self._reading, self._database.page, after, limit)

    async def aliases(self) -> dict[str, str]:
        return await self._call(self._writing, self._database.aliases)

    async def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes] = ()) -> None:
        await self._call(self._writing, self._database.fold, folds, folding, changing)

    async def folding(self) -> Folding:
        return await self._call(self._writing, self._database.folding)

    async def load(self, name: str, rows: Rows, past: Mapping[int, Rows] | None = None) -> bool:
        return await self._call(self._writing, self._database.load, name, rows, past or {}, self._now())

    async def loaded(self, name: str) -> bool:
        return await self._call(self._writing, self._database.loaded, name)

    async def news(self, last: News | None) -> News:
        return await self._call(self._reading, self._database.news, last)

    async def read_shared(self, urls: Sequence[str]) -> SharedRead:
        return await self._call(self._reading, self._database.read_shared, urls)

    async def beat(self, name: str, lag_seconds: float) -> Sequence[Node]:
        return await self._call(self._writing, self._database.beat, name, lag_seconds)

    async def claim_keys(
        self, asked: Sequence[IdempotencyKey], settled: Settled, window_seconds: float
    ) -> Sequence[Claim]:
        return await self._call(self._claiming, self._database.claim_keys, asked, settled, window_seconds)

    async def claims_left(self) -> Sequence[IdempotencyKey]:
        return await self._call(self._claiming, self._database.claims_left)

    async def sum_up(self) -> bool:
        return await self._call(self._writing, self._database.sum_up)

    async def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None = None) -> SitesRead:
        return await self._call(self._listing, self._database.sites, spans, hosts)

    async def past(self, spans: Sequence[Span], *, url: str = "", site: str = "") -> PastRead:
        return await self._call(self._listing, self._database.past, spans, url, site)

    async def pages(self, query: PagesQuery) -> PagesRead:
        return await self._call(self._listing, self._database.pages, query)

    async def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        return await self._call(self._listing, self._database.liked_both, old_key, new_key)

    async def remove_alias(self, old: str) -> None:
        await self._call(self._writing, self._database.remove_alias, old)

    async def aclose(self) -> None:
        if self._abandoned and self._writing.borrowed_tokens:
            # A thread may still be updating a large database; what it has not committed ends with the process.
            return
        async with self._reading, self._listing, self._claiming:
            await self._call(self._writing, self._database.close)

    def _open(self, names: tuple[str, ...]) -> int:
        try:
            return self._database.open(names)
        finally:
            if self._abandoned:
                self._database.close()

    async def _call(
        self, limiter: trio.CapacityLimiter, work: Callable[..., T], *args: object, abandon: bool = False
    ) -> T:
        abandon |= limiter is self._reading or limiter is self._listing
        try:
            return await trio.to_thread.run_sync(work, *args, limiter=limiter, abandon_on_cancel=abandon)
        except self._database.faults as fault:
            raise self._database.explain(fault) from fault

    def _now(self) -> int:
        return int(self._wall_clock() // 60)


def as_store(opened: Database | NativeStore, wall_clock: Callable[[], float] = time.time) -> Store:
    """What a URL named, as a store that removes old history by this clock."""
    if isinstance(opened, Database):
        return ThreadedStore(opened, wall_clock=wall_clock)
    opened.wall_clock = wall_clock
    return opened


async def peek(opened: Database | NativeStore) -> int:
    """The applied mark of what is not open, and in which nothing is changed. Raises StoreError."""
    if not isinstance(opened, Database):
        return await opened.peek()
    try:
        return await trio.to_thread.run_sync(opened.peek)
    except opened.faults as fault:
        raise opened.explain(fault) from fault


async def newest(opened: Database | NativeStore) -> float:
    """When anything was counted last, as far as it is known before it is open. Raises StoreError."""
    if not isinstance(opened, Database):
        return await opened.newest()
    return await trio.to_thread.run_sync(opened.newest)
