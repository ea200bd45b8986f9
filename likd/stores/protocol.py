"""Stores: where totals are kept permanently. This file says what likd requires of one, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias

import attrs
import trio

from likd.errors import StoreError
from likd.model import Counts, Fold, Likings, Rows

TOTAL_MAX = 2**62
"""The largest total with starting counts: from there, single events never bring it past 63 bits."""

READ_SECONDS_MAX = 10.0
"""How long a reader waits for a store that neither answers nor fails."""


@contextmanager
def in_time() -> Iterator[None]:
    """Reads of the store finish in time, or StoreError is raised."""
    with trio.move_on_after(READ_SECONDS_MAX) as scope:
        yield
    if scope.cancelled_caught:
        raise StoreError(f"the store did not answer within {READ_SECONDS_MAX:g} s")


@attrs.define(eq=False)
class Increments:
    """What the tables `first` to `last` add to the totals: one transaction, one row per URL.

    All their events came in one minute, `minute` (minutes since 1970), so that a store can keep a history. `actors` has
    the likings of actors who liked or unliked. `merge` is carried out after all that.
    """

    first: int
    last: int
    minute: int
    rows: Rows = attrs.field(repr=False)
    actors: Likings = attrs.field(factory=dict, repr=False)
    merge: Fold | None = None

    @property
    def row_count(self) -> int:
        """How many rows the store is given."""
        return len(self.rows) + len(self.actors)

    def cut_down(self) -> None:
        """Reduce counts to TOTAL_MAX: only a faulty handler can have produced more."""
        self.rows = {url: {name: min(n, TOTAL_MAX) for name, n in counts.items()} for url, counts in self.rows.items()}


Unit: TypeAlias = Literal["minute", "hour", "day"]

UNIT_SECONDS: Mapping[Unit, int] = {"minute": 60, "hour": 3600, "day": 86_400}


@attrs.frozen
class Retention:
    """How long each unit is kept: minutes (in hours), hours (in days), days (in days)."""

    minute_hours: int = 48
    hour_days: int = 90
    day_days: int = 1830


@attrs.frozen
class Applied:
    """What increments became in a store.

    What it added to their rows by itself, and how many actors had liked both of the URLs that were merged, each of whom
    likes once from now on.
    """

    corrections: Rows = attrs.field(factory=dict)
    liked_both: int = 0


@attrs.frozen
class Folding:
    """How far the store is with its URLs.

    They were counted under `rules` ("" if unknown). If the rules have changed, they are being folded `to` the new ones,
    done up to and including the URL `after`.
    """

    rules: str
    to: str | None = None
    after: str = ""


@attrs.frozen
class News:
    """What other nodes wrote to a store.

    Their `marks`, how many `merges` there were by any node, and whether counts `changed` in another way. `urls` and
    `actors` are those affected since the last news; `urls` is None if it may be any.
    """

    marks: Mapping[int, int]
    merges: int
    changed: str
    urls: Set[str] | None = None
    actors: Set[bytes] = frozenset()
    parted: Set[str] = frozenset()
    """URLs that were aliases, and count for themselves again."""


@attrs.frozen
class Marks:
    """As of which tables the counts of some URLs are, where parts of a store have more than others.

    They are as of table `lowest`, but for the URLs in `ahead`. `corrections` are what the store added by itself to
    what it was given last of a URL.
    """

    lowest: int
    ahead: Mapping[str, int] = attrs.field(factory=dict)
    corrections: Rows = attrs.field(factory=dict)

    def of(self, url: str) -> int:
        """As of which table the counts of `url` are."""
        return self.ahead.get(url, self.lowest)


AsOf: TypeAlias = int | Marks
"""As of which table all of an answer is; or which of its URLs are as of which."""


@attrs.frozen
class SharedRead:
    """What a shared store has at one moment.

    The totals of those URLs that were asked for and have any, `as_of` its own tables; which of them were `merged`
    into which others; and the `marks` of other nodes, as far as they are known with it.
    """

    as_of: AsOf
    rows: Rows
    merged: Mapping[str, str]
    marks: Mapping[int, int]


Part: TypeAlias = Literal[
    "actors", "top lists", "history", "pages", "merging", "starting counts", "sites", "feed", "nodes", "keys"
]
"""Parts that a store may lack. Each method of a part that it lacks raises Unsupported."""


class CountStore(Protocol):
    """What counting and draining need, and every store has.

    Totals by URL, and how far they go: the id of the last applied table.
    """

    @property
    def kind(self) -> str:
        """The store's name in status and logs."""
        ...

    @property
    def node(self) -> int:
        """The small number of this data directory in the store, once it is open."""
        ...

    @property
    def epoch(self) -> int:
        """The number of this start in the store, once it is open."""
        ...

    @property
    def replay_seconds(self) -> float:
        """How long what it was given should be kept for it by default, in seconds; 0 for a local one."""
        ...

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that it has."""
        ...

    @property
    def ends(self) -> Set[int]:
        """Tables at which increments have to end that go past them, once it is open.

        A store that writes one part after the other may have been left with some parts that have what is up to there,
        and others that do not.
        """
        ...

    async def open(self, names: Sequence[str]) -> int:
        """Create or update the tables for counts with these names; return the applied mark.

        From now on this is the newest start of its data directory, and others are fenced. When opened again, the store
        may be a different one. Raises StoreError, TooNew.
        """
        ...

    async def apply(self, increments: Increments) -> Applied | None:
        """Add `increments` and move the applied mark to their last table, in one durable transaction.

        Or in one for each part of the store, so that a part has all of its increments or none: whoever repeats an
        apply gives the same increments, and gives no others before it succeeds.

        Likes minus unlikes grow by what really changed for the actors: if their likings' `net` differs, likes or
        unlikes are added to make up for it. A merge folds counts, history and actors of the old URL into the new one
        and records the alias; an actor who liked both likes once, which counts as an unlike.

        Does nothing and returns None if the mark is already there, so that an apply whose outcome was lost can be
        repeated. Raises StoreError; CountTooLarge for a count that it can't hold; Behind if the mark is lower than this
        start knew; Fenced if there is a newer start.
        """
        ...

    async def read(self, urls: Sequence[str]) -> tuple[AsOf, Rows]:
        """The totals of those `urls` that have any, and as of which mark they are. Raises StoreError."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class ActorStore(Protocol):
    """Knows who likes what."""

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        """The applied mark and those of `keys` whose actor likes the URL, as of one moment. Raises StoreError."""
        ...


class RankingStore(Protocol):
    """Knows which URLs have the most."""

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        """The applied mark and the `limit` URLs with the most of `by` (a count's name, or "net"), as of one moment.

        Highest first, ties by URL; URLs where it is 0 or less are left out. Raises StoreError.
        """
        ...


class HistoryStore(Protocol):
    """Keeps a history."""

    async def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        """What `url` got in each unit of time from `begin` up to `end` that had anything, oldest first.

        Times are seconds since 1970; a unit's time is its beginning. Raises StoreError.
        """
        ...


class PageStore(Protocol):
    """Lists everything that it has."""

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        """The totals of the next `limit` URLs after `after`, in order. Raises StoreError."""
        ...


class MergingStore(PageStore, Protocol):
    """Makes URLs parts of others: carries out the merges in increments, and folds by new rules."""

    async def aliases(self) -> dict[str, str]:
        """The URLs that were merged into others. Raises StoreError."""
        ...

    async def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes] = ()) -> None:
        """Fold like a merge, but without aliases, and record `folding`, in one durable transaction.

        An actor who has unliked the new URL since the first `folding` with a `to` does not like it for having liked the
        old one. Nor does one whose key is `changing`: its outcome is in increments that are still to come, and that
        were made without knowing about the old one. Raises StoreError.
        """
        ...

    async def folding(self) -> Folding:
        """Under which rules the URLs in the store were counted. Raises StoreError."""
        ...


class ImportStore(Protocol):
    """Takes starting counts."""

    async def load(self, name: str, rows: Rows, past: Mapping[int, Rows] | None = None) -> bool:
        """Add `rows` in one durable transaction, only once for each `name`. Returns whether they were added now.

        Rows of merged URLs count for the new ones. `past` says which of them came in which minute (minutes since 1970),
        for the history. Raises StoreError, TotalTooLarge.
        """
        ...

    async def loaded(self, name: str) -> bool:
        """Whether rows were loaded under that name. Raises StoreError."""
        ...


class FeedStore(Protocol):
    """Is shared by several data directories, and tells each what the others wrote."""

    async def news(self, last: News | None) -> News:
        """What is new since the `last` news. Raises StoreError."""
        ...

    async def read_shared(self, urls: Sequence[str]) -> SharedRead:
        """Like `read`, plus what only a shared store can tell. Raises StoreError."""
        ...


class Store(CountStore, ActorStore, RankingStore, HistoryStore, MergingStore, ImportStore, FeedStore, Protocol):
    """A store as the daemon uses it: counts, plus the other parts that it has."""


class NativeStore(Store, Protocol):
    """A store that keeps nobody from working while it waits, and so needs no thread."""

    wall_clock: Callable[[], float]
    """The time by which old history is removed."""

    async def peek(self) -> int:
        """The applied mark of a store that is not open, and in which nothing is changed. Raises StoreError."""
        ...

    async def newest(self) -> float:
        """When anything was counted last (seconds since 1970), 0 if it does not know; asked before it is open."""
        ...

    async def warnings(self) -> list[str]:
        """Which settings of its servers break promises; asked before it is open. Raises StoreError."""
        ...
