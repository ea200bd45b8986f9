"""Marks: which table a store takes next from a data directory, and from which of its starts, as a chain of tables.

For each data directory, a store keeps a small node number, the epoch of its newest start, and the mark: the last table
that it has. An apply is a compare-and-set of the mark, in the transaction with its rows.
"""

from __future__ import annotations

import secrets

import attrs

from likd.errors import Behind, Fenced
from likd.stores.protocol import Increments

SCHEMA_VERSION = 1
"""The schema version of stores with tables. A store says which version can still read its tables."""


@attrs.frozen
class Entry:
    """What a store has of a data directory: the `epoch` and name of its newest `life` (or start), and its `mark`.

    One that is `retired` must not write any more.
    """

    node: int
    epoch: int
    life: str
    mark: int
    retired: bool = False


@attrs.define
class Chain:
    """What one life of a data directory knows about the chain."""

    source: str
    node: int = 0
    epoch: int = 0
    known: int = 0
    """The mark, as far as the store has confirmed it."""
    life: str = attrs.field(factory=lambda: secrets.token_hex(8))
    """Distinguishes it from another life with the same epoch, from a store that forgot one in between."""

    def begin(self, entry: Entry | None) -> int:
        """Become the newest life, with a new epoch. Returns the mark of what the store has. Raises Fenced."""
        _refuse_retired(entry)
        self.epoch = max(self.epoch, entry.epoch if entry else 0) + 1
        self.node = entry.node if entry else 0
        self.known = entry.mark if entry else 0
        return self.known

    def check(self, entry: Entry | None) -> None:
        """Make sure that this life may write. Raises Fenced, Behind."""
        _refuse_retired(entry)
        if entry is None or entry.epoch < self.epoch:
            raise Behind(entry.mark if entry else 0)
        if entry.life != self.life:
            raise Fenced(
                f"another likd that started later writes to the store for this data directory (epoch {entry.epoch},"
                f" this one has {self.epoch}): was the directory copied, or did this machine sleep?"
            )

    def is_next(self, entry: Entry | None, increments: Increments) -> bool:
        """Whether `increments` are to be applied; not if they already are. Raises Fenced, Behind."""
        self.check(entry)
        assert entry is not None
        if entry.mark >= increments.last:
            self.known = entry.mark
            return False
        if entry.mark < self.known:
            raise Behind(entry.mark)
        if entry.mark > self.known:
            raise Fenced(f"the store has table {entry.mark} of this data directory, which this likd did not write")
        return True


def _refuse_retired(entry: Entry | None) -> None:
    if entry is not None and entry.retired:
        raise Fenced(
            f"this data directory was node {entry.node} of the store, which is retired: `likd adopt` makes it a new one"
        )
