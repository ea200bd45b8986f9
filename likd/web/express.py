"""The express lane: the hot requests of all plain connections, in one task on one epoll."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from likd.events import Outcome, Submission
from likd.web.access import EVERYONE, Caller, Gate
from likd.web.answer import Answer, answer_problem, conditional
from likd.web.connection import Connection
from likd.web.gathering import Gathering
from likd.web.http1 import Head, Heads, Operation, Responses
from likd.web.lane import Client, Slot
from likd.web.operations import Operations
from likd.web.problem import Problem
from likd.web.room import Room
from likd.web.seats import Seats
from likd.web.tokens import Role

EVENTS_AT_ONCE = 128
ACCEPTS_AT_ONCE = 64
SWEEP_SECONDS = 1.0
INLINE_BYTES_MAX = 1 << 16
"""Bodies over this size are read in a task of their own, which lets others in between."""

HandOver = Callable[[socket.socket, bytes, Callable[[], None]], None]
"""Takes a connection, what was read of it, and what gives its seat back."""
Work = Callable[[], Awaitable[Answer | Submission]]
"""What answers a request, or takes its events."""

log = structlog.get_logger(__name__)


class ExpressLane:
    """Accepts connections and serves POST /v1/events, GET /v1/counts for few URLs and GET /healthz on them.

    A task for each connection would be woken for each request. Here one task is woken for all sockets that are
    ready, requests are answered by the event manager's acknowledgement itself, and a like costs no wake at
    all when the daemon is busy. Anything else that comes on a connection hands it over for good, with the
    bytes read so far, and so does encryption. A connection takes one of the `seats` of both lanes, and
    a request body its part of the `room` of both.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        gate: Gate,
        listeners: list[socket.socket],
        hand_over: HandOver,
        encrypted: bool,
        seats: Seats,
        room: Room,
        head_seconds: float,
        idle_seconds: float,
    ) -> None:
        self.head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self.heads = Heads()
        self.now = time.monotonic()
        self.stopping = False
        self._operations = operations
        self._gate = gate
        self._responses = Responses()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._give = hand_over
        self._encrypted = encrypted
        self._seats = seats
        self._room = room
        self._connections: dict[int, Connection] = {}
        self._long_in, self._long = trio.open_memory_channel[tuple[Slot, Work]](seats.connections_max)
        self._gathering = Gathering(operations, self._responses)
        self._stopped = trio.Event()
        self._epoll = select.epoll()
        for fd in self._listeners:
            self._epoll.register(fd, select.EPOLLIN)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. When run again after a fault, connections are found as they were."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._spawn_long_requests, nursery)
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self._serve_ready()

    def stop(self) -> None:
        """Close the listeners, and each connection once what it asked for is answered."""
        self.stopping = True
        for fd, listener in self._listeners.items():
            self._epoll.unregister(fd)
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections.values()):
            connection.finish()
        if not self._connections:
            self._stopped.set()

    async def wait_stopped(self) -> None:
        """Wait until the last connection has ended after `stop`."""
        await self._stopped.wait()

    def close(self) -> None:
        """Close everything at once."""
        for connection in list(self._connections.values()):
            connection.close()
        self._epoll.close()

    # What a connection asks of its lane:

    def request(self, slot: Slot, head: Head, body: bytes) -> None:
        """Answer a request: at once, when it is acknowledged, or from a task of its own."""
        try:
            self._answer(slot, head, body)
        except Problem as problem:
            self._fill(slot, answer_problem(problem))
        except Exception as error:
            # Requests are read on from within acknowledgements: one's fault must reach nobody else.
            self._fail(slot, error)

    def admit(self, connection: Client, head: Head) -> bytes | None:
        """Room for a body, if there is, and if its sender may send it."""
        caller = EVERYONE
        try:
            caller = self._gate.recognize(head.credentials, Role.PUBLIC)
            if head.length > self._operations.body_limit(caller):
                raise self._operations.too_large(caller)
            if not self._room.take(head.length):
                raise Problem(503, "too many request bodies are being received", headers={"Retry-After": "1"})
        except Problem as refused:
            return self._responses.make(answer_problem(refused), keep_alive=False, extra=caller.headers)
        return None

    def release(self, length: int) -> None:
        """A body is gone."""
        self._room.give_back(length)

    def refusal(self, status: int, detail: str) -> bytes:
        """The answer to what breaks HTTP."""
        return self._responses.make(answer_problem(Problem(status, detail)), keep_alive=False)

    def hand_over(self, connection: Client, data: bytes) -> None:
        """Give the connection to the other lane."""
        self.closed(connection)
        self._give(connection.detach(), data, connection.leave)

    def watch(self, connection: Client, events: int) -> None:
        """Watch the connection's socket for `events`."""
        self._epoll.modify(connection.socket.fileno(), events)

    def closed(self, connection: Client) -> None:
        """Forget the connection."""
        fd = connection.socket.fileno()
        del self._connections[fd]
        self._epoll.unregister(fd)
        if self.stopping and not self._connections:
            self._stopped.set()

    def _serve_ready(self) -> None:
        self.now = time.monotonic()
        listeners: list[socket.socket] = []
        for fd, events in self._epoll.poll(0, EVENTS_AT_ONCE):
            connection = self._connections.get(fd)
            if connection is not None:
                try:
                    connection.ready(events)
                except Exception as error:
                    # One connection's fault must not end the others.
                    log.error("connection failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
                    connection.close()
            elif fd in self._listeners:
                listeners.append(self._listeners[fd])
        self._gathering.submit()
        # New connections come last: one that closed just now may have left them its file descriptor.
        for listener in listeners:
            self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                # Out of file descriptors or memory: wait for some, rather than spin on a listener that is ready.
                log.error("can't accept a connection", fault=error.strerror)
                self._epoll.modify(listener.fileno(), 0)
                return
            leave = self._seats.take(peer[0])
            if leave is None:
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._encrypted:
                self._give(sock, b"", leave)
                continue
            self._connections[sock.fileno()] = Connection(sock, peer[0], leave, self)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    async def _sweep(self) -> None:
        """Once a second: connections whose deadline has passed, and listeners that had to pause."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self.now = time.monotonic()
            for connection in list(self._connections.values()):
                if connection.deadline < self.now:
                    connection.expire()
            for fd in self._listeners:
                self._epoll.modify(fd, select.EPOLLIN)

    async def _spawn_long_requests(self, nursery: trio.Nursery) -> None:
        async for work in self._long:
            nursery.start_soon(self._answer_later, *work)

    def _do_later(self, slot: Slot, work: Work) -> None:
        try:
            self._long_in.send_nowait((slot, work))
        except trio.WouldBlock:
            problem = Problem(503, "too many long requests are being answered", headers={"Retry-After": "1"})
            self._fill(slot, answer_problem(problem))

    async def _answer_later(self, slot: Slot, work: Work) -> None:
        try:
            done = await work()
            if isinstance(done, Answer):
                self._fill(slot, done)
            else:
                self._fill_when_settled(slot, done)
        except Problem as problem:
            self._fill(slot, answer_problem(problem))
        except Exception as error:
            # One request's fault must not end the others.
            self._fail(slot, error)
        except BaseException:
            # Cancelled: without an answer the client must not wait.
            slot.abandon()
            raise
        self._gathering.submit()

    def _answer(self, slot: Slot, head: Head, body: bytes) -> None:
        """Answer, or raise Problem."""
        caller = EVERYONE
        health = head.operation is Operation.HEALTH
        if not self._gate.lets_everyone(head.credentials):
            need = Role.NOBODY if health else Role.PUBLIC
            caller = self._gate.admit(slot.connection.address, head.credentials, need)
            slot.headers = caller.headers
        if health:
            self._fill(slot, self._operations.health())
            return
        if head.operation is Operation.COUNTS:
            answer = self._operations.counts_nowait(head.urls, caller)
            if answer is None:
                self._do_later(slot, partial(self._counts, head, caller))
            else:
                self._fill(slot, conditional(answer, head.if_none_match))
            return
        event = self._operations.recall(body) if head.plain and caller.role is not Role.PUBLIC else None
        if event is not None:
            self._gathering.add(slot, event)
        elif len(body) > INLINE_BYTES_MAX:
            self._do_later(slot, partial(self._operations.submit_long, body, head.events, caller))
        else:
            self._read(slot, head, body, caller)

    async def _counts(self, head: Head, caller: Caller) -> Answer:
        return conditional(await self._operations.counts(head.urls, caller), head.if_none_match)

    def _read(self, slot: Slot, head: Head, body: bytes, caller: Caller) -> None:
        submission = self._operations.read(body, head.events, caller)
        if head.plain and submission.size == 1 and not submission.acts:
            ((kind, (url,)),) = submission.events.items()
            self._gathering.add(slot, (kind, url))
            return
        answering = self._operations.submit_nowait(submission)
        if answering is None:
            self._do_later(slot, partial(self._operations.submit, submission))
        else:
            self._fill_when_settled(slot, answering)

    def _fill_when_settled(self, slot: Slot, submission: Submission) -> None:
        def settled(outcome: Outcome) -> None:
            self._fill(slot, self._operations.answer(outcome))
            self._gathering.submit()

        submission.on_settled(settled)

    def _fail(self, slot: Slot, error: Exception) -> None:
        log.error("request failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        if slot.response is None:
            self._fill(slot, answer_problem(Problem(500, "the request could not be answered")))

    def _fill(self, slot: Slot, answer: Answer) -> None:
        slot.fill(self._responses.make(answer, keep_alive=slot.keep_alive, extra=slot.headers))
