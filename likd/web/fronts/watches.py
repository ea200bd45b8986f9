"""What a front watches in the engine: everything that any of its clients watches, with each thing's news once."""

from __future__ import annotations

import msgspec
import trio

from likd.errors import StoreError, Unsupported
from likd.queries.live_hub import LiveHub
from likd.queries.trending import BYS, By
from likd.runtime.notice import Notice
from likd.web.api.live_news import STATUS_SECONDS, Status
from likd.web.api.live_socket import HOT_MAX
from likd.web.fronts.link import Link
from likd.web.fronts.messages import News, Topic, Unwatch, Watch, Watching
from likd.web.fronts.topics import HOT, SITE, STATUS, TOP, URL

TOPICS_AT_ONCE = 300
"""So many URLs are looked at, or told of in one message, before others get their turn."""
BACKLOG_BYTES_MAX = 1 << 22
"""How much a front may leave untaken; beyond that it is sent nothing until it has, and then the newest state."""
BACKLOG_SECONDS = 0.1


class Watches:
    """Watches in `hub` for the front at the other end of `link`, for one life of it."""

    def __init__(self, hub: LiveHub, status: Status, link: Link) -> None:
        self._hub = hub
        self._status = status
        self._link = link
        self._wanted: set[Topic] = set()
        """What it asked for and has not given up."""
        self._held: set[Topic] = set()
        """Those of them that are watched in the hub."""
        self._seen = 0
        self._news = Notice()
        self._status_wanted = Notice()
        # No bound of its own: each client of the front has one at a time.
        self._asked_in, self._asked = trio.open_memory_channel[Watch](float("inf"))

    async def run(self) -> None:
        """Send the front what is new, until cancelled; then stop watching anything for it."""
        self._hub.listen(self._news)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell)
                nursery.start_soon(self._tell_status)
                async for message in self._asked:
                    nursery.start_soon(self._begin, message)
        finally:
            self._hub.unlisten(self._news)
            self.unwatch(Unwatch(list(self._wanted)))

    def watch(self, message: Watch) -> None:
        """Somebody there watches something that nobody watched before. Answered once it is watched."""
        self._wanted.update(message.topics)
        self._asked_in.send_nowait(message)

    def unwatch(self, message: Unwatch) -> None:
        """Nobody there watches this any more."""
        self._wanted.difference_update(message.topics)
        for topic in self._held.intersection(message.topics):
            self._held.remove(topic)
            self._leave(topic)

    async def _begin(self, message: Watch) -> None:
        new = [topic for topic in message.topics if topic not in self._held]
        try:
            await self._enter(new)
        except Unsupported as error:
            self._link.send(Watching(message.number, unsupported=str(error)))
            return
        except StoreError as error:
            self._link.send(Watching(message.number, away=str(error) or "it does not answer"))
            return
        for topic in new:
            if topic in self._held or topic not in self._wanted:
                # It came twice, or was given up meanwhile.
                self._leave(topic)
            else:
                self._held.add(topic)
        await self._send(message.topics, whole=False)
        self._link.send(Watching(message.number))

    async def _enter(self, topics: list[Topic]) -> None:
        """Watch `topics` in the hub: all of them or none. Raises StoreError."""
        await self._hub.watch(*[which for kind, which, _ in topics if kind == URL])
        for kind, which, more in topics:
            if kind == TOP:
                await self._hub.watch_top(which, int(more))
            elif kind == HOT:
                await self._hub.watch_hot(_by(which), more)
            elif kind == SITE:
                await self._hub.watch_site(which)
            elif (kind, which, more) == STATUS:
                self._status_wanted.give()

    def _leave(self, topic: Topic) -> None:
        kind, which, more = topic
        if kind == URL:
            self._hub.unwatch(which)
        elif kind == TOP:
            self._hub.unwatch_top(which, int(more))
        elif kind == HOT:
            self._hub.unwatch_hot(_by(which), more)
        elif kind == SITE:
            self._hub.unwatch_site(which)

    async def _tell(self) -> None:
        """Send what changed, whenever something did."""
        while True:
            await self._news.wait()
            if self._link.backlog > BACKLOG_BYTES_MAX:
                self._news.give()
                await trio.sleep(BACKLOG_SECONDS)
                continue
            seen, self._seen = self._seen, self._hub.version
            changed: list[Topic] = []
            for part in _parts(list(self._held)):
                changed += [topic for topic in part if topic in self._held and self._version(topic) > seen]
                await trio.lowlevel.checkpoint()
            if changed:
                await self._send(changed, whole=True)

    async def _tell_status(self) -> None:
        while True:
            if STATUS not in self._held:
                await self._status_wanted.wait()
            await trio.sleep(STATUS_SECONDS)
            if STATUS in self._held and self._link.backlog <= BACKLOG_BYTES_MAX:
                await self._send([STATUS], whole=False)

    async def _send(self, topics: list[Topic], *, whole: bool) -> None:
        parts = _parts(topics)
        for number, part in enumerate(parts, start=1):
            held = [topic for topic in part if topic in self._held]
            self._link.send(self._state(held, whole=whole and number == len(parts)))
            if number < len(parts):
                await trio.lowlevel.checkpoint()

    def _version(self, topic: Topic) -> int:
        """When a held topic last changed. What is hot is news at each look."""
        kind, which, more = topic
        if kind == URL:
            return self._hub.watched(which).version
        if kind == TOP:
            return self._hub.watched_top(which, int(more)).version
        if kind == SITE:
            return self._hub.watched_site(which).version
        return self._hub.version if kind == HOT else 0

    def _state(self, topics: list[Topic], *, whole: bool) -> News:
        news = News(whole, {}, [], [], [], {})
        for kind, which, more in topics:
            if kind == URL:
                watched = self._hub.watched(which)
                news.urls[which] = watched.counts, watched.rate
            elif kind == TOP:
                top = self._hub.watched_top(which, int(more))
                news.tops.append((which, int(more), list(top.top), top.rates))
            elif kind == HOT:
                hottest = self._hub.hottest(HOT_MAX, _by(which), more)
                news.hot.append((_by(which), more, [(hot.url, hot.rate, hot.likes) for hot in hottest]))
            elif kind == SITE:
                site = self._hub.watched_site(which)
                news.sites.append((which, site.counts, site.today, site.rate))
            else:
                said = self._status()
                news.status.update({name: msgspec.json.encode(said[name]) for name in said})
        return news


def _by(word: str) -> By:
    return BYS[word == BYS[1]]


def _parts(topics: list[Topic]) -> list[list[Topic]]:
    """The topics by so many URLs at once, and one by one where each can have a thousand rows."""
    urls = [topic for topic in topics if topic[0] == URL]
    parts = [urls[begin : begin + TOPICS_AT_ONCE] for begin in range(0, len(urls), TOPICS_AT_ONCE)]
    return parts + [[topic] for topic in topics if topic[0] != URL]
