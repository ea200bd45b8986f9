"""The store of a simulated world whose parts are written one after the other, so that a crash may fall in between."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import attrs
import trio

from likd.model import Rows, rename_likings
from likd.stores import rows as rows_of
from likd.stores.protocol import Applied, AsOf, Increments, Marks
from likd.stores.sqlite import actors, mark_rows, merges
from tests.sim.store import SimDatabase, SimStore

PARTS = 3


class PartedDatabase(SimDatabase):
    """A SimDatabase that takes increments in parts: each is one transaction, and the last one does the merge."""

    def open(self, names: tuple[str, ...]) -> int:
        mark = super().open(names)
        with self._transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS parts (part INTEGER PRIMARY KEY, mark INTEGER, told TEXT)")
        return mark

    def apply_part(self, part: int, increments: Increments, now: int) -> None:
        """Add what belongs to `part`, once."""
        assert self._url_key is not None
        with self._transaction() as connection:
            if not self.chain.is_next(mark_rows.read(connection, self.chain.source), increments):
                return
            mark, _ = _parts(connection).get(part, (0, {}))
            if mark >= increments.last:
                return
            assert increments.first > mark, f"{increments} is applied in part"
            rows = {url: counts for url, counts in increments.rows.items() if self.part_of(url) == part}
            changes = {key: liking for key, liking in increments.actors.items() if key[0] % PARTS == part}
            rows = rows_of.renamed(rows, merges.aliases_of(connection, rows))
            changes = rename_likings(changes, merges.alias_keys_of(connection, changes))
            off = actors.apply(connection, changes, folding=merges.is_folding(connection))
            told = rows_of.corrections(off, rows, self._url_key)
            self._history.add(
                connection, self._counts.add(connection, rows_of.summed(rows, told)), increments.minute, now
            )
            connection.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", (part, increments.last, json.dumps(told))
            )
        if self.timeline.keeps_copies:
            self.keep_copy()

    def apply(self, increments: Increments, now: int) -> Applied | None:
        """Do what is left once all parts are there."""
        told: Rows = {}
        for mark, some in _parts(self._sight).values():
            if mark == increments.last:
                told |= some
        applied = super().apply(attrs.evolve(increments, rows={}, actors={}), now)
        if applied is None:
            return None
        self.timeline.corrections += len(told)
        return attrs.evolve(applied, corrections=told)

    def read_marked(self, urls: Sequence[str]) -> tuple[AsOf, Rows]:
        """As `read`, and which of the URLs are further than the mark."""
        with self._snapshot() as connection:
            applied, rows = self._applied(connection), self._counts.read(connection, urls)
            parts = _parts(connection)
        ahead = {url: mark for url in urls if (mark := parts.get(self.part_of(url), (0, {}))[0]) > applied}
        told: Rows = {}
        for mark, some in parts.values():
            if mark > applied:
                told |= some
        return (Marks(applied, ahead, told) if ahead else applied), rows

    def ends(self) -> frozenset[int]:
        """Where parts are that are further than the mark."""
        applied = self.applied
        return frozenset(mark for mark, _ in _parts(self._sight).values() if mark > applied)

    def part_of(self, url: str) -> int:
        """Which part `url` belongs to."""
        assert self._url_key is not None
        return self._url_key(url)[0] % PARTS


class PartedStore(SimStore):
    """A PartedDatabase that works in no thread, and may fail between two parts."""

    database: PartedDatabase
    _ends: frozenset[int] = frozenset()

    @property
    def ends(self) -> frozenset[int]:
        return self._ends

    async def open(self, names: Sequence[str]) -> int:
        mark = await super().open(names)
        self._ends = self.database.ends()
        return mark

    async def apply(self, increments: Increments) -> Applied | None:
        parts = list(range(PARTS))
        self._rng.shuffle(parts)
        for part in parts:
            await self._call(self._writing, self.database.apply_part, part, increments, self._now())
            # Others come meanwhile.
            await trio.sleep(self._rng.choice([0.0, 0.1, 0.5]))
        return await super().apply(increments)

    async def read(self, urls: Sequence[str]) -> tuple[AsOf, Rows]:  # type: ignore[override]
        return await self._call(self._reading, self.database.read_marked, urls)


def _parts(connection: sqlite3.Connection) -> dict[int, tuple[int, Rows]]:
    return {part: (mark, json.loads(told)) for part, mark, told in connection.execute("SELECT * FROM parts")}
