"""Watched sites: their totals, today's likes and rate, exact, once an interval."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from likd.errors import Unsupported
from likd.model import Counts, add
from likd.queries.periods import DAY_SECONDS
from likd.queries.totals import Totals
from likd.queries.unapplied import Unapplied, beyond
from likd.stores.protocol import CountStore, in_time
from likd.stores.sites import SitesRead, Span, site_store


@attrs.define(eq=False)
class WatchedSite:
    """A watched site, or all ("")."""

    host: str
    counts: Counts = attrs.field(factory=dict)
    today: Counts = attrs.field(factory=dict)
    rate: float = 0.0
    """Recent events per second."""
    version: int = 0
    watchers: int = 0


class SiteWatch:
    """Knows the sums of the watched sites: what the store has is read again when it has more."""

    def __init__(self, store: CountStore, totals: Totals, wall_clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._totals = totals
        self._wall_clock = wall_clock
        self._unapplied = Unapplied(totals, wall_clock)
        self._sites: dict[str, WatchedSite] = {}
        self._read: SitesRead | None = None
        self._read_at: object = None

    def __len__(self) -> int:
        return len(self._sites)

    def __getitem__(self, host: str) -> WatchedSite:
        return self._sites[host]

    async def watch(self, host: str, version: int) -> None:
        """Begin to watch a site; its sums are known when this returns. Raises StoreError."""
        if host not in self._sites:
            found = await self._look([host])
            counts, today = found[host]
            self._sites.setdefault(host, WatchedSite(host, counts, today, version=version))
        self._sites[host].watchers += 1

    def unwatch(self, host: str) -> None:
        """Remove one watcher of the site."""
        watched = self._sites[host]
        watched.watchers -= 1
        if not watched.watchers:
            del self._sites[host]

    async def sample(self, version: int, next_rate: Callable[[float, Counts, Counts], float]) -> bool:
        """Look at all watched sites. What changed gets `version`. Returns whether anything did. Raises StoreError."""
        if not self._sites:
            return False
        changed = False
        found = await self._look(list(self._sites))
        for host, watched in self._sites.items():
            if host not in found:
                continue
            counts, today = found[host]
            rate = next_rate(watched.rate, watched.counts, counts)
            news = (counts, today) != (watched.counts, watched.today) or round(rate, 1) != round(watched.rate, 1)
            watched.counts, watched.today, watched.rate = counts, today, rate
            if news:
                watched.version = version
            changed |= news
        return changed

    async def _look(self, hosts: list[str]) -> dict[str, tuple[Counts, Counts]]:
        """The totals of `hosts`, and what they got today."""
        day = int(self._wall_clock()) // DAY_SECONDS
        grown = await self._unapplied.by_site()
        read = await self._base(hosts, day)
        found: dict[str, tuple[Counts, Counts]] = {host: ({}, {}) for host in hosts}
        for site in read.sites:
            if site.host in found:
                add(found[site.host][0], site.counts)
                for _, counts in site.past[0]:
                    add(found[site.host][1], counts)
        for part in beyond(grown, read.applied):
            for host, counts in part.sums.items():
                for name in {host, ""} & found.keys():
                    add(found[name][0], counts)
                    if part.minute // 1440 == day:
                        add(found[name][1], counts)
        return found

    async def _base(self, hosts: list[str], day: int) -> SitesRead:
        """What the store has of them."""
        store = site_store(self._store)
        if store is None:
            raise Unsupported(f"a {self._store.kind} store keeps no sums by site")
        at = sorted(hosts), day, self._totals.stored
        if self._read is None or self._read_at != at:
            with in_time():
                read = await store.sites([Span("day", day * DAY_SECONDS, (day + 1) * DAY_SECONDS)], sorted(hosts))
            if read.applied != at[2][0]:
                # It has more by now, or its answer about that was lost: it is asked again the next time.
                return read
            self._read, self._read_at = read, at
        return self._read
