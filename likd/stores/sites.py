"""What likd asks of a store that sums up by site, the host of a URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import attrs

from likd.model import Counts
from likd.stores.protocol import Part, Unit

SITES_MAX = 1000
"""Sites whose history is told at once: those with the most likes."""
PAGES_SCANNED_MAX = 20_000
"""Of a list of more pages those that may lead come first: who has the most ever, and who got something today."""

Past: TypeAlias = list[tuple[int, Counts]]
"""What came in each unit of time that had anything, oldest first: when it began, in seconds since 1970."""
By: TypeAlias = Literal["likes", "change", "views", "rate", "all"]


@attrs.frozen
class Span:
    """A stretch of time (seconds since 1970), in units."""

    unit: Unit
    begin: int
    end: int


@attrs.frozen
class Site:
    """A site, how many URLs it has, its totals, and what it got in each of the spans asked for."""

    host: str
    urls: int
    counts: Counts
    past: Sequence[Past] = ()


@attrs.frozen
class SitesRead:
    """The sites as of table `applied`, those with the most likes first, and how many there are in all.

    `summed` is how much of what earlier versions counted is in it: 1 if all is.
    """

    applied: int
    sites: list[Site]
    total: int
    summed: float


@attrs.frozen
class PastRead:
    """The past as of table `applied`, for each span that was asked for, and how much of it is summed up."""

    applied: int
    past: list[Past]
    summed: float = 1.0


@attrs.frozen
class PagesQuery:
    """Which pages are listed, in which order, and from which on.

    Pages of `site` ("" for all), with `search` in their address; `period` (seconds since 1970) is what they are ranked
    by, `before` what it is compared with, `trend` what is told of each. They come by value, then by likes less unlikes
    ever, then by URL; `after` is where the list goes on. `without` are told apart, whatever their rank, and with their
    trend only if no others are (a `limit` of 0).

    A store may tell a list of many in parts, each in this order: `since` is where it said that the next part begins.
    """

    site: str = ""
    search: str = ""
    period: tuple[int, int] = (0, 0)
    before: tuple[int, int] = (0, 0)
    trend: Span | None = None
    by: By = "likes"
    ascending: bool = False
    limit: int = 50
    after: tuple[float, int, str] | None = None
    since: str | None = None
    without: Sequence[str] = ()


@attrs.define
class Page:
    """A URL, its counts ever, in the period and in the one before, and its trend."""

    url: str
    counts: Counts
    period: Counts
    before: Counts
    trend: Past


@attrs.frozen
class PagesRead:
    """Pages as of table `applied`: those listed, those asked for by name, and how many there are in all, if it knows.

    `goes_on` is where the part of the list after this one begins, None if there is none.
    """

    applied: int
    pages: list[Page]
    named: list[Page]
    total: int | None
    summed: float
    goes_on: str | None = None


@runtime_checkable
class SiteStore(Protocol):
    """Sums by site, in the same transaction as those by URL. Its methods raise Unsupported where it lacks "sites"."""

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that it has."""
        ...

    async def sum_up(self) -> bool:
        """Sum up some of what earlier versions counted; whether all is. Raises StoreError."""
        ...

    async def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None = None) -> SitesRead:
        """The sites, or those of `hosts` ("" is all together), SITES_MAX of them at most. Raises StoreError."""
        ...

    async def past(self, spans: Sequence[Span], *, url: str = "", site: str = "") -> PastRead:
        """What a URL, a site, or all got in each of `spans`. Raises StoreError."""
        ...

    async def remove_alias(self, old: str) -> None:
        """What comes for `old` counts for itself from now on. Raises StoreError."""
        ...

    async def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        """How many actors like both of the URLs whose actors' keys begin so. Raises StoreError."""
        ...

    async def pages(self, query: PagesQuery) -> PagesRead:
        """Pages in some order. Raises StoreError."""
        ...


def site_store(store: object) -> SiteStore | None:
    """`store`, if it sums up by site."""
    return store if isinstance(store, SiteStore) and "sites" in store.parts else None


def value_of(by: By, counts: Counts, period: Counts, before: Counts) -> float:
    """What a page is ranked by.

    Its likes in the period, by how many more that is than before, its views, its likes per view, or its likes less
    unlikes ever.
    """
    match by:
        case "likes":
            return period.get("likes", 0)
        case "change":
            return period.get("likes", 0) - before.get("likes", 0)
        case "views":
            return period.get("impressions", 0)
        case "rate":
            return period.get("likes", 0) / views if (views := period.get("impressions", 0)) else 0.0
        case "all":
            return net(counts)


def net(counts: Counts) -> int:
    """Likes less unlikes."""
    return counts.get("likes", 0) - counts.get("unlikes", 0)
