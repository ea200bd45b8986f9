"""Stores: where totals live for good. This file says what likd asks of one, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias

import attrs
import trio

from likd.errors import StoreError
from likd.model import Counts, Fold, Likings, Rows

TOTAL_MAX = 2**62
"""Starting counts bring totals so far at most: events, one by one, never bring them past 63 bits from there."""

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
    `actors` says what became of actors who liked or unliked. `merge` is done after all of it.
    """

    first: int
    last: int
    minute: int
    rows: Rows = attrs.field(repr=False)
    actors: Likings = attrs.field(factory=dict, repr=False)
    merge: Fold | None = None

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
class Retention:
    """For how long each unit is kept: minutes for so many hours, hours for so many days, days for so many days."""

    minute_hours: int = 48
    hour_days: int = 90
    day_days: int = 1830


@attrs.frozen
class Applied:
    """What a store made of increments.

    What it added to their rows by itself, and how many actors had liked both of the URLs that were merged, each of whom
    likes once from now on.
    """

    corrections: Rows = attrs.field(factory=dict)
    liked_both: int = 0


@attrs.frozen
class Folding:
    """How far the store is with its URLs.

    They are made by `rules` ("" if that is not known). If others hold by now, they are on the way `to` these, done up
    to and with the URL `after`.
    """

    rules: str
    to: str | None = None
    after: str = ""


@attrs.frozen
class News:
    """What other nodes brought into a store.

    Their `marks`, how many `merges` there were by any node, and whether counts `changed` otherwise. `urls` and `actors`
    are whom it is about since the last news; `urls` is None if it may be about any.
    """

    marks: Mapping[int, int]
    merges: int
    changed: str
    urls: Set[str] | None = None
    actors: Set[bytes] = frozenset()


Part: TypeAlias = Literal["actors", "top lists", "history", "pages", "merging", "starting counts", "sites", "feed"]
"""What a store may lack. Each method of a part that it lacks raises Unsupported."""


class CountStore(Protocol):
    """What counting and draining need, and every store has.

    Totals by URL, and how far they go, which is the id of the last table that was applied.
    """

    @property
    def kind(self) -> str:
        """What the store is called in status and logs."""
        ...

    @property
    def node(self) -> int:
        """The small number of this data directory in the store, once it is open."""
        ...

    @property
    def epoch(self) -> int:
        """Which of its lives in the store this is, once it is open."""
        ...

    @property
    def replay_seconds(self) -> float:
        """How long what it was given should be kept for it, if nothing else is said; 0 for one that is not far."""
        ...

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that it has."""
        ...

    async def open(self, names: Sequence[str]) -> int:
        """Get ready for counts of these names, made new or brought up to date; return the applied mark.

        From now on this is the newest life of its data directory, and others are fenced. Opened again, the store may
        be another than before. Raises StoreError, TooNew.
        """
        ...

    async def apply(self, increments: Increments) -> Applied | None:
        """Add `increments` and move the applied mark to their last table, in one durable transaction.

        Likes less unlikes grow by what really became of the actors: where their likings' `net` is something else,
        as many likes or unlikes are added as make up for it. A merge folds counts, history and actors of the old
        URL into the new one and notes the alias; whoever liked both likes once, which counts as an unlike.

        Does nothing and returns None if the mark is there already, so that an apply whose outcome was lost can be
        repeated. Raises StoreError, CountTooLarge for a count that it can't hold; Behind if the mark is behind what
        this life knew, Fenced if there is a newer one.
        """
        ...

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        """The applied mark and the totals of those `urls` that have any, of one moment. Raises StoreError."""
        ...

    async def aclose(self) -> None:
        """Let go of all connections."""
        ...


class ActorStore(Protocol):
    """Knows who likes what."""

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        """The applied mark and those of `keys` whose actor likes the URL, of one moment. Raises StoreError."""
        ...


class RankingStore(Protocol):
    """Knows which URLs have the most."""

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        """The applied mark and the `limit` URLs with the most of `by` (a count's name, or "net"), of one moment.

        Highest first, ties by URL; URLs where it is 0 or less are left out. Raises StoreError.
        """
        ...


class HistoryStore(Protocol):
    """Knows what came when."""

    async def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        """What `url` got in each unit of time from `begin` until before `end` that had anything, oldest first.

        Times are seconds since 1970, those of a unit its beginning. Raises StoreError.
        """
        ...


class PageStore(Protocol):
    """Lists all that it has."""

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        """The totals of the next `limit` URLs in their order, after `after`. Raises StoreError."""
        ...


class MergingStore(PageStore, Protocol):
    """Makes URLs parts of others: does the merges that come with increments, and folds by new rules."""

    async def aliases(self) -> dict[str, str]:
        """The URLs that were merged into others. Raises StoreError."""
        ...

    async def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes] = ()) -> None:
        """Fold as a merge does, without aliases, and note `folding`, in one durable transaction.

        An actor who unliked the new URL since the first `folding` with a `to` does not like it for having liked the
        old one. Nor does one of the keys that are `changing`: increments that are to come have what becomes of it, and
        were made without knowing of the old one. Raises StoreError.
        """
        ...

    async def folding(self) -> Folding:
        """By which rules the URLs in the store were made. Raises StoreError."""
        ...


class ImportStore(Protocol):
    """Takes starting counts."""

    async def load(self, name: str, rows: Rows, past: Mapping[int, Rows] | None = None) -> bool:
        """Add `rows` in one durable transaction, once for each `name`: whether this was the time.

        Rows of URLs that were merged count for the new ones. `past` says which of them came in which minute (minutes
        since 1970), for the history. Raises StoreError, TotalTooLarge.
        """
        ...

    async def loaded(self, name: str) -> bool:
        """Whether rows were loaded by that name. Raises StoreError."""
        ...


class FeedStore(Protocol):
    """Is shared by several data directories, and tells each what the others brought."""

    async def news(self, last: News | None) -> News:
        """What there is since the `last` news. Raises StoreError."""
        ...


class Store(CountStore, ActorStore, RankingStore, HistoryStore, MergingStore, ImportStore, FeedStore, Protocol):
    """A store as a daemon holds it: counts, and such of the other parts as it has."""
