"""What is watched, as whoever looks on sees it: in the engine as it is looked at, in a front as the engine tells it."""

from __future__ import annotations

from typing import Protocol

import trio

from likd.queries.live_hub import Watched, WatchedTop
from likd.queries.site_watch import WatchedSite
from likd.queries.trending import By, HotUrl
from likd.runtime.notice import Notice


class Hub(Protocol):
    """Has the newest state of what is watched, of which each has the `version` at which it changed last.

    To watch raises StoreError if that state can't be known.
    """

    version: int
    closing: trio.Event

    async def watch(self, *urls: str) -> None:
        """Begin to watch canonical `urls`."""

    def unwatch(self, url: str) -> None:
        """One watcher of `url` less."""

    def watched(self, url: str) -> Watched:
        """The newest state of a URL that is watched."""

    async def watch_top(self, by: str, limit: int) -> None:
        """Begin to watch a top list."""

    def unwatch_top(self, by: str, limit: int) -> None:
        """One watcher of the top list less."""

    def watched_top(self, by: str, limit: int) -> WatchedTop:
        """The newest state of a top list that is watched."""

    async def watch_hot(self, by: By, site: str) -> None:
        """Begin to watch which URLs are hottest, of one site or of all ("")."""

    def unwatch_hot(self, by: By, site: str) -> None:
        """One watcher of these less."""

    def hottest(self, limit: int, by: By, site: str) -> list[HotUrl]:
        """The hottest of those that are watched, at most `limit`."""

    async def watch_site(self, host: str) -> None:
        """Begin to watch the sums of a site, or of all ("")."""

    def unwatch_site(self, host: str) -> None:
        """One watcher of the site less."""

    def watched_site(self, host: str) -> WatchedSite:
        """The newest state of a site that is watched."""

    def listen(self, notice: Notice) -> None:
        """From now on `notice` is given whenever something changed."""

    def unlisten(self, notice: Notice) -> None:
        """`notice` is given no more."""
