"""A front's hub: the state of what its clients watch, as sent by the engine, once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import trio

from likd.queries.live_hub import Watched, WatchedTop
from likd.queries.site_watch import WatchedSite
from likd.queries.trending import By, HotUrl
from likd.runtime.notice import Notice
from likd.web.fronts.asking import Asking
from likd.web.fronts.messages import News, Topic
from likd.web.fronts.topics import STATUS, of_hot, of_site, of_top, of_url


class Mirror:
    """The hub for the clients of a front.

    A topic is requested when its first watcher comes, and given up when the last one leaves. Waiting for a topic counts
    as watching it, so one that was requested in vain is given up, too, but not while others have it.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._watchers: Counter[Topic] = Counter()
        self._urls: dict[Topic, Watched] = {}
        self._tops: dict[Topic, WatchedTop] = {}
        self._hot: dict[Topic, list[HotUrl]] = {}
        self._sites: dict[Topic, WatchedSite] = {}
        self._status: Mapping[str, object] = {}
        self._known: set[Topic] = set()
        self._untold = False
        """Whether something changed that its watchers have not been told."""
        self._listeners: set[Notice] = set()
        self.version = 0
        self.closing = trio.Event()

    def take(self, news: News) -> None:
        """The engine sends news. Anything that nobody watches any more is dropped."""
        version = self.version + 1
        for url, (counts, rate) in news.urls.items():
            if (topic := of_url(url)) in self._watchers:
                self._urls[topic] = Watched(counts, rate, self._version_of(topic, version))
        for by, limit, top, rates in news.tops:
            if (topic := of_top(by, limit)) in self._watchers:
                self._tops[topic] = WatchedTop(top, rates, self._version_of(topic, version))
        for by, site, hottest in news.hot:
            if (topic := of_hot(by, site)) in self._watchers:
                self._hot[topic] = [HotUrl(*each) for each in hottest]
                self._known.add(topic)
        for host, counts, today, rate in news.sites:
            if (topic := of_site(host)) in self._watchers:
                self._sites[topic] = WatchedSite(host, counts, today, rate, self._version_of(topic, version))
        if news.status:
            self._status = {name: msgspec.Raw(said) for name, said in news.status.items()}
            self._known.add(STATUS)
        if news.whole:
            self._tell()

    def listen(self, notice: Notice) -> None:
        """From now on, give `notice` whenever something changes."""
        self._listeners.add(notice)

    def unlisten(self, notice: Notice) -> None:
        """Stop giving `notice`."""
        self._listeners.discard(notice)

    async def watch(self, *urls: str) -> None:
        """Begin to watch canonical `urls`. Raises StoreError."""
        await self._watch([of_url(url) for url in urls])

    def unwatch(self, url: str) -> None:
        """Remove one watcher of `url`."""
        self._unwatch([of_url(url)])

    def watched(self, url: str) -> Watched:
        """The newest state of a watched URL."""
        return self._urls[of_url(url)]

    async def watch_top(self, by: str, limit: int) -> None:
        """Begin to watch a top list. Raises StoreError."""
        await self._watch([of_top(by, limit)])

    def unwatch_top(self, by: str, limit: int) -> None:
        """Remove one watcher of the top list."""
        self._unwatch([of_top(by, limit)])

    def watched_top(self, by: str, limit: int) -> WatchedTop:
        """The newest state of a watched top list."""
        return self._tops[of_top(by, limit)]

    async def watch_hot(self, by: By, site: str) -> None:
        """Begin to watch which URLs are hottest, of one site or of all (""). Raises StoreError."""
        await self._watch([of_hot(by, site)])

    def unwatch_hot(self, by: By, site: str) -> None:
        """Remove one watcher of these."""
        self._unwatch([of_hot(by, site)])

    def hottest(self, limit: int, by: By, site: str) -> list[HotUrl]:
        """The hottest of the watched ones, at most `limit`."""
        return self._hot[of_hot(by, site)][:limit]

    async def watch_site(self, host: str) -> None:
        """Begin to watch the sums of a site, or of all (""). Raises StoreError."""
        await self._watch([of_site(host)])

    def unwatch_site(self, host: str) -> None:
        """Remove one watcher of the site."""
        self._unwatch([of_site(host)])

    def watched_site(self, host: str) -> WatchedSite:
        """The newest state of a watched site."""
        return self._sites[of_site(host)]

    async def watch_status(self) -> None:
        """Begin to watch the daemon's status. Raises StoreError."""
        await self._watch([STATUS])

    def unwatch_status(self) -> None:
        """Remove one watcher of the status."""
        self._unwatch([STATUS])

    def status(self) -> Mapping[str, object]:
        """The daemon's last status."""
        return self._status

    async def _watch(self, topics: Sequence[Topic]) -> None:
        self._watchers.update(topics)
        try:
            if unknown := [topic for topic in topics if topic not in self._known]:
                await self._asking.watch(unknown)
                if self._untold:
                    # News about a topic that was given up and is watched again may have come while it was requested.
                    self._tell()
        except BaseException:
            self._unwatch(topics)
            raise

    def _unwatch(self, topics: Sequence[Topic]) -> None:
        left: list[Topic] = []
        for topic in topics:
            self._watchers[topic] -= 1
            if not self._watchers[topic]:
                left.append(topic)
                del self._watchers[topic]
                self._known.discard(topic)
                for known in (self._urls, self._tops, self._hot, self._sites):
                    known.pop(topic, None)
        if left:
            self._asking.unwatch(left)

    def _tell(self) -> None:
        self.version += 1
        self._untold = False
        for notice in self._listeners:
            notice.give()

    def _version_of(self, topic: Topic, version: int) -> int:
        """The version at which a topic with news changed; never yet, if it was unknown."""
        if topic in self._known:
            self._untold = True
            return version
        self._known.add(topic)
        return self.version


class MirroredStatus:
    """The status of the daemon, as a front knows it from its engine."""

    def __init__(self, mirror: Mirror) -> None:
        self.watch = mirror.watch_status
        self.unwatch = mirror.unwatch_status
        self._mirror = mirror

    def __call__(self) -> Mapping[str, object]:
        """The daemon's last status."""
        return self._mirror.status()
