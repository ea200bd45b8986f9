"""The web server: one port, two lanes, and their end in order."""

from __future__ import annotations

import socket
import ssl

import trio
from quart_trio import QuartTrio

from likd.queries.live_hub import LiveHub
from likd.web.access.body_budget import Room
from likd.web.access.connection_limit import Seats
from likd.web.access.gate import Gate
from likd.web.api.events import Operations
from likd.web.express.hot_reads import HotReads
from likd.web.express.server import ExpressLane
from likd.web.full.server import FullLane
from likd.web.listeners import address


class WebServer:
    """Serves the API on `listeners`: every connection begins in the express lane, and may move to the full lane.

    Both have their connections out of the same `seats`, and request bodies out of the same `room`.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        reads: HotReads,
        gate: Gate,
        app: QuartTrio,
        listeners: list[socket.socket],
        tls: ssl.SSLContext | None,
        hub: LiveHub,
        seats: Seats,
        room: Room,
        head_seconds: float,
        idle_seconds: float,
        grace_seconds: float,
    ) -> None:
        self._full = FullLane(
            app,
            tls=tls,
            room=room,
            connections_max=seats.connections_max,
            head_seconds=head_seconds,
            idle_seconds=idle_seconds,
        )
        self._express = ExpressLane(
            operations=operations,
            reads=reads,
            gate=gate,
            listeners=listeners,
            hand_over=self._full.take,
            encrypted=tls is not None,
            seats=seats,
            room=room,
            head_seconds=head_seconds,
            idle_seconds=idle_seconds,
        )
        self.seats = seats
        self._hub = hub
        self._grace = grace_seconds
        self._stopping = trio.Event()
        self.addresses = [address(listener, "http" if tls is None else "https") for listener in listeners]
        """The URLs that are listened on."""

    @property
    def faults(self) -> int:
        """Hot requests and their connections that ended because of a fault of likd's own."""
        return self._express.faults

    def stop(self) -> None:
        """Take no more connections, and end the ones there are."""
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped: then websockets are closed with 1001, and requests in flight get their grace."""
        async with trio.open_nursery() as full:
            await full.start(self._full.run)
            async with trio.open_nursery() as express:
                await express.start(self._express.run)
                task_status.started()
                await self._stopping.wait()
                self._express.stop()
                self._hub.closing.set()
                await self._full.stop(self._grace)
                with trio.move_on_after(self._grace):
                    await self._express.wait_stopped()
                express.cancel_scope.cancel()
        self._express.close()
