"""Waiting: consecutive tables that are given to the store in one transaction."""

from __future__ import annotations

import attrs

from likd.durability.batch_file import Batch
from likd.model import Counts, Rows, add, add_likings
from likd.stores.protocol import Increments

TRANSACTION_ROWS_MAX = 65_536
"""Up to how many rows waiting tables are merged: more in one transaction would save little and hold the store long."""
TRANSACTION_BYTES_MAX = 16 << 20
"""The same for the bytes of their URLs."""
TRANSACTION_ACTORS_MAX = 8192
"""The same for actors: each is a row, and all are settled in one step."""


@attrs.define(eq=False)
class Waiting:
    """Consecutive tables that will be applied together; `frozen` once that has been tried.

    `sums` has the sums of each table; `url_bytes` is the size of their URLs.
    """

    increments: Increments
    sums: dict[int, Counts]
    since: float
    url_bytes: int
    frozen: bool = False

    @property
    def tables(self) -> list[int]:
        """The tables' ids, in order."""
        return list(self.sums)

    def take_along(self, batch: Batch, rows_max: int) -> bool:
        """Let `batch` be applied with these, if a transaction of `rows_max` rows has room. Returns whether it has."""
        increments = self.increments
        fresh = batch.rows.keys() - increments.rows.keys()
        url_bytes = self.url_bytes + sum(map(len, fresh))
        actors = len(increments.actors) + len(batch.actors)
        if (
            len(increments.rows) + len(fresh) + actors > rows_max
            or url_bytes > TRANSACTION_BYTES_MAX
            or actors > TRANSACTION_ACTORS_MAX
        ):
            return False
        _merge(increments.rows, batch.rows)
        add_likings(increments.actors, batch.actors)
        increments.last = batch.table_id
        self.sums[batch.table_id] = batch.sums
        self.url_bytes = url_bytes
        return True


def _merge(rows: Rows, more: Rows) -> None:
    """Add `more` to `rows`; counts that are new there are taken over as they are, the others are copied."""
    if rows.keys().isdisjoint(more):
        rows.update(more)
        return
    for url, counts in more.items():
        mine = rows.get(url)
        if mine is not None:
            counts = counts.copy()
            add(counts, mine)
        rows[url] = counts
