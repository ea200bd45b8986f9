"""Live websocket sessions: what one client watches, and what it is to be told, whichever lane it came by."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container
from typing import Any

import attrs
import msgspec
import structlog
import trio
from quart import Websocket

from likd.ingest.urls import EXPECTED
from likd.model import LIKES
from likd.queries.live_hub import LiveHub
from likd.queries.site_watch import WatchedSite
from likd.queries.trending import By
from likd.runtime.notice import Notice
from likd.stores.protocol import StoreError
from likd.web.access.gate import Caller, Gate
from likd.web.access.tokens import Role
from likd.web.api.events import Operations, refused
from likd.web.problems import Problem

GOING_AWAY = 1001
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
BAD_MESSAGE = 4400

STATUS_SECONDS = 1.0
HOT_MAX = 100
REFUSED_MAX = 2000
"""URLs that a client was not told yet that it can't watch them: one that does not listen to that is sent away."""
SHARED_BYTES_MAX = 1 << 22
"""Messages that are kept for the others who watch the same; beyond that each is encoded for its client alone."""

log = structlog.get_logger(__name__)


class _Watch(msgspec.Struct, tag_field="op", tag="watch", forbid_unknown_fields=True):
    urls: list[str]
    partial: bool = False
    """Whether each URL is answered by itself; else one that can't be watched ends the session."""


class _Unwatch(msgspec.Struct, tag_field="op", tag="unwatch", forbid_unknown_fields=True):
    urls: list[str]


class _WatchTop(msgspec.Struct, tag_field="op", tag="watch_top", forbid_unknown_fields=True):
    by: str = "likes"
    limit: int = 10


class _UnwatchTop(msgspec.Struct, tag_field="op", tag="unwatch_top", forbid_unknown_fields=True):
    pass


class _WatchHot(msgspec.Struct, tag_field="op", tag="watch_hot", forbid_unknown_fields=True):
    limit: int = 10
    by: By = "events"
    site: str = ""


class _UnwatchHot(msgspec.Struct, tag_field="op", tag="unwatch_hot", forbid_unknown_fields=True):
    pass


class _WatchSite(msgspec.Struct, tag_field="op", tag="watch_site", forbid_unknown_fields=True):
    host: str = ""


class _UnwatchSite(msgspec.Struct, tag_field="op", tag="unwatch_site", forbid_unknown_fields=True):
    pass


class _WatchStatus(msgspec.Struct, tag_field="op", tag="watch_status", forbid_unknown_fields=True):
    pass


class _UnwatchStatus(msgspec.Struct, tag_field="op", tag="unwatch_status", forbid_unknown_fields=True):
    pass


class _Ping(msgspec.Struct, tag_field="op", tag="ping", forbid_unknown_fields=True):
    pass


_Op = (
    _Watch
    | _Unwatch
    | _WatchTop
    | _UnwatchTop
    | _WatchHot
    | _UnwatchHot
    | _WatchSite
    | _UnwatchSite
    | _WatchStatus
    | _UnwatchStatus
    | _Ping
)
_decode = msgspec.json.Decoder(_Op).decode


_NEEDS: dict[type[msgspec.Struct], Role] = {_WatchTop: Role.WRITER, _WatchHot: Role.WRITER, _WatchStatus: Role.ADMIN}
"""What needs more than to watch URLs, which the gate looks at one by one."""


class Close(Exception):
    """The session is to end, with this close code and reason: it breaks the rules, or the daemon shuts down."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        # A close frame has room for 123 bytes of reason.
        self.reason = reason.encode(errors="replace")[:120].decode(errors="ignore")


def going_away() -> Close:
    """How all sessions end when the daemon does."""
    return Close(GOING_AWAY, "the daemon is shutting down")


def _close(problem: Problem) -> Close:
    """How a session ends that asked for what it can't watch."""
    if problem.status == 422:
        return Close(BAD_MESSAGE, f"urls: expected {EXPECTED}")
    return Close(POLICY_VIOLATION, problem.detail)


@attrs.define(eq=False)
class Session:
    """What one client watches. URLs keep the form they were asked in, and the version sent last.

    Its fields are for LiveSessions.
    """

    caller: Caller
    urls: dict[str, str] = attrs.field(factory=dict)
    fresh: dict[str, None] = attrs.field(factory=dict)
    """Those among `urls` whose counts are to be sent whether they change or not, in this order."""
    refused: dict[str, Problem] = attrs.field(factory=dict)
    """Those that can't be watched, which is to be said."""
    pinged: bool = False
    top: tuple[str, int] | None = None
    fresh_top: bool = False
    hot: int = 0
    hot_by: By = "events"
    hot_site: str = ""
    site: str | None = None
    """Whose sums are watched; "" for those of all sites."""
    fresh_site: bool = False
    status_at: float | None = None
    seen: int = 0
    more: bool = False
    """Whether there may be more to tell than what changed among `urls`."""
    key: str = ""
    """Stands for all that is in `urls`: the same for all sessions that watch the same. Empty if it is not known."""


class LiveSessions:
    """What an operation on `/v1/live` means, and what a client is to be told. At most `watches_max` URLs a session.

    A lane begins a session for a client that was let in, has it obey one message after the other, sends it the
    `messages` whenever one was obeyed, the hub has news or `pause` is over, and ends it.
    """

    def __init__(
        self,
        *,
        hub: LiveHub,
        operations: Operations,
        gate: Gate,
        status: Callable[[], dict[str, Any]],
        interval_seconds: float,
        watches_max: int,
    ) -> None:
        self._hub = hub
        self._operations = operations
        self._gate = gate
        self._status = status
        self._interval = interval_seconds
        self._watches_max = watches_max
        self._changes_of = 0
        self._changes: dict[tuple[str, int], bytes] = {}
        """What changed until version `_changes_of`, for each key of a session and version that it saw last."""
        self._changes_bytes = 0
        self.open = 0

    def begin(self, caller: Caller) -> Session:
        """A new session, which watches nothing yet."""
        self.open += 1
        return Session(caller)

    def end(self, session: Session) -> None:
        """It watches nothing any more. Nothing may be obeyed meanwhile."""
        self.open -= 1
        for url in set(session.urls.values()):
            self._hub.unwatch(url)
        self._unwatch_top(session)
        self._unwatch_hot(session)
        self._unwatch_site(session)

    async def serve(self, websocket: Websocket, caller: Caller, *, ask: Callable[[], None]) -> None:
        """Serve one client of the full lane until it leaves, breaks the rules, or the daemon shuts down.

        `ask` is called each time when its next message may come.
        """
        await websocket.accept()
        session = self.begin(caller)
        news = Notice()
        self._hub.listen(news)
        close = going_away()
        try:
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    nonlocal close
                    try:
                        while True:
                            # One message after the other: the next is not even received before.
                            ask()
                            await self.obey(session, await websocket.receive())
                            news.give()
                    except Close as asked:
                        close = asked
                        nursery.cancel_scope.cancel()

                nursery.start_soon(read)
                nursery.start_soon(self._send, session, websocket, news)
                await self._hub.closing.wait()
                nursery.cancel_scope.cancel()
            await websocket.close(close.code, close.reason)
        finally:
            self._hub.unlisten(news)
            self.end(session)

    async def obey(self, session: Session, message: str | bytes) -> None:
        """Do what the client asks for. Raises Close."""
        if isinstance(message, bytes):
            raise Close(UNSUPPORTED_DATA, "expected a text message")
        try:
            op = _decode(message)
        except msgspec.DecodeError as error:
            raise Close(BAD_MESSAGE, str(error).replace("`", "")) from None
        if not self._gate.charge(session.caller):
            raise Close(POLICY_VIOLATION, "too many messages")
        need = _NEEDS.get(type(op))
        if need is not None and not self._gate.allows(session.caller, need):
            raise Close(POLICY_VIOLATION, f"this needs the {need.name.lower()} token")
        try:
            match op:
                case _Watch(urls, partial):
                    await self._watch(session, urls, partial)
                case _Ping():
                    session.pinged = True
                case _Unwatch(urls):
                    self._unwatch(session, urls)
                case _WatchTop(by, limit):
                    await self._watch_top(session, by, limit)
                case _UnwatchTop():
                    self._unwatch_top(session)
                case _WatchHot(limit, by, site):
                    await self._watch_hot(session, limit, by, site)
                case _UnwatchHot():
                    self._unwatch_hot(session)
                case _WatchSite(host):
                    await self._watch_site(session, host)
                case _UnwatchSite():
                    self._unwatch_site(session)
                case _WatchStatus():
                    session.status_at = -1.0
                case _UnwatchStatus():
                    session.status_at = None
        except StoreError:
            raise Close(TRY_AGAIN_LATER, "the store does not answer") from None
        session.more = True

    def pause(self, session: Session) -> float:
        """After how many seconds there may be more to tell, though the hub has no news."""
        if session.status_at is None:
            return float("inf")
        fresh = session.fresh or session.fresh_top or session.fresh_site
        return self._interval if fresh else STATUS_SECONDS

    async def _watch(self, session: Session, urls: list[str], partial: bool) -> None:
        if len(urls) > self._watches_max and not partial:
            raise Close(POLICY_VIOLATION, f"at most {self._watches_max} URLs can be watched")
        for url in urls:
            if url not in session.urls:
                try:
                    href = self._watchable(session, url)
                except Problem as problem:
                    if not partial:
                        raise _close(problem) from None
                    if len(session.refused) >= REFUSED_MAX:
                        raise Close(POLICY_VIOLATION, "too many URLs that can't be watched") from None
                    session.refused[url] = problem
                    continue
                if href not in session.urls.values():
                    await self._hub.watch(href)
                session.urls[url] = href
                session.key = ""
            session.fresh[url] = None

    def _watchable(self, session: Session, url: str) -> str:
        """What `url` counts as. Raises Problem if the session can't watch it."""
        (href,) = self._operations.readable([url], session.caller)
        if len(session.urls) >= self._watches_max:
            raise Problem(429, f"at most {self._watches_max} URLs can be watched")
        return href

    def _unwatch(self, session: Session, urls: list[str]) -> None:
        for url in urls:
            session.fresh.pop(url, None)
            href = session.urls.pop(url, None)
            session.key = ""
            if href is not None and href not in session.urls.values():
                self._hub.unwatch(href)

    async def _watch_top(self, session: Session, by: str, limit: int) -> None:
        try:
            wanted = self._operations.check_by(by), self._operations.check_limit(str(limit))
        except Problem as problem:
            expected = problem.members["expected"]
            raise Close(BAD_MESSAGE, f"{problem.members['field']}: expected {expected}") from None
        await self._hub.watch_top(*wanted)
        self._unwatch_top(session)
        session.top = wanted
        session.fresh_top = True

    def _unwatch_top(self, session: Session) -> None:
        if session.top is not None:
            self._hub.unwatch_top(*session.top)
            session.top = None

    async def _watch_hot(self, session: Session, limit: int, by: By, site: str) -> None:
        host = self._readable_site(session, site) if site else ""
        if not 0 <= limit <= HOT_MAX:
            raise Close(BAD_MESSAGE, f"limit: expected a whole number from 1 to {HOT_MAX}")
        if not limit:
            self._unwatch_hot(session)
        elif not session.hot:
            await self._hub.watch_hot()
        session.hot, session.hot_by, session.hot_site = limit, by, host

    def _unwatch_hot(self, session: Session) -> None:
        if session.hot:
            self._hub.unwatch_hot()
            session.hot = 0

    async def _watch_site(self, session: Session, site: str) -> None:
        host = self._readable_site(session, site)
        await self._hub.watch_site(host)
        self._unwatch_site(session)
        session.site = host
        session.fresh_site = True

    def _unwatch_site(self, session: Session) -> None:
        if session.site is not None:
            self._hub.unwatch_site(session.site)
            session.site = None

    def _readable_site(self, session: Session, site: str) -> str:
        try:
            return self._operations.readable_site(site, session.caller)
        except Problem as problem:
            if problem.status == 422:
                raise Close(BAD_MESSAGE, f"host: expected {problem.members['expected']}") from None
            raise Close(POLICY_VIOLATION, problem.detail) from None

    async def _send(self, session: Session, websocket: Websocket, news: Notice) -> None:
        """Send what is new, then wait: a slow client delays only itself, and then gets what is newest."""
        while True:
            for message in self.messages(session):
                await websocket.send(message.decode())
            with trio.move_on_after(self.pause(session)):
                await news.wait()

    def messages(self, session: Session) -> list[bytes]:
        """All that the client has not been told yet, as of now."""
        if not (session.more or session.fresh or session.refused):
            # Thousands who watch the same are told here: what each costs is what they cost.
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
            messages.append(self._counts("snapshot", session, list(fresh)))
            changes = self._changed(session, seen, without=fresh)
        else:
            changes = self._shared_changes(session)
        if changes:
            messages.append(changes)
        if session.top is not None:
            watched = self._hub.watched_top(*session.top)
            if session.fresh_top or watched.version > seen:
                rows = [
                    {**self._operations.row(url, counts), "rate": round(watched.rates.get(url, 0.0), 1)}
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
        row = self._operations.row("", site.counts)
        del row["url"]
        today = site.today.get(LIKES, 0)
        return msgspec.json.encode(
            {"type": "site", "host": site.host, **row, "today": today, "rate": round(site.rate, 1)}
        )

    def _shared_changes(self, session: Session) -> bytes:
        """What changed since the client was told, encoded once for all who watch and saw the same; may be empty."""
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
        return self._counts("changes", session, urls) if urls else b""

    def _counts(self, kind: str, session: Session, urls: list[str]) -> bytes:
        rows = []
        for url in urls:
            watched = self._hub.watched(session.urls[url])
            rows.append({**self._operations.row(url, watched.counts), "rate": round(watched.rate, 1)})
        return msgspec.json.encode({"type": kind, "counts": rows})
