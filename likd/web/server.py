"""The web server: one port, three lanes, and their orderly end."""

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
from likd.web.api.live_socket import LiveSessions
from likd.web.express.fast_path import Recall
from likd.web.express.hot_requests import MakeRequests
from likd.web.express.server import ExpressLane
from likd.web.fronts.desk import Desk
from likd.web.fronts.fronts import Fronts
from likd.web.full.server import FullLane
from likd.web.listeners import Listeners, address
from likd.web.live.admission import by
from likd.web.live.server import LiveLane


class WebServer:
    """Serves the API on `listeners`.

    Every connection begins in the express lane, and may move to the live lane as a websocket, or to the full lane.
    With `fronts`, other processes accept the connections, and hand over those that they don't serve.

    All lanes take their connections from the same `seats`, and memory for request bodies from the same `room`.
    """

    def __init__(
        self,
        *,
        make_requests: MakeRequests,
        recall: Recall,
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
        fronts: int = 0,
    ) -> None:
        self._full = FullLane(
            app,
            tls=None if fronts else tls,
            https=tls is not None,
            room=room,
            connections_max=seats.connections_max,
            head_seconds=head_seconds,
            idle_seconds=idle_seconds,
            base=base,
        )
        self._live = LiveLane(sessions=sessions, hub=hub, admit=by(gate), idle_seconds=idle_seconds, base=base)
        self._express = ExpressLane(
            make_requests=make_requests,
            recall=recall,
            gate=gate,
            listeners=[] if fronts else listeners.sockets,
            hand_over=self._hand_over,
            decrypt=self._encrypted if tls is not None else None,
            seats=seats,
            room=room,
            head_seconds=head_seconds,
            idle_seconds=idle_seconds,
            base=base,
        )
        self.take = self._express.take
        """Serve a connection that was accepted elsewhere."""
        self.seats = seats
        self._desk: Desk | None = None
        self.fronts: Fronts | None = None
        self._hub = hub
        self._grace = grace_seconds
        self._stopping = trio.Event()
        self._listeners = listeners
        scheme = "http" if tls is None else "https"
        self.addresses = [address(listener, scheme, base) for listener in listeners.sockets]
        """The URLs at which the server listens."""

    @property
    def faults(self) -> int:
        """Hot requests, their connections and live websockets that ended because of a fault in likd."""
        fronts = 0 if self._desk is None or self.fronts is None else self._desk.faults + self.fronts.faults
        return self._express.faults + self._live.faults + fronts

    def stand_behind(self, desk: Desk, fronts: Fronts) -> None:
        """Let `fronts` accept connections, and serve those that they hand over; call it before running."""
        self._desk, self.fronts = desk, fronts

    def stop(self) -> None:
        """Take no more connections, and end the existing ones."""
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped: then websockets are closed with 1001, and requests in flight get time to finish."""
        async with trio.open_nursery() as full:
            await full.start(self._full.run)
            async with trio.open_nursery() as bare:
                await bare.start(self._live.run)
                await bare.start(self._express.run)
                if self._desk is not None:
                    await bare.start(self._desk.run)
                task_status.started()
                await self._stopping.wait()
                deadline = trio.current_time() + self._grace
                self._listeners.remove_files()
                await self._stop_fronts(deadline)
                self._express.stop()
                self._hub.closing.set()
                await self._live.stop()
                await self._full.stop(deadline - trio.current_time())
                with trio.move_on_at(deadline):
                    await self._live.wait_stopped()
                    await self._express.wait_stopped()
                bare.cancel_scope.cancel()
        self._live.close()
        self._express.close()
        if self.fronts is not None:
            with trio.move_on_at(deadline):
                await self.fronts.wait_ended()

    def _encrypted(self, sock: socket.socket, leave: Callable[[], None], address: str) -> None:
        self._full.take(sock, b"", leave, address)

    async def _stop_fronts(self, deadline: float) -> None:
        """Wait until no front hands a connection over any more."""
        if self.fronts is not None:
            self._listeners.close()
            self.fronts.stop()
            with trio.move_on_at(deadline):
                await self.fronts.wait_stopped()

    def _hand_over(self, sock: socket.socket, data: bytes, leave: Callable[[], None], address: str) -> None:
        """Pass on to another lane what is not for the express lane."""
        if not self._live.take(sock, data, leave, address):
            self._full.take(sock, data, leave, address)
