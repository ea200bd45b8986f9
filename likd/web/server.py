"""The web server: one port, three lanes, and their end in order."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import trio
from quart_trio import QuartTrio

from likd.queries.live_hub import LiveHub
from likd.web.access.body_budget import BodyBudget
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.gate import Gate
from likd.web.api.event_bodies import EventBodies
from likd.web.api.events import Posting
from likd.web.api.live_socket import LiveSessions
from likd.web.express.hot_reads import HotReads
from likd.web.express.server import ExpressLane
from likd.web.full.server import FullLane
from likd.web.listeners import Listeners, address
from likd.web.live.server import LiveLane


class WebServer:
    """Serves the API on `listeners`: every connection begins in the express lane, and may move to the live lane as a
    websocket, or to the full lane.

    All have their connections out of the same `seats`, and request bodies out of the same `room`.
    """

    def __init__(
        self,
        *,
        posting: Posting,
        bodies: EventBodies,
        reads: HotReads,
        gate: Gate,
        app: QuartTrio,
        listeners: Listeners,
        tls: ssl.SSLContext | None,
        hub: LiveHub,
        sessions: LiveSessions,
        seats: ConnectionLimit,
        room: BodyBudget,
        head_seconds: float,
        idle_seconds: float,
        grace_seconds: float,
        base: str = "",
    ) -> None:
        self._full = FullLane(
            app,
            tls=tls,
            room=room,
            connections_max=seats.connections_max,
            head_seconds=head_seconds,
            idle_seconds=idle_seconds,
            base=base,
        )
        self._live = LiveLane(sessions=sessions, hub=hub, gate=gate, idle_seconds=idle_seconds, base=base)
        self._express = ExpressLane(
            posting=posting,
            bodies=bodies,
            reads=reads,
            gate=gate,
            listeners=listeners.sockets,
            hand_over=self._hand_over,
            encrypted=tls is not None,
            seats=seats,
            room=room,
            head_seconds=head_seconds,
            idle_seconds=idle_seconds,
            base=base,
        )
        self.seats = seats
        self._hub = hub
        self._grace = grace_seconds
        self._stopping = trio.Event()
        self._listeners = listeners
        scheme = "http" if tls is None else "https"
        self.addresses = [address(listener, scheme, base) for listener in listeners.sockets]
        """The URLs that are listened on."""

    @property
    def faults(self) -> int:
        """Hot requests, their connections and live websockets that ended because of a fault of likd's own."""
        return self._express.faults + self._live.faults

    def stop(self) -> None:
        """Take no more connections, and end the ones there are."""
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped: then websockets are closed with 1001, and requests in flight get their grace."""
        async with trio.open_nursery() as full:
            await full.start(self._full.run)
            async with trio.open_nursery() as bare:
                await bare.start(self._live.run)
                await bare.start(self._express.run)
                task_status.started()
                await self._stopping.wait()
                self._listeners.remove_files()
                self._express.stop()
                self._hub.closing.set()
                await self._live.stop()
                await self._full.stop(self._grace)
                with trio.move_on_after(self._grace):
                    await self._live.wait_stopped()
                    await self._express.wait_stopped()
                bare.cancel_scope.cancel()
        self._live.close()
        self._express.close()

    def _hand_over(self, sock: socket.socket, data: bytes, leave: Callable[[], None]) -> None:
        """What is not for the express lane is for one of the others."""
        if not self._live.take(sock, data, leave):
            self._full.take(sock, data, leave)
