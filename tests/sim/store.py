"""The store of a simulated world: the embedded one, which goes away and comes back, and sometimes commits unsaid."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TypeVar

import trio

from likd.errors import StoreAway, StoreError
from likd.model import Counts, Fold, Rows
from likd.stores.protocol import Applied, Folding, Increments
from likd.stores.sqlite import merges
from likd.stores.sqlite.history import newest
from likd.stores.sqlite.store import SqliteDatabase
from likd.stores.threaded import ThreadedStore
from tests.stores.site_sums import sums_off

T = TypeVar("T")
_numbers = count()


COPIES_MAX = 3


class SimDatabase(SqliteDatabase):
    """An SqliteDatabase in memory: what is committed outlives every crash. With `keeps_copies` it can go back in time.

    It does not go back behind what no table brings again: starting counts, and folding by other rules. One that is
    made with the `uri` of another is a second client of the same database.
    """

    def __init__(self, url_key: Callable[[str], bytes] | None = None, *, uri: str = "") -> None:
        super().__init__(Path("simulated"), "simulated", url_key=url_key)
        self.uri = uri or f"file:simulated-{next(_numbers)}?mode=memory&cache=shared"
        self.keeps_copies = False
        self.replay_seconds = 0.0
        self.went_back = 0
        self._copies: list[sqlite3.Connection] = []
        # There is something to be seen before it is opened, and as long as this is open.
        self._sight = self._connect()
        if not uri:
            self.open(())
            self.close()
        self.transactions: list[tuple[int, int]] = []
        self.corrections = 0

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
            self.corrections += len(applied.corrections)
            if self.keeps_copies:
                self.keep_copy()
        return applied

    def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]) -> None:
        super().fold(folds, folding, changing)
        self._copies.clear()

    def load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int) -> bool:
        loaded = super().load(name, rows, past, now)
        self._copies.clear()
        return loaded

    def keep_copy(self) -> None:
        """Keep what is there now, to go back to."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        self._sight.backup(copy)
        self._copies = [*self._copies[1 - COPIES_MAX :], copy]

    def go_back(self, rng: random.Random) -> bool:
        """Be what it was at an earlier time, if a copy is kept: whether one was."""
        if not self._copies:
            return False
        at = rng.randrange(len(self._copies))
        self._copies[at].backup(self._sight)
        del self._copies[at + 1 :]
        self.went_back += 1
        return True

    def _identity(self) -> None:
        """It is in memory."""

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.uri, uri=True, isolation_level=None)


class SimStore(ThreadedStore):
    """A SimDatabase that works in no thread.

    `faults` is the chance that it does not answer: half of these times it has not done either what was asked.
    """

    def __init__(
        self,
        rng: random.Random,
        url_key: Callable[[str], bytes] | None = None,
        *,
        wall_clock: Callable[[], float] = lambda: 1_790_000_000.0,
        uri: str = "",
        made: type[SimDatabase] = SimDatabase,
    ) -> None:
        self.database = made(url_key, uri=uri)
        super().__init__(self.database, wall_clock=wall_clock)
        self._rng = rng
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
        await self._talk()
        try:
            done = work(*args)
        except sqlite3.Error as error:
            raise StoreError(f"sqlite: {error}") from error
        await self._talk()
        return done

    async def _talk(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self._rng.random() * 0.01)
        if self.off:
            await trio.sleep_forever()
        if self._rng.random() < self.faults:
            raise StoreError("the store is away")
