"""The store of a simulated world: the embedded one, which goes away and comes back, and sometimes commits unsaid.

Several nodes may share it, which the embedded one is not made for beyond what a simulation asks: it tells each what the
others brought.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from likd.errors import StoreAway, StoreError
from likd.model import Counts, Fold, IdempotencyKey, Rows
from likd.stores.keys import Claim, Settled
from likd.stores.protocol import Applied, Folding, Increments, News, SharedRead
from likd.stores.sqlite import merges
from likd.stores.sqlite.history import newest
from likd.stores.sqlite.store import SqliteDatabase
from likd.stores.threaded import ThreadedStore
from tests.stores.site_sums import sums_off

T = TypeVar("T")
_numbers = count()


COPIES_MAX = 3


@attrs.define
class Timeline:
    """What all clients of a database have in common: what it was earlier, if it `keeps_copies`, and what was told."""

    keeps_copies: bool = False
    went_back: int = 0
    corrections: int = 0
    copies: list[sqlite3.Connection] = attrs.field(factory=list)
    feed: dict[str, list[Increments]] = attrs.field(factory=dict)
    """What the store took of each data directory, in the order in which it did."""


class SimDatabase(SqliteDatabase):
    """An SqliteDatabase in memory: what is committed outlives every crash. Its `timeline` says whether it goes back.

    It does not go back behind what no table brings again: starting counts, and folding by other rules. One that is
    made with the `uri` and the `timeline` of another is a second client of the same database.
    """

    def __init__(
        self,
        url_key: Callable[[str], bytes] | None = None,
        *,
        uri: str = "",
        source: str = "simulated",
        timeline: Timeline | None = None,
    ) -> None:
        super().__init__(Path("simulated"), source, url_key=url_key)
        self.uri = uri or f"file:simulated-{next(_numbers)}?mode=memory&cache=shared"
        self.timeline = timeline or Timeline()
        self.replay_seconds = 0.0
        # There is something to be seen before it is opened, and as long as this is open.
        self._sight = self._connect()
        if not uri:
            self.open(())
            self.close()
        self.transactions: list[tuple[int, int]] = []

    @property
    def applied(self) -> int:
        return self._applied(self._sight)

    def newest(self) -> float:
        return newest(self._sight)

    @property
    def rows(self) -> Rows:
        return self._counts.rows(self._sight.execute(self._counts.select))

    @property
    def liking(self) -> set[bytes]:
        return {key for (key,) in self._sight.execute("SELECT key FROM actors")}

    @property
    def merged(self) -> dict[str, str]:
        return merges.aliases(self._sight)

    @property
    def site_sums_off(self) -> list[str]:
        """Where the sums by site are not those of the URLs."""
        return sums_off(self._sight, self._counts.names)

    def history_of(self, url: str) -> Counts:
        """All that the history has of `url`."""
        return {
            name: n for name in self._counts.names if (n := sum(day[1].get(name, 0) for day in self._read_days(url)))
        }

    def _read_days(self, url: str) -> list[tuple[int, Counts]]:
        row = self._sight.execute("SELECT id FROM counts WHERE url = ?", (url,)).fetchone()
        return [] if row is None else self._history.read(self._sight, row[0], "day", 0, 1 << 40)

    def apply(self, increments: Increments, now: int) -> Applied | None:
        if self.applied < increments.last:
            assert increments.first > self.applied, f"{increments} is applied in part"
        applied = super().apply(increments, now)
        if applied is not None:
            self.transactions.append((increments.first, increments.last))
            self.timeline.corrections += len(applied.corrections)
            self.timeline.feed.setdefault(self.chain.source, []).append(increments)
            if self.timeline.keeps_copies:
                self.keep_copy()
        return applied

    def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]) -> None:
        super().fold(folds, folding, changing)
        self.timeline.copies.clear()

    def load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int) -> bool:
        loaded = super().load(name, rows, past, now)
        self.timeline.copies.clear()
        return loaded

    def keep_copy(self) -> None:
        """Keep what is there now, to go back to."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        self._sight.backup(copy)
        self.timeline.copies = [*self.timeline.copies[1 - COPIES_MAX :], copy]

    def go_back(self, rng: random.Random) -> bool:
        """Be what it was at an earlier time, if a copy is kept: whether one was."""
        timeline = self.timeline
        if not timeline.copies:
            return False
        at = rng.randrange(len(timeline.copies))
        timeline.copies[at].backup(self._sight)
        del timeline.copies[at + 1 :]
        timeline.went_back += 1
        marks = dict(self._sight.execute("SELECT source, table_id FROM applied"))
        timeline.feed = {
            source: [each for each in told if each.last <= marks.get(source, 0)]
            for source, told in timeline.feed.items()
        }
        return True

    def _identity(self) -> None:
        """It is in memory."""

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.uri, uri=True, isolation_level=None)


_KEYS = """
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY, source TEXT, epoch INTEGER, digest BLOB, events INTEGER, done INTEGER
)
"""


class SharedSimDatabase(SimDatabase):
    """One that several nodes share, each told what the others brought."""

    def news(self, last: News | None) -> News:
        query = (
            "SELECT source, node, epoch, coalesce(table_id, 0) FROM nodes LEFT JOIN applied USING (source)"
            " WHERE source <> ?"
        )
        others = self._sight.execute(query, (self.chain.source,)).fetchall()
        marks = {node: mark for _, node, _, mark in others}
        loads = self._sight.execute("SELECT count(*) FROM loads").fetchone()
        changed = f"{loads} {merges.folding(self._sight)} {[epoch for _, _, epoch, _ in others]}"
        merged = len(self.merged)
        if last is None or changed != last.changed:
            return News(marks, merged, changed)
        urls: set[str] = set()
        actors: set[bytes] = set()
        for source, node, _, mark in others:
            known = last.marks.get(node, 0)
            told = [each for each in self.timeline.feed.get(source, ()) if each.last > known]
            if mark < known or (mark > known and (not told or told[0].first > known + 1)):
                return News(marks, merged, changed)
            for each in told:
                urls.update(each.rows)
                actors.update(each.actors)
        return News(marks, merged, changed, urls, actors)

    def read_shared(self, urls: Sequence[str]) -> SharedRead:
        applied, rows = self.read(urls)
        merged = self.merged
        return SharedRead(applied, rows, {url: merged[url] for url in urls if url in merged}, self._marks())

    def open(self, names: tuple[str, ...]) -> int:
        self._sight.execute(_KEYS)
        return super().open(names)

    def claim_keys(self, asked: Sequence[IdempotencyKey], settled: Settled, window_seconds: float) -> list[Claim]:
        source, sight = self.chain.source, self._sight
        for key in settled.released:
            sight.execute("DELETE FROM keys WHERE key = ? AND source = ? AND NOT done", (key.key, source))
        for key, events in settled.done:
            sight.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (key) DO UPDATE SET done = 1,"
                " events = excluded.events WHERE source = excluded.source",
                (key.key, source, self.chain.epoch, key.digest, events),
            )
        return [self._claim(key) for key in asked]

    def _claim(self, key: IdempotencyKey) -> Claim:
        query = "SELECT source, digest, events, done FROM keys WHERE key = ?"
        row = self._sight.execute(query, (key.key,)).fetchone()
        if row is None or (row[0] == self.chain.source and not row[3]):
            values = (key.key, self.chain.source, self.chain.epoch, key.digest)
            self._sight.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, 0, 0)", values)
            return Claim("mine")
        _, digest, events, done = row
        if digest != key.digest:
            return Claim("reused")
        return Claim("taken", events) if done else Claim("pending")

    def claims_left(self) -> list[IdempotencyKey]:
        query = "SELECT key, digest FROM keys WHERE source = ? AND epoch < ? AND NOT done"
        found = self._sight.execute(query, (self.chain.source, self.chain.epoch))
        return [IdempotencyKey(key, digest) for key, digest in found]

    def _marks(self) -> dict[int, int]:
        query = "SELECT node, coalesce(table_id, 0) FROM nodes LEFT JOIN applied USING (source) WHERE source <> ?"
        return dict(self._sight.execute(query, (self.chain.source,)))


class SimStore(ThreadedStore):
    """A SimDatabase that works in no thread.

    `faults` is the chance that it does not answer: half of these times it has not done either what was asked. What was
    asked when the power failed may come to it later, if there is somebody to bring it `late`.
    """

    def __init__(
        self,
        rng: random.Random,
        url_key: Callable[[str], bytes] | None = None,
        *,
        wall_clock: Callable[[], float] = lambda: 1_790_000_000.0,
        uri: str = "",
        database: SimDatabase | None = None,
        late: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        self.database = database or SimDatabase(url_key, uri=uri)
        super().__init__(self.database, wall_clock=wall_clock)
        self._rng = rng
        self._late = late
        self.faults = 0.0
        self.off = False

    @property
    def applied(self) -> int:
        return self.database.applied

    @property
    def rows(self) -> Rows:
        return self.database.rows

    @property
    def newest(self) -> float:
        return self.database.newest()

    @property
    def transactions(self) -> list[tuple[int, int]]:
        return self.database.transactions

    async def open(self, names: Sequence[str]) -> int:
        await trio.sleep(self._rng.random() * 0.01)
        if self.database.replay_seconds and self._rng.random() < self.faults:
            raise StoreAway("the store is away")
        return self.database.open(tuple(names))

    async def aliases(self) -> dict[str, str]:
        return self.database.aliases()

    async def folding(self) -> Folding:
        return self.database.folding()

    async def aclose(self) -> None:
        self.database.close()

    async def _call(
        self, limiter: trio.CapacityLimiter, work: Callable[..., T], *args: object, abandon: bool = False
    ) -> T:
        await trio.lowlevel.checkpoint()
        await self._travel()
        if self.off:
            if self._late is not None and limiter is self._writing:
                self._late(partial(work, *args))
            await trio.sleep_forever()
        self._fail()
        try:
            done = work(*args)
        except sqlite3.Error as error:
            raise StoreError(f"sqlite: {error}") from error
        await self._travel()
        if self.off:
            await trio.sleep_forever()
        self._fail()
        return done

    async def _travel(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self._rng.random() * 0.01)

    def _fail(self) -> None:
        if self._rng.random() < self.faults:
            raise StoreError("the store is away")
