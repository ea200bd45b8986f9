"""A front process: one express lane, directed by the engine that started it."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial

import trio

from likd.config import parsers
from likd.config.web_settings import GateSettings
from likd.counting.actors import ActorKeys
from likd.ingest.parser import Ingest
from likd.ingest.urls import UrlRules
from likd.runtime.logs import configure_logs
from likd.web.access.body_budget import BodyBudget
from likd.web.access.caller import Caller
from likd.web.access.gate import Gate
from likd.web.access.tokens import Tokens
from likd.web.access.visitors import Visitors
from likd.web.api.count_rows import CountRows
from likd.web.api.event_bodies import EventBodies
from likd.web.api.files import Files
from likd.web.api.live_socket import LiveSessions
from likd.web.api.urls import Urls
from likd.web.express.answering import Send
from likd.web.express.hot_requests import Drop
from likd.web.express.server import ExpressLane
from likd.web.fronts.asking import Asking
from likd.web.fronts.decrypting import Decrypting
from likd.web.fronts.gate import FrontGate
from likd.web.fronts.link import Link
from likd.web.fronts.messages import (
    VERSION,
    Answered,
    Charged,
    Entered,
    Full,
    Hand,
    Hello,
    Message,
    News,
    Ping,
    Pong,
    Response,
    Stop,
    Stopped,
    TurnedAway,
    Watching,
    Welcome,
)
from likd.web.fronts.mirror import Mirror, MirroredStatus
from likd.web.fronts.requests import FrontRequests
from likd.web.fronts.seats import Seats
from likd.web.live.server import LiveLane
from likd.web.tls import server_context

SWITCH_INTERVAL_SECONDS = 0.0002
GC_ALLOCATIONS = 50_000
"""The same as the engine's."""
BODY_BYTES_MAX = 1 << 18
"""Larger bodies are left to the engine: the message would take either end more than a millisecond."""


def main(arguments: list[str]) -> None:
    """Run a front: `arguments` are the log format, the descriptor of the wire, and those of the listeners.

    Signals are the engine's business: it ends its fronts, and when it ends, so do they.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    log_format, wire, *listeners = arguments
    configure_logs(log_format)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    front = Front(socket.socket(fileno=int(wire)), [socket.socket(fileno=int(number)) for number in listeners])
    trio.run(front.run)
    # Everything that others wait for is done: there is nothing to clean up.
    os._exit(0)


class Front:
    """Serves the connections that come to `listeners`, as long as the engine exists."""

    def __init__(self, wire: socket.socket, listeners: list[socket.socket]) -> None:
        self._link = Link(wire, Welcome)
        self._listeners = listeners
        self._served: _Served | None = None

    async def run(self) -> None:
        """Serve until told to stop or the engine is gone. Raises WireError."""
        self._link.send(Hello(VERSION))
        async with trio.open_nursery() as nursery:
            await self._link.run(partial(self._take, nursery), self._submit)
            nursery.cancel_scope.cancel()

    def _take(self, nursery: trio.Nursery, message: Message, _: socket.socket | None) -> None:
        if self._served is None:
            assert isinstance(message, Welcome)
            self._served = _Served(message, self._link, self._listeners)
            if self._served.decrypting is not None:
                nursery.start_soon(self._served.decrypting.run)
            nursery.start_soon(self._served.live.run)
            nursery.start_soon(self._served.lane.run)
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_ALLOCATIONS, 20, 20)
            return
        served = self._served
        match message:
            case Answered():
                served.requests.answered(message)
            case Response():
                served.requests.responded(message)
            case News():
                served.mirror.take(message)
            case Entered() | TurnedAway() | Charged() | Watching():
                served.asking.replied(message)
            case Full(number):
                if (seat := served.seats.of(number)) is not None:
                    served.lane.expel(seat)
                    served.live.expel(seat)
                    if served.decrypting is not None:
                        served.decrypting.expel(seat)
            case Ping(number):
                self._link.send(Pong(number, served.lane.faults + served.live.faults))
            case Stop():
                nursery.start_soon(self._stop, nursery, served)

    def _submit(self) -> None:
        """Do nothing: gathered events are sent once the lane has handled all ready clients."""

    async def _stop(self, nursery: trio.Nursery, served: _Served) -> None:
        if served.decrypting is not None:
            served.decrypting.stop()
        served.lane.stop()
        await served.live.stop()
        await served.lane.wait_stopped()
        await served.live.wait_stopped()
        self._link.send(Stopped())
        if served.decrypting is not None:
            await served.decrypting.wait_ended()
        await self._link.flushed()
        nursery.cancel_scope.cancel()


class _Served:
    """The parts of a front that the engine has welcomed."""

    def __init__(self, welcome: Welcome, link: Link, listeners: list[socket.socket]) -> None:
        for listener in listeners:
            listener.settimeout(0)
        config, tokens = _config(welcome), Tokens(welcome.admin_tokens, welcome.write_tokens)
        gate = FrontGate(config, tokens, None)
        room = BodyBudget(welcome.bodies_bytes_max)
        bodies = _bodies(welcome, gate)
        self.seats = Seats(link, welcome.connections_max)
        self.asking = Asking(link)
        self.mirror = Mirror(self.asking)
        self.live = _live(welcome, FrontGate(config, tokens, link), self.asking, self.mirror)

        def hand_over(sock: socket.socket, data: bytes, leave: Callable[[], None], address: str) -> None:
            if not self.live.take(sock, data, leave, address):
                link.send(Hand(self.seats.hand(leave), data), sock)

        def make_requests(send: Send, drop: Drop) -> FrontRequests:
            self.requests = FrontRequests(
                link=link,
                gate=gate,
                bodies=bodies,
                files=Files(welcome.base),
                room=room,
                body_bytes_max=min(welcome.body_bytes_max, BODY_BYTES_MAX),
                send=send,
                drop=drop,
            )
            return self.requests

        tls = server_context(config)
        self.decrypting = None if tls is None else self._decrypting(tls, welcome)
        self.lane = ExpressLane(
            make_requests=make_requests,
            recall=bodies.recall,
            gate=gate,
            listeners=listeners,
            hand_over=hand_over,
            decrypt=None if self.decrypting is None else self.decrypting.take,
            seats=self.seats,
            room=room,
            head_seconds=welcome.head_seconds,
            idle_seconds=welcome.idle_seconds,
            base=welcome.base,
        )

    def _decrypting(self, tls: ssl.SSLContext, welcome: Welcome) -> Decrypting:
        return Decrypting(
            tls,
            lambda *connection: self.lane.take(*connection),
            head_seconds=welcome.head_seconds,
            idle_seconds=welcome.idle_seconds,
        )


def _config(welcome: Welcome) -> GateSettings:
    """The settings that count for a front."""
    tls_cert, tls_key = welcome.tls or ("", "")
    return GateSettings(
        tls_cert=tls_cert,
        tls_key=tls_key,
        bind=parsers.binds(list(welcome.binds)),
        origins=welcome.origins,
        public_sites=welcome.public_sites,
        trusted_proxies=welcome.trusted_proxies,
        address_rate=welcome.address_limit[0],
        address_burst=welcome.address_limit[1],
        token_rate=welcome.token_limit[0],
        token_burst=welcome.token_limit[1],
    )


def _live(welcome: Welcome, gate: Gate, asking: Asking, mirror: Mirror) -> LiveLane:
    async def free(_: Caller) -> bool:
        return True

    sessions = LiveSessions(
        hub=mirror,
        urls=Urls(UrlRules(welcome.same_schemes, welcome.drop_parameters), gate),
        counts=CountRows(welcome.counts),
        gate=gate,
        charge=free if gate.open else asking.charge,
        status=MirroredStatus(mirror),
        interval_seconds=welcome.live_interval,
        watches_max=welcome.watches_max,
    )
    return LiveLane(
        sessions=sessions, hub=mirror, admit=asking.enter, idle_seconds=welcome.idle_seconds, base=welcome.base
    )


def _bodies(welcome: Welcome, gate: Gate) -> EventBodies:
    actor_keys = ActorKeys(welcome.secret)
    ingest = Ingest(
        welcome.kinds,
        UrlRules(welcome.same_schemes, welcome.drop_parameters),
        actor_keys,
        welcome.done,
        welcome.urls_max,
    )
    return EventBodies(
        ingest=ingest,
        gate=gate,
        visitors=Visitors(welcome.public_actors, welcome.ignore_bots, actor_keys.visitor),
        body_bytes_max=welcome.body_bytes_max,
        bodies_bytes_max=welcome.bodies_bytes_max,
        urls_max=welcome.urls_max,
    )
