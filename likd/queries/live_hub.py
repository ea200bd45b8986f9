"""The live hub: the totals and rates of everything that is watched."""

from __future__ import annotations

import math

import attrs
import structlog
import trio

from likd.errors import StoreError
from likd.model import Counts
from likd.queries.site_watch import SiteWatch, WatchedSite
from likd.queries.top_lists import TopList, TopLists
from likd.queries.totals import Totals
from likd.queries.trending import By, Hot, HotUrl
from likd.runtime.notice import Notice

RATE_SECONDS = 3.0
"""The time constant of rates: after this long, two thirds of a burst are forgotten."""

URLS_AT_ONCE = 300
"""How many URLs a step of a look handles: about half a millisecond's worth."""

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class Watched:
    """A watched URL: its total, its rate (events per second), and when either last changed."""

    counts: Counts
    rate: float = 0.0
    version: int = 0
    watchers: int = 0


@attrs.define(eq=False)
class WatchedTop:
    """A watched top list."""

    top: TopList
    rates: dict[str, float] = attrs.field(factory=dict)
    version: int = 0
    watchers: int = 0


@attrs.frozen
class LiveHubStatistics:
    """What is watched."""

    urls_watched: int
    """How many distinct URLs are watched."""


class LiveHub:
    """Adds up what is watched once every `interval_seconds`, however many are watching, and gives notice of news.

    A watcher keeps the version it last saw and asks for changes since then, so it gets the newest state and can never
    fall behind. Nothing here waits for a watcher.
    """

    def __init__(
        self,
        *,
        totals: Totals,
        top: TopLists,
        interval_seconds: float,
        sites: SiteWatch | None = None,
    ) -> None:
        self._totals = totals
        self._top = top
        self._interval = interval_seconds
        self._urls: dict[str, Watched] = {}
        self._tops: dict[tuple[str, int], WatchedTop] = {}
        self._sites = sites
        self._hot = Hot(totals)
        self._hot_watchers = 0
        self._listeners: set[Notice] = set()
        self._wanted = Notice()
        self.version = 0
        self.closing = trio.Event()

    def statistics(self) -> LiveHubStatistics:
        """What is watched, in numbers."""
        return LiveHubStatistics(self.urls_watched)

    @property
    def urls_watched(self) -> int:
        """How many distinct URLs are watched."""
        return len(self._urls)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look once an interval, as long as there are watchers. Works until cancelled."""
        task_status.started()
        last = trio.current_time()
        while True:
            while not self._urls and not self._tops and not self._hot_watchers and not self._sites:
                await self._wanted.wait()
                last = trio.current_time()
            await trio.sleep(self._interval)
            now = trio.current_time()
            try:
                await self._look(max(now - last, 1e-9))
            except StoreError as error:
                log.warning("live totals are waiting for the store", fault=str(error))
            last = now

    async def watch(self, *urls: str) -> None:
        """Begin to watch canonical `urls`; their totals are known when this returns. Raises StoreError."""
        found: dict[str, Counts] = {}
        # Asked again: who watched one of them when this began may watch it no longer.
        while unknown := [url for url in urls if url not in self._urls and url not in found]:
            found.update(await self._totals.counts(unknown[:URLS_AT_ONCE]))
        for url in urls:
            watched = self._urls.get(url)
            if watched is None:
                watched = self._urls[url] = Watched(found[url], version=self.version)
            watched.watchers += 1
        self._wanted.give()

    def unwatch(self, url: str) -> None:
        """Remove one watcher of `url`."""
        watched = self._urls[url]
        watched.watchers -= 1
        if not watched.watchers:
            del self._urls[url]

    def watched(self, url: str) -> Watched:
        """The newest state of a watched URL."""
        return self._urls[url]

    async def watch_top(self, by: str, limit: int) -> None:
        """Begin to watch a top list; it is known when this returns. Raises StoreError."""
        if (by, limit) not in self._tops:
            top = await self._top(by, limit)
            self._tops.setdefault((by, limit), WatchedTop(top, version=self.version))
        self._tops[by, limit].watchers += 1
        self._wanted.give()

    def unwatch_top(self, by: str, limit: int) -> None:
        """Remove one watcher of the top list."""
        watched = self._tops[by, limit]
        watched.watchers -= 1
        if not watched.watchers:
            del self._tops[by, limit]

    def watched_top(self, by: str, limit: int) -> WatchedTop:
        """The newest state of a watched top list."""
        return self._tops[by, limit]

    async def watch_hot(self, by: By = "events", site: str = "") -> None:
        """Begin to watch which URLs are hottest, by what is counted after this returns.

        However many watch, the hottest of all and of each site are looked at once.
        """
        self._hot_watchers += 1
        try:
            await self._hot.start()
        except BaseException:
            self.unwatch_hot()
            raise
        self._wanted.give()

    def unwatch_hot(self, by: By = "events", site: str = "") -> None:
        """Remove one watcher of the hottest URLs."""
        self._hot_watchers -= 1
        if not self._hot_watchers:
            self._hot.stop()

    def hottest(self, limit: int, by: By = "events", site: str = "") -> list[HotUrl]:
        """The URLs with the most events, or likes, per second now, of all sites or one; empty if nobody watches."""
        return self._hot.hottest(limit, by, site)

    async def watch_site(self, host: str) -> None:
        """Begin to watch the sums of a site, or of all (""); they are known when this returns. Raises StoreError."""
        if self._sites is None:
            raise StoreError("there are no sums by site")
        await self._sites.watch(host, self.version)
        self._wanted.give()

    def unwatch_site(self, host: str) -> None:
        """Remove one watcher of the site."""
        if self._sites is not None:
            self._sites.unwatch(host)

    def watched_site(self, host: str) -> WatchedSite:
        """The newest state of a watched site."""
        assert self._sites is not None
        return self._sites[host]

    def listen(self, notice: Notice) -> None:
        """From now on, give `notice` after each look that found a change."""
        self._listeners.add(notice)

    def unlisten(self, notice: Notice) -> None:
        """Stop giving `notice`."""
        self._listeners.discard(notice)

    async def _look(self, elapsed: float) -> None:
        """Look at everything that is watched, in steps. What changed gets the next version, announced at the end."""
        version = self.version + 1
        changed = self._hot.begun
        try:
            await self._hot.sample(elapsed)
            urls = list(self._urls)
            for begin in range(0, len(urls), URLS_AT_ONCE):
                totals = await self._totals.counts(urls[begin : begin + URLS_AT_ONCE])
                for url, counts in totals.items():
                    watched = self._urls.get(url)
                    if watched is not None:
                        changed |= self._update(watched, counts, elapsed, version)
                await trio.lowlevel.checkpoint()
            if self._sites is not None:
                changed |= await self._sites.sample(
                    version, lambda rate, before, now: _rate(rate, before, now, elapsed)
                )
            limits: dict[str, int] = {}
            for by, limit in self._tops:
                limits[by] = max(limit, limits.get(by, 0))
            tops = {by: await self._top(by, limit) for by, limit in limits.items()}
            for (by, limit), watched_top in list(self._tops.items()):
                if limit <= limits.get(by, 0):
                    changed |= self._update_top(watched_top, tops[by][:limit], elapsed, version)
                    await trio.lowlevel.checkpoint()
        finally:
            # Even if the store failed after the first changes: those are not found again.
            if changed:
                self.version = version
                self._tell()

    def _tell(self) -> None:
        for notice in self._listeners:
            notice.give()

    def _update(self, watched: Watched, counts: Counts, elapsed: float, version: int) -> bool:
        rate = _rate(watched.rate, watched.counts, counts, elapsed)
        changed = counts != watched.counts or round(rate, 1) != round(watched.rate, 1)
        watched.counts, watched.rate = counts, rate
        if changed:
            watched.version = version
        return changed

    def _update_top(self, watched: WatchedTop, top: TopList, elapsed: float, version: int) -> bool:
        before = dict(watched.top)
        rates = {
            url: _rate(watched.rates.get(url, 0.0), before.get(url, counts), counts, elapsed) for url, counts in top
        }
        changed = top != watched.top or any(
            round(rate, 1) != round(watched.rates.get(url, 0.0), 1) for url, rate in rates.items()
        )
        watched.top, watched.rates = top, rates
        if changed:
            watched.version = version
        return changed


def _rate(rate: float, before: Counts, now: Counts, elapsed: float) -> float:
    """The rate after `elapsed` seconds; in the end it becomes zero."""
    keep = math.exp(-elapsed / RATE_SECONDS)
    # A smaller total than before: it was erased.
    grown = max(0, sum(now.values()) - sum(before.values()))
    new = rate * keep + grown / elapsed * (1 - keep)
    return new if new >= 0.05 else 0.0
