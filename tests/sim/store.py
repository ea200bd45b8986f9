"""The store of a simulated world: the embedded one, which goes away and comes back, and sometimes commits unsaid."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import trio

from likd.model import Counts, Rows
from likd.stores.protocol import Applied, Increments, StoreError
from likd.stores.sqlite.store import SqliteStore
from tests.stores.site_sums import sums_off

T = TypeVar("T")
_numbers = count()


class SimStore(SqliteStore):
    """A SqliteStore on a database in memory: what is committed outlives every crash. It works in no thread.

    `faults` is the chance that it does not answer: half of these times it has not done either what was asked.
    """

    def __init__(
        self,
        rng: random.Random,
        url_key: Callable[[str], bytes] | None = None,
        *,
        wall_clock: Callable[[], float] = lambda: 1_790_000_000.0,
    ) -> None:
        super().__init__(Path("simulated"), "simulated", wall_clock=wall_clock, url_key=url_key)
        self._rng = rng
        self._uri = f"file:simulated-{next(_numbers)}?mode=memory&cache=shared"
        # There is something to be seen before it is opened, and as long as this is open.
        self._sight = self._connect()
        self._open(())
        self.faults = 0.0
        self.off = False
        self.transactions: list[tuple[int, int]] = []
        self.corrections = 0

    @property
    def applied(self) -> int:
        return self._applied(self._sight)

    @property
    def rows(self) -> Rows:
        return self._rows(self._sight.execute(self._select))

    @property
    def liking(self) -> set[bytes]:
        return {key for (key,) in self._sight.execute("SELECT key FROM actors")}

    @property
    def merged(self) -> dict[str, str]:
        return dict(self._sight.execute("SELECT old, new FROM aliases"))

    @property
    def site_sums_off(self) -> list[str]:
        """Where the sums by site are not those of the URLs."""
        return sums_off(self._sight, self._names)

    def history_of(self, url: str) -> Counts:
        """All that the history has of `url`."""
        return {name: n for name in self._names if (n := sum(day[1].get(name, 0) for day in self._read_days(url)))}

    def _read_days(self, url: str) -> list[tuple[int, Counts]]:
        row = self._sight.execute("SELECT id FROM counts WHERE url = ?", (url,)).fetchone()
        return [] if row is None else self._history.read(self._sight, row[0], "day", 0, 1 << 40)

    async def open(self, names: Sequence[str]) -> int:
        await trio.sleep(self._rng.random() * 0.01)
        return self._open(tuple(names))

    async def apply(self, increments: Increments) -> Applied | None:
        if self.applied < increments.last:
            assert increments.first > self.applied, f"{increments} is applied in part"
        return await super().apply(increments)

    async def aclose(self) -> None:
        for connection in (self._lister, self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._lister = self._reader = self._writer = None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._uri, uri=True, isolation_level=None)

    def _apply(self, increments: Increments, now: int) -> Applied | None:
        applied = super()._apply(increments, now)
        if applied is not None:
            self.transactions.append((increments.first, increments.last))
            self.corrections += len(applied.corrections)
        return applied

    async def _in_thread(
        self, work: Callable[..., T], *args: object, limiter: trio.CapacityLimiter, abandon: bool = False
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

    async def aliases(self) -> dict[str, str]:
        return self._aliases()

    async def folding(self) -> Any:
        return self._folding()
