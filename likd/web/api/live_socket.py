"""Live websocket sessions: what each client watches, in any lane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from likd.errors import StoreError, Unsupported
from likd.ingest.urls import EXPECTED
from likd.queries.hub import Hub
from likd.queries.trending import By
from likd.runtime.notice import Notice
from likd.web.access.caller import Caller
from likd.web.access.gate import Gate
from likd.web.api.count_rows import CountRows
from likd.web.api.live_news import STATUS_SECONDS, LiveNews, Session, Status
from likd.web.api.live_ops import (
    BAD_MESSAGE,
    NEEDS,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    Close,
    Op,
    Ping,
    Unwatch,
    UnwatchHot,
    UnwatchSite,
    UnwatchStatus,
    UnwatchTop,
    Watch,
    WatchHot,
    WatchSite,
    WatchStatus,
    WatchTop,
    going_away,
    read_op,
)
from likd.web.api.urls import Urls
from likd.web.problems import Problem

if TYPE_CHECKING:
    # A front has the sessions, and no need of what serves pages.
    from quart import Websocket

HOT_MAX = 100
REFUSED_MAX = 2000
"""How many refused URLs may be waiting to be reported to a client: one that does not read them is sent away."""

Charge: TypeAlias = Callable[[Caller], Awaitable[bool]]
"""Takes the price of one message more from a caller that was let in; whether it had it left."""


def _close(problem: Problem) -> Close:
    """How a session ends if it asks for something that it can't watch."""
    if problem.status == 422:
        return Close(BAD_MESSAGE, f"urls: expected {EXPECTED}")
    return Close(POLICY_VIOLATION, problem.detail)


class LiveSessions:
    """Carries out operations on `/v1/live`, and says what a client is sent. At most `watches_max` URLs per session.

    A lane begins a session for a client that was let in, lets it obey one message after another, sends its `messages`
    whenever one was obeyed, the hub has news or `pause` is over, and ends it.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        urls: Urls,
        counts: CountRows,
        gate: Gate,
        charge: Charge,
        status: Status,
        interval_seconds: float,
        watches_max: int,
    ) -> None:
        self._hub = hub
        self._urls = urls
        self._counts = counts
        self._gate = gate
        self._charge = charge
        self._status = status
        self._interval = interval_seconds
        self._watches_max = watches_max
        self.open = 0
        news = LiveNews(hub, counts, status)
        self.messages = news.messages
        """Everything that a session's client has not been sent yet, as of now."""

    def begin(self, caller: Caller) -> Session:
        """Begin a session, which watches nothing yet."""
        self.open += 1
        return Session(caller)

    def end(self, session: Session) -> None:
        """End a session, which then watches nothing. No message may be in progress."""
        self.open -= 1
        for url in set(session.urls.values()):
            self._hub.unwatch(url)
        self._unwatch_top(session)
        self._unwatch_hot(session)
        self._unwatch_site(session)
        self._unwatch_status(session)

    async def serve(self, websocket: Websocket, caller: Caller, *, ask: Callable[[], None]) -> None:
        """Serve one client of the full lane until it leaves, breaks the rules or the daemon shuts down.

        `ask` is called each time its next message may come.
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
                            # One message after another: the next is not even received earlier.
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
        op = read_op(message)
        if not await self._charge(session.caller):
            raise Close(POLICY_VIOLATION, "too many messages")
        need = NEEDS.get(type(op))
        if isinstance(op, WatchHot) and op.site and session.caller.share is not None:
            # A link for a site allows seeing what is hot there.
            need = None
        if need is not None and not self._gate.allows(session.caller, need):
            raise Close(POLICY_VIOLATION, f"this needs the {need.name.lower()} token")
        try:
            await self._do(session, op)
        except Unsupported as error:
            raise Close(POLICY_VIOLATION, str(error)) from None
        except StoreError:
            raise Close(TRY_AGAIN_LATER, "the store does not answer") from None
        session.more = True

    async def _do(self, session: Session, op: Op) -> None:
        match op:
            case Watch(urls, partial):
                await self._watch(session, urls, partial=partial)
            case Ping():
                session.pinged = True
            case Unwatch(urls):
                self._unwatch(session, urls)
            case WatchTop(by, limit):
                await self._watch_top(session, by, limit)
            case UnwatchTop():
                self._unwatch_top(session)
            case WatchHot(limit, by, site):
                await self._watch_hot(session, limit, by, site)
            case UnwatchHot():
                self._unwatch_hot(session)
            case WatchSite(host):
                await self._watch_site(session, host)
            case UnwatchSite():
                self._unwatch_site(session)
            case WatchStatus():
                await self._watch_status(session)
            case UnwatchStatus():
                self._unwatch_status(session)

    def pause(self, session: Session) -> float:
        """The seconds after which there may be more to send although the hub has no news."""
        if session.status_at is None:
            return float("inf")
        fresh = session.fresh or session.fresh_top or session.fresh_site
        return self._interval if fresh else STATUS_SECONDS

    async def _watch(self, session: Session, urls: list[str], *, partial: bool) -> None:
        if len(urls) > self._watches_max and not partial:
            raise Close(POLICY_VIOLATION, f"at most {self._watches_max} URLs can be watched")
        wanted: dict[str, str] = {}
        for url in urls:
            if url not in session.urls and url not in wanted:
                try:
                    wanted[url] = self._watchable(session, url, len(wanted))
                except Problem as problem:
                    if not partial:
                        raise _close(problem) from None
                    if len(session.refused) >= REFUSED_MAX:
                        raise Close(POLICY_VIOLATION, "too many URLs that can't be watched") from None
                    session.refused[url] = problem
        await self._hub.watch(*set(wanted.values()).difference(session.urls.values()))
        if wanted:
            session.urls.update(wanted)
            session.key = ""
        session.fresh.update(dict.fromkeys(url for url in urls if url in session.urls))

    def _watchable(self, session: Session, url: str, more: int) -> str:
        """The URL that `url` counts as. Raises Problem if the session can't watch it besides so many `more`."""
        (href,) = self._urls.readable([url], session.caller)
        if len(session.urls) + more >= self._watches_max:
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
            wanted = self._counts.check_by(by), self._counts.check_limit(str(limit))
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
        if limit:
            await self._hub.watch_hot(by, host)
        self._unwatch_hot(session)
        session.hot, session.hot_by, session.hot_site = limit, by, host

    def _unwatch_hot(self, session: Session) -> None:
        if session.hot:
            self._hub.unwatch_hot(session.hot_by, session.hot_site)
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

    async def _watch_status(self, session: Session) -> None:
        if session.status_at is None:
            await self._status.watch()
        session.status_at = -1.0

    def _unwatch_status(self, session: Session) -> None:
        if session.status_at is not None:
            self._status.unwatch()
            session.status_at = None

    def _readable_site(self, session: Session, site: str) -> str:
        try:
            return self._urls.readable_site(site, session.caller)
        except Problem as problem:
            if problem.status == 422:
                raise Close(BAD_MESSAGE, f"host: expected {problem.members['expected']}") from None
            raise Close(POLICY_VIOLATION, problem.detail) from None

    async def _send(self, session: Session, websocket: Websocket, news: Notice) -> None:
        """Send what is new, then wait: a slow client delays only itself, and then gets the newest state."""
        while True:
            for message in self.messages(session):
                await websocket.send(message.decode())
            with trio.move_on_after(self.pause(session)):
                await news.wait()
