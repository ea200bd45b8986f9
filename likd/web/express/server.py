"""The express lane: serves the hot requests of all plain connections in one task, on one epoll."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

import structlog
import trio

from likd.web.access.body_budget import BodyBudget
from likd.web.access.gate import Gate
from likd.web.answers import HEAD_BYTES_MAX
from likd.web.clients import Clients
from likd.web.express.acceptor import Acceptor, Seats
from likd.web.express.client import Client
from likd.web.express.connection import Connection
from likd.web.express.exchange import Exchange
from likd.web.express.fast_path import FastPath, Recall
from likd.web.express.hot_requests import MakeRequests
from likd.web.express.http1 import CONTINUE, Heads
from likd.web.express.line import Line
from likd.web.express.states import FINAL, State, Timeouts

EVENTS_AT_ONCE = 128
SWEEP_SECONDS = 1.0
RECEIVE_BYTES = HEAD_BYTES_MAX
"""Python allocates a buffer for each read: 64 KiB costs 2 µs more, and a larger one is also mapped and unmapped."""
RECEIVE_BODY_BYTES = 1 << 20

HandOver = Callable[[socket.socket, bytes, Callable[[], None], str], None]
"""Takes a connection, what was read from it, the function that gives its seat back, and the address it comes from."""
Decrypt = Callable[[socket.socket, Callable[[], None], str], None]
"""Takes a connection whose client speaks TLS: with what gives its seat back, and the address it comes from."""

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT

log = structlog.get_logger(__name__)


class ExpressLane:
    """Accepts connections and serves the hot requests on them.

    With a task for each connection, each request would wake one. Here one task is woken for all sockets that are ready,
    the event manager's acknowledgement itself answers requests, and in a busy daemon a like wakes no task at all.
    Anything else on a connection, encryption included, hands it over for good, with the bytes read so far. A connection
    takes one of the `seats` that all lanes share, and a request body takes part of their shared `room`.
    """

    def __init__(
        self,
        *,
        make_requests: MakeRequests,
        recall: Recall,
        gate: Gate,
        listeners: list[socket.socket],
        hand_over: HandOver,
        decrypt: Decrypt | None,
        seats: Seats,
        room: BodyBudget,
        head_seconds: float,
        idle_seconds: float,
        base: str = "",
    ) -> None:
        self._timeouts = Timeouts(head_seconds, idle_seconds)
        self._heads = Heads(base)
        self._now = time.monotonic()
        self._give = hand_over
        self._decrypt = decrypt
        self._room = room
        self._clients: Clients[Client] = Clients(self._closed)
        self._close = self._clients.close
        self._acceptor = Acceptor(listeners, self._clients.epoll, seats, self._accept)
        self._line = Line()
        self._enlist = self._line.add
        self._requests = make_requests(self._send, lambda exchange: self._close(exchange.client))
        self._fast_path = FastPath(self._heads, gate, recall, self._requests.gather)
        self._said_tls = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. When run again after a fault, it finds the connections as they were."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._go_on)
            await nursery.start(self._requests.run)
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(self._clients.epoll.fileno())
                self._serve_ready()

    def stop(self) -> None:
        """Close the listeners, and each connection once its requests are answered."""
        self._acceptor.close()
        self._clients.stop()
        for client in self._clients:
            if client.http.resting and not client.output:
                self._close(client)
            else:
                client.http.finish()
                self._enlist(client)

    def take(self, sock: socket.socket, data: bytes, leave: Callable[[], None], address: str) -> None:
        """Serve a connection from `address` that was accepted elsewhere.

        So far `data` was read from it; `leave` is called at its end.
        """
        sock.settimeout(0)
        client = Client(sock, address, leave, Connection(self._heads, self._timeouts, self._now))
        self._clients.add(client)
        client.http.receive(data, self._now)
        if self._clients.stopping:
            client.http.finish()
        self._enlist(client)

    def expel(self, leave: Callable[[], None]) -> None:
        """Close the connection that has this seat, if there is one."""
        self._clients.expel(leave)

    async def wait_stopped(self) -> None:
        """Wait until the last connection has ended after `stop`."""
        await self._clients.wait_stopped()

    def close(self) -> None:
        """Close everything at once."""
        self._clients.close_all()

    @property
    def faults(self) -> int:
        """Requests and connections that ended because of a fault in likd."""
        return self._clients.faults + self._requests.faults

    def _serve_ready(self) -> None:
        self._now = time.monotonic()
        listeners: list[socket.socket] = []
        clients, acceptor = self._clients.by_descriptor, self._acceptor
        for fd, events in self._clients.epoll.poll(0, EVENTS_AT_ONCE):
            client = clients.get(fd)
            if client is not None:
                try:
                    self._ready(client, events)
                except Exception as error:
                    self._clients.failed(client, error)
            elif fd in acceptor.listeners:
                listeners.append(acceptor.listeners[fd])
        self._requests.submit()
        # New connections come last: they may get the file descriptor of one that has just closed.
        for listener in listeners:
            acceptor.accept(listener)

    def _ready(self, client: Client, events: int) -> None:
        """Handle what the client's socket is ready for (bits of epoll)."""
        if events & _OUT:
            self._flush(client)
        if events & _IN:
            if self._receive(client):
                return
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            self._close(client)
        self._proceed(client)

    def _receive(self, client: Client) -> bool:
        """Read what the client sent. Returns whether the fast path took all of it."""
        http = client.http
        rests = http.resting and not client.output and client.interest == _IN
        if not rests and not http.wants_input:
            return False
        size = 0 if rests else http.input_size
        try:
            data = client.socket.recv(RECEIVE_BYTES if size <= RECEIVE_BYTES else min(size, RECEIVE_BODY_BYTES))
        except BlockingIOError:
            return False
        except OSError:
            self._close(client)
            return False
        if not data:
            http.receive_end()
            return False
        if rests and self._fast_path.begin(client, http, data, self._now):
            return True
        http.receive(data, self._now)
        return False

    def _proceed(self, client: Client) -> None:
        """Begin the requests that can be begun; then end the connection if it is over, or wait for what it needs."""
        http = client.http
        while not client.output and (exchange := http.next(self._now)) is not None:
            self._begin(client, exchange)
            if http.quiet and client.interest == _IN and not client.output:
                return
        if http.state is State.HANDED_OVER:
            self._hand_over(client)
        elif http.spoke_tls:
            self._say_tls(client)
        elif http.over and not client.output:
            self._end(client)
        self._watch(client)

    def _begin(self, client: Client, exchange: Exchange) -> None:
        if exchange.body is None:
            if not self._requests.takes(exchange):
                client.http.hand_over()
                return
            refused = self._requests.admit(exchange, client.address)
            if refused is None:
                if client.http.admit(self._now):
                    client.output += CONTINUE
                    self._flush(client)
                return
            exchange = client.http.refuse(refused)
        exchange.client = client
        if self._requests.begin(exchange, client.address):
            client.http.hold()

    def _watch(self, client: Client) -> None:
        if client.http.state in FINAL:
            return
        wants_input = client.http.wants_input and not client.output
        self._clients.watch(client, (_IN if wants_input else 0) | (_OUT if client.output else 0))

    def _send(self, exchange: Exchange, response: bytes) -> None:
        """Answer a request. The event manager's acknowledgement calls this, so one client's fault must stay its own."""
        client: Client = exchange.client
        try:
            if exchange.admitted:
                self._room.give_back(exchange.admitted)
                exchange.admitted = 0
            out = client.http.answer(exchange, response, self._now)
            if out:
                client.output += out
                self._flush(client)
            if client.output or not client.http.quiet or client.interest != _IN:
                self._enlist(client)
        except Exception as error:
            self._clients.failed(client, error)

    def _flush(self, client: Client) -> None:
        if not client.output:
            return
        try:
            sent = client.socket.send(client.output)
        except BlockingIOError:
            return
        except OSError:
            self._close(client)
            return
        if sent == len(client.output):
            client.output = b""
        else:
            client.output = client.output[sent:]
            client.http.delay(self._now)

    async def _go_on(self) -> None:
        while True:
            clients = await self._line.take()
            self._now = time.monotonic()
            for client in clients:
                self._clients.guard(self._proceed, client)
            self._requests.submit()

    def _end(self, client: Client) -> None:
        """Everything is answered and sent: let the client finish."""
        if client.http.ended:
            self._close(client)
        elif client.http.state is State.ENDING:
            client.http.linger(self._now)
            try:
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self._close(client)

    def _hand_over(self, client: Client) -> None:
        if self._clients.forget(client):
            self._give(client.socket, client.http.rest, client.leave, client.address)

    def _closed(self, client: Client) -> None:
        client.http.close()
        self._room.give_back(client.http.admitted)

    def _say_tls(self, client: Client) -> None:
        if not self._said_tls:
            self._said_tls = True
            log.warning(
                "a client speaks TLS to a port without TLS", peer=client.address, setting="--tls-cert, --tls-key"
            )
        self._close(client)

    def _accept(self, sock: socket.socket, address: str, leave: Callable[[], None]) -> None:
        if self._decrypt is not None:
            self._decrypt(sock, leave, address)
        else:
            self._clients.add(Client(sock, address, leave, Connection(self._heads, self._timeouts, self._now)))

    async def _sweep(self) -> None:
        """Once a second: handle connections whose deadline has passed, and listeners that had to pause."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self._now = time.monotonic()
            for client in self._clients:
                if client.http.deadline < self._now:
                    self._clients.guard(self._expire, client)
            self._acceptor.resume()

    def _expire(self, client: Client) -> None:
        refused = None if client.output else client.http.expire(self._now)
        if client.output or client.http.state is State.CLOSED:
            # It does not read its answers, or sends nothing.
            self._close(client)
        if refused is not None:
            self._begin(client, refused)
        self._proceed(client)
