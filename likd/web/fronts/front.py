"""A front process: one express lane, by the word of the engine that started it."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from functools import partial

import trio

from likd.config import parsers
from likd.config.web_settings import GateSettings
from likd.counting.actors import ActorKeys
from likd.ingest.parser import Ingest
from likd.ingest.urls import UrlRules
from likd.runtime.logs import configure_logs
from likd.web.access.body_budget import BodyBudget
from likd.web.access.gate import Gate
from likd.web.access.tokens import Tokens
from likd.web.access.visitors import Visitors
from likd.web.api.event_bodies import EventBodies
from likd.web.api.files import Files
from likd.web.express.requests import Drop, Send
from likd.web.express.server import ExpressLane
from likd.web.fronts.link import Link
from likd.web.fronts.messages import VERSION, Answered, Full, Hand, Hello, Message, Ping, Pong, Response, Stop, Welcome
from likd.web.fronts.requests import FrontRequests
from likd.web.fronts.seats import Seats

SWITCH_INTERVAL_SECONDS = 0.0002
GC_ALLOCATIONS = 50_000
"""As the engine has them."""
BODY_BYTES_MAX = 1 << 18
"""What is larger is the engine's: it would be a message that takes either end more than a millisecond."""


def main(arguments: list[str]) -> None:
    """Be a front: `arguments` are the format of logs, the descriptor of the wire, and those of the listeners.

    Signals are the engine's: it ends its fronts, and with its own end comes theirs.
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
    # What others wait for is done: there is nothing to be tidied up.
    os._exit(0)


class Front:
    """Serves the connections that come to `listeners`, for as long as the engine is there."""

    def __init__(self, wire: socket.socket, listeners: list[socket.socket]) -> None:
        self._link = Link(wire, Welcome)
        self._listeners = listeners
        self._served: _Served | None = None

    async def run(self) -> None:
        """Serve until told to stop, or the engine is gone. Raises WireError."""
        self._link.send(Hello(VERSION))
        async with trio.open_nursery() as nursery:
            await self._link.run(partial(self._take, nursery), self._submit)
            nursery.cancel_scope.cancel()

    def _take(self, nursery: trio.Nursery, message: Message, _: socket.socket | None) -> None:
        if self._served is None:
            assert isinstance(message, Welcome)
            self._served = _Served(message, self._link, self._listeners)
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
            case Full(number):
                if (seat := served.seats.of(number)) is not None:
                    served.lane.expel(seat)
            case Ping(number):
                self._link.send(Pong(number, served.lane.faults))
            case Stop():
                nursery.start_soon(self._stop, nursery, served)

    def _submit(self) -> None:
        """Nothing: what was gathered goes when the lane has looked at all who are ready."""

    async def _stop(self, nursery: trio.Nursery, served: _Served) -> None:
        served.lane.stop()
        await served.lane.wait_stopped()
        await self._link.flushed()
        nursery.cancel_scope.cancel()


class _Served:
    """The parts of a front that was welcomed."""

    def __init__(self, welcome: Welcome, link: Link, listeners: list[socket.socket]) -> None:
        for listener in listeners:
            listener.settimeout(0)
        config = GateSettings(bind=parsers.binds(list(welcome.binds)), origins=welcome.origins)
        gate = Gate(config, Tokens())
        room = BodyBudget(welcome.bodies_bytes_max)
        bodies = _bodies(welcome, gate) if welcome.open else None
        self.seats = Seats(link, welcome.connections_max)

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

        self.lane = ExpressLane(
            make_requests=make_requests,
            recall=bodies.recall if bodies is not None else _nothing,
            gate=gate,
            listeners=listeners,
            hand_over=lambda sock, data, leave: link.send(Hand(self.seats.hand(leave), data), sock),
            encrypted=welcome.encrypted,
            seats=self.seats,
            room=room,
            head_seconds=welcome.head_seconds,
            idle_seconds=welcome.idle_seconds,
            base=welcome.base,
        )


def _bodies(welcome: Welcome, gate: Gate) -> EventBodies:
    ingest = Ingest(
        welcome.kinds,
        UrlRules(welcome.same_schemes, welcome.drop_parameters),
        ActorKeys(welcome.secret),
        welcome.done,
        welcome.urls_max,
    )
    return EventBodies(
        ingest=ingest,
        gate=gate,
        visitors=Visitors("free", ignore_bots=False, actor=lambda address, agent: ""),
        body_bytes_max=welcome.body_bytes_max,
        bodies_bytes_max=welcome.bodies_bytes_max,
        urls_max=welcome.urls_max,
    )


def _nothing(body: bytes) -> None:
    """Nothing is remembered where nothing is read."""
