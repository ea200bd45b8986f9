"""What the clients of `/v1/live` are sent: encoded once for all who watch the same and were sent the same."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container, Mapping
from typing import Protocol

import attrs
import msgspec

from likd.model import LIKES
from likd.queries.hub import Hub
from likd.queries.site_watch import WatchedSite
from likd.queries.trending import By
from likd.web.access.caller import Caller
from likd.web.api.count_rows import CountRows, refused
from likd.web.problems import Problem

STATUS_SECONDS = 1.0
SHARED_BYTES_MAX = 1 << 22
"""How many messages are kept for others who watch the same; beyond that, each is encoded for its client alone."""


class Status(Protocol):
    """What the daemon says of itself, to those who watch that."""

    async def watch(self) -> None:
        """Begin to watch it; it is known when this returns."""

    def unwatch(self) -> None:
        """One watcher less."""

    def __call__(self) -> Mapping[str, object]:
        """What it says now."""


@attrs.frozen
class OwnStatus:
    """The status of a daemon of which this process is the engine: `told` whenever it is asked for."""

    told: Callable[[], Mapping[str, object]]

    async def watch(self) -> None:
        """It is known anyway."""

    def unwatch(self) -> None:
        """Nobody looks at it in vain."""

    def __call__(self) -> Mapping[str, object]:
        """What it says now."""
        return self.told()


@attrs.define(eq=False)
class Session:
    """What one client watches: its URLs as it wrote them, each with the version sent last.

    Its fields are for LiveSessions and LiveNews.
    """

    caller: Caller
    urls: dict[str, str] = attrs.field(factory=dict)
    fresh: dict[str, None] = attrs.field(factory=dict)
    """Those of `urls` whose counts are to be sent whether they change or not, in this order."""
    refused: dict[str, Problem] = attrs.field(factory=dict)
    """Those that can't be watched; the client is yet to be told so."""
    pinged: bool = False
    top: tuple[str, int] | None = None
    fresh_top: bool = False
    hot: int = 0
    hot_by: By = "events"
    hot_site: str = ""
    site: str | None = None
    """The site whose sums are watched; "" for all sites."""
    fresh_site: bool = False
    status_at: float | None = None
    seen: int = 0
    more: bool = False
    """Whether there may be more to send than changes among `urls`."""
    key: str = ""
    """A key for the contents of `urls`: the same for all sessions that watch the same. Empty if unknown."""


class LiveNews:
    """Knows what is new for each session, from what `hub` saw last and from `status`."""

    def __init__(self, hub: Hub, counts: CountRows, status: Status) -> None:
        self._hub = hub
        self._counts = counts
        self._status = status
        self._changes_of = 0
        self._changes: dict[tuple[str, int], bytes] = {}
        """What changed up to version `_changes_of`, by a session's key and the version sent to it last."""
        self._changes_bytes = 0

    def messages(self, session: Session) -> list[bytes]:
        """Everything that the client has not been sent yet, as of now."""
        if not (session.more or session.fresh or session.refused):
            # Thousands may watch the same, and each of them comes through here: every step counts.
            changes = self._shared_changes(session)
            return [changes] if changes else []
        return self._all_messages(session)

    def _all_messages(self, session: Session) -> list[bytes]:
        messages: list[bytes] = []
        if session.pinged:
            session.pinged = False
            messages.append(b'{"type":"pong"}')
        if session.refused:
            rows = [refused(url, problem) for url, problem in session.refused.items()]
            session.refused = {}
            messages.append(msgspec.json.encode({"type": "refused", "refused": rows}))
        seen = session.seen
        if session.fresh:
            fresh, session.fresh = session.fresh, {}
            session.seen = self._hub.version
            messages.append(self._rows("snapshot", session, list(fresh)))
            changes = self._changed(session, seen, without=fresh)
        else:
            changes = self._shared_changes(session)
        if changes:
            messages.append(changes)
        if session.top is not None:
            watched = self._hub.watched_top(*session.top)
            if session.fresh_top or watched.version > seen:
                rows = [
                    {**self._counts.row(url, counts), "rate": round(watched.rates.get(url, 0.0), 1)}
                    for url, counts in watched.top
                ]
                messages.append(msgspec.json.encode({"type": "top", "by": session.top[0], "top": rows}))
            session.fresh_top = False
        if session.hot and self._hub.version > seen:
            messages.append(self._hot(session))
        if session.site is not None:
            site = self._hub.watched_site(session.site)
            if session.fresh_site or site.version > seen:
                messages.append(self._site(site))
            session.fresh_site = False
        if session.status_at is not None and time.monotonic() - session.status_at >= STATUS_SECONDS * 0.9:
            session.status_at = time.monotonic()
            messages.append(msgspec.json.encode({"type": "status", **self._status()}))
        lists = session.top is not None or session.hot > 0 or session.site is not None
        session.more = lists or session.status_at is not None
        return messages

    def _hot(self, session: Session) -> bytes:
        hottest = self._hub.hottest(session.hot, session.hot_by, session.hot_site)
        rows = [{"url": hot.url, "rate": round(hot.rate, 1), "likes": round(hot.likes, 2)} for hot in hottest]
        return msgspec.json.encode({"type": "hot", "hot": rows})

    def _site(self, site: WatchedSite) -> bytes:
        row = self._counts.row("", site.counts)
        del row["url"]
        today = site.today.get(LIKES, 0)
        return msgspec.json.encode(
            {"type": "site", "host": site.host, **row, "today": today, "rate": round(site.rate, 1)}
        )

    def _shared_changes(self, session: Session) -> bytes:
        """What changed since the last message, encoded once for all who watch and were sent the same; may be empty."""
        version = self._hub.version
        seen, session.seen = session.seen, version
        if seen == version or not session.urls:
            return b""
        if self._changes_of != version:
            self._changes_of, self._changes, self._changes_bytes = version, {}, 0
        if not session.key:
            session.key = sys.intern(msgspec.json.encode(list(session.urls)).decode())
        changes = self._changes.get((session.key, seen))
        if changes is None:
            changes = self._changed(session, seen, without={})
            self._changes_bytes += len(changes)
            if self._changes_bytes <= SHARED_BYTES_MAX:
                self._changes[session.key, seen] = changes
        return changes

    def _changed(self, session: Session, seen: int, *, without: Container[str]) -> bytes:
        urls = [
            url for url, href in session.urls.items() if self._hub.watched(href).version > seen and url not in without
        ]
        return self._rows("changes", session, urls) if urls else b""

    def _rows(self, kind: str, session: Session, urls: list[str]) -> bytes:
        rows = []
        for url in urls:
            watched = self._hub.watched(session.urls[url])
            rows.append({**self._counts.row(url, watched.counts), "rate": round(watched.rate, 1)})
        return msgspec.json.encode({"type": kind, "counts": rows})
