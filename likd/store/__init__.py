"""Stores: where totals live for good. This file says what likd asks of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol, TypeAlias

import attrs
import trio

from likd.events import Counts, Rows


class StoreError(Exception):
    """The store did not do what was asked, or it is not known whether it did. Asking again is safe."""


class CountTooLarge(StoreError):
    """What was to be added is more than the store can hold; asking again is as useless as safe."""


TOTAL_MAX = 2**62
"""Starting counts bring totals so far at most: events, one by one, never bring them past 63 bits from there."""


class TotalTooLarge(Exception):
    """Starting counts would bring the total of a URL past TOTAL_MAX; none of them are added."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(f"the total of {name} would be past 2^62")
        self.url = url
        self.name = name


READ_SECONDS_MAX = 10.0
"""A reader waits so long for a store that neither answers nor fails."""


@contextmanager
def in_time() -> Iterator[None]:
    """Reads of a store are in time, or it raises StoreError."""
    with trio.move_on_after(READ_SECONDS_MAX) as scope:
        yield
    if scope.cancelled_caught:
        raise StoreError(f"the store does not answer within {READ_SECONDS_MAX:g} s")


@attrs.define(eq=False)
class Increments:
    """What the tables `first` to `last` add to the totals: one transaction, one row a URL.

    All their events were taken in one minute, `minute` (minutes since 1970), so that a store can keep a history.
    `actors` says of actors, by their keys, whether they like what they liked or unliked since.
    """

    first: int
    last: int
    minute: int
    rows: Rows = attrs.field(repr=False)
    actors: dict[bytes, bool] = attrs.field(factory=dict, repr=False)

    @property
    def size(self) -> int:
        """How many rows the store is given."""
        return len(self.rows) + len(self.actors)

    def cut_down(self) -> None:
        """Cut counts down to TOTAL_MAX: no events but only a faulty handler can have made more."""
        self.rows = {url: {name: min(n, TOTAL_MAX) for name, n in counts.items()} for url, counts in self.rows.items()}


Unit: TypeAlias = Literal["minute", "hour", "day"]

UNIT_SECONDS: Mapping[Unit, int] = {"minute": 60, "hour": 3600, "day": 86_400}


@attrs.frozen
class Merged:
    """What became of two URLs that were merged: the counts now, and how many actors had liked both."""

    counts: Counts
    liked_both: int


class Fold(NamedTuple):
    """A URL that becomes part of another, and how the keys of the actors of each begin."""

    old: str
    new: str
    old_key: bytes
    new_key: bytes


class Store(Protocol):
    """Totals by URL, and how far they go: the id of the last table that was applied."""

    kind: str

    async def open(self, names: Sequence[str]) -> int:
        """Get ready for counts of these names, made new or brought up to date; return the applied mark.

        Raises StoreError.
        """
        ...

    async def apply(self, increments: Increments) -> None:
        """Add `increments` and move the applied mark to their last table, in one durable transaction.

        Does nothing if the mark is there already, so that an apply whose outcome was lost can be repeated.
        Raises StoreError, CountTooLarge for a count that it can't hold.
        """
        ...

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        """The applied mark and the totals of those `urls` that have any, of one moment. Raises StoreError."""
        ...

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        """The applied mark and the `limit` URLs with the most of `by` (a count's name, or "net"), of one moment.

        Highest first, ties by URL; URLs where it is 0 or less are left out. Raises StoreError.
        """
        ...

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        """The applied mark and those of `keys` whose actor likes the URL, of one moment. Raises StoreError."""
        ...

    async def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        """What `url` got in each unit of time from `begin` until before `end` that had anything, oldest first.

        Times are seconds since 1970, those of a unit its beginning. Raises StoreError.
        """
        ...

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        """The totals of the next `limit` URLs in their order, after `after`. Raises StoreError."""
        ...

    async def aliases(self) -> dict[str, str]:
        """The URLs that were merged into others. Raises StoreError."""
        ...

    async def merge(self, old: str, new: str, old_key: bytes, new_key: bytes) -> Merged:
        """Fold counts, history and actors of `old` into `new` and note the alias, in one durable transaction.

        The actors' keys begin with `old_key` and `new_key`. Whoever liked both likes once from now on: that
        counts as an unlike. Raises StoreError.
        """
        ...

    async def fold(self, folds: Sequence[Fold], rules: str | None = None) -> None:
        """Fold as `merge` does, without aliases, in one durable transaction; note `rules` as those that hold now.

        Raises StoreError.
        """
        ...

    async def rules(self) -> str:
        """The rules by which the URLs in the store were made, "" if none were noted. Raises StoreError."""
        ...

    async def load(self, name: str, rows: Rows) -> bool:
        """Add `rows` in one durable transaction, once for each `name`: whether this was the time.

        Raises StoreError, TotalTooLarge.
        """
        ...

    async def aclose(self) -> None:
        """Let go of all connections."""
        ...
