"""What likd requires of a store that keeps sums by site, the host of a URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import attrs

from likd.model import Counts
from likd.stores.protocol import Part, Unit

SITES_MAX = 1000
"""How many sites are returned with their history at once: those with the most likes."""
PAGES_SCANNED_MAX = 20_000
"""A longer list begins with the pages that may lead: those with the most of all time, and those active today."""

Past: TypeAlias = list[tuple[int, Counts]]
"""The counts in each unit of time that had any, oldest first; a unit's time is its beginning, in seconds since 1970."""
By: TypeAlias = Literal["likes", "change", "views", "rate", "all"]


@attrs.frozen
class Span:
    """A stretch of time (seconds since 1970), in units."""

    unit: Unit
    begin: int
    end: int


@attrs.frozen
class Site:
    """A site, how many URLs it has, its totals, and what it got in each of the requested spans."""

    host: str
    urls: int
    counts: Counts
    past: Sequence[Past] = ()


@attrs.frozen
class SitesRead:
    """The sites as of table `applied`, those with the most likes first, and their total number.

    `summed` is the part of earlier versions' counts that is included: 1 if all of it is.
    """

    applied: int
    sites: list[Site]
    total: int
    summed: float


@attrs.frozen
class PastRead:
    """The past as of table `applied`, for each requested span, and what part of it is summed up."""

    applied: int
    past: list[Past]
    summed: float = 1.0


@attrs.frozen
class PagesQuery:
    """Which pages are listed, in which order, and from where.

    Pages of `site` ("" for all) with `search` in their address; `period` (seconds since 1970) is what they are ranked
    by, `before` what it is compared with, `trend` what is included for each. They are sorted by value, then by likes
    minus unlikes of all time, then by URL; `after` is where the list continues. The pages in `without` are returned
    separately, whatever their rank, and with their trend only if no others are (a `limit` of 0).

    A store may return a long list in parts, each in this order: `since` is where it said that the next part begins.
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
    """A URL, its counts of all time, in the period and in the one before, and its trend."""

    url: str
    counts: Counts
    period: Counts
    before: Counts
    trend: Past


@attrs.frozen
class PagesRead:
    """Pages as of table `applied`: those listed, those requested by name, and their total number, if it is known.

    `goes_on` is where the next part of the list begins, None if there is none.
    """

    applied: int
    pages: list[Page]
    named: list[Page]
    total: int | None
    summed: float
    goes_on: str | None = None


@runtime_checkable
class SiteStore(Protocol):
    """Sums by site, in the same transaction as those by URL. The methods raise Unsupported if it lacks "sites"."""

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that it has."""
        ...

    async def sum_up(self) -> bool:
        """Sum up some of what earlier versions counted. Returns whether all is done. Raises StoreError."""
        ...

    async def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None = None) -> SitesRead:
        """The sites, or those in `hosts` ("" is all together), at most SITES_MAX. Raises StoreError."""
        ...

    async def past(self, spans: Sequence[Span], *, url: str = "", site: str = "") -> PastRead:
        """What a URL, a site or all sites got in each of `spans`. Raises StoreError."""
        ...

    async def remove_alias(self, old: str) -> None:
        """From now on, `old` counts for itself. Raises StoreError."""
        ...

    async def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        """How many actors like both of the URLs, given the beginnings of their actors' keys. Raises StoreError."""
        ...

    async def pages(self, query: PagesQuery) -> PagesRead:
        """Pages in some order. Raises StoreError."""
        ...


def site_store(store: object) -> SiteStore | None:
    """`store`, if it keeps sums by site."""
    return store if isinstance(store, SiteStore) and "sites" in store.parts else None


def prefixes_of(site: str) -> Iterator[tuple[str, str]]:
    """The ranges of a site's URLs: from the first, up to but not including the second."""
    for scheme in ("http", "https"):
        for end in ("/", ":"):
            yield f"{scheme}://{site}{end}", f"{scheme}://{site}{chr(ord(end) + 1)}"


def value_of(by: By, counts: Counts, period: Counts, before: Counts) -> float:
    """What a page is ranked by.

    Its likes in the period, their growth over the one before, its views, its likes per view, or its likes minus unlikes
    of all time.
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
    """Likes minus unlikes."""
    return counts.get("likes", 0) - counts.get("unlikes", 0)
