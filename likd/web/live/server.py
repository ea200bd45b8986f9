"""The live lane: the websockets of `/v1/live`, in few tasks on one epoll."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable

import structlog
import trio

from likd.queries.live_hub import LiveHub
from likd.runtime.notice import Notice
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.answers import Responses, answer_problem
from likd.web.api.live_socket import Close, LiveSessions, going_away
from likd.web.full.server import PING_SECONDS
from likd.web.full.stream import LINGER_BYTES_MAX, LINGER_SECONDS, SILENCE_SECONDS_MIN
from likd.web.live.client import Client
from likd.web.live.connection import PING, text_frame
from likd.web.live.handshake import Handshake, read_handshake
from likd.web.problems import Problem

CLIENTS_AT_ONCE = 100
"""So many are sent something, or have sent something, before others get their turn: about a millisecond."""
RECEIVE_BYTES = 1 << 14
SWEEP_SECONDS = 1.0
TIMED_SECONDS = 0.1
"""How exact the time is at which a client is told what needs no news of the hub."""

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT

log = structlog.get_logger(__name__)


class LiveLane:
    """Serves `/v1/live` on the connections that `take` accepts.

    A page that is open costs an object, not a task. When the hub has news one task tells all clients, with the same
    bytes for all who watch the same. It waits for none of them: one that does not take what it is sent is passed over,
    and told what is newest then when it does. What a client asks for is done by a task that ends with it.
    """

    def __init__(self, *, sessions: LiveSessions, hub: LiveHub, gate: Gate, idle_seconds: float) -> None:
        self._sessions = sessions
        self._hub = hub
        self._gate = gate
        self._idle_seconds = idle_seconds
        self._silence_seconds = max(idle_seconds, SILENCE_SECONDS_MIN)
        self._responses = Responses()
        self._clients: dict[int, Client] = {}
        self._busy: list[Client] = []
        self._timed: dict[Client, float] = {}
        """When clients are to be told something though there is no news."""
        self._news = Notice()
        self._message = self._frame = b""
        self._stopping = False
        self._stopped = trio.Event()
        # No bound of its own: a client has one at a time.
        self._asked_in, self._asked = trio.open_memory_channel[tuple[Client, str | bytes]](float("inf"))
        self._epoll = select.epoll()
        self.faults = 0
        """Connections that ended because of a fault of likd's own."""

    def take(self, sock: socket.socket, data: bytes, leave: Callable[[], None]) -> bool:
        """Serve the connection `sock` from now on, if `data`, which was read before, asks for `/v1/live`; else False.

        `leave` is called to give its seat back.
        """
        handshake = None if self._stopping else read_handshake(data)
        if handshake is None:
            return False
        client = Client(sock, leave, None)
        self._clients[sock.fileno()] = client
        self._epoll.register(sock.fileno(), _IN)
        self._guard(self._begin, client, handshake)
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. When run again after a fault, clients are found as they were."""
        self._hub.listen(self._news)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._broadcast)
                nursery.start_soon(self._obey_all)
                nursery.start_soon(self._tell_timed)
                nursery.start_soon(self._sweep)
                task_status.started()
                while True:
                    if self._busy:
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._serve_ready()
        finally:
            self._hub.unlisten(self._news)

    async def stop(self) -> None:
        """Tell all clients that the daemon goes away, and take no more."""
        self._stopping = True
        await self._each(self._clients.values(), self._say_close, going_away())
        if not self._clients:
            self._stopped.set()

    async def wait_stopped(self) -> None:
        """Wait until the last connection has ended after `stop`."""
        await self._stopped.wait()

    def close(self) -> None:
        """Close everything at once."""
        for client in list(self._clients.values()):
            self._close(client)
        self._epoll.close()

    def _begin(self, client: Client, handshake: Handshake) -> None:
        now = trio.current_time()
        client.heard_until = now + self._silence_seconds
        client.ping_at = now + PING_SECONDS
        try:
            address = client.socket.getpeername()[0]
            caller = self._gate.admit(address, handshake.credentials, Role.PUBLIC)
        except OSError:
            self._close(client)
        except Problem as problem:
            client.connection.ending = True
            self._send(client, self._responses.make(answer_problem(problem), keep_alive=False))
            self._proceed(client)
        else:
            client.session = self._sessions.begin(caller)
            self._send(client, handshake.accept + PING)
            if handshake.rest:
                client.connection.receive(handshake.rest)
                self._proceed(client)

    def _serve_ready(self) -> None:
        busy, self._busy = self._busy, []
        for client in busy:
            client.connection.work()
            self._guard(self._proceed, client)
        for fd, events in self._epoll.poll(0, CLIENTS_AT_ONCE):
            ready = self._clients.get(fd)
            if ready is not None:
                self._guard(self._ready, ready, events)

    def _ready(self, client: Client, events: int) -> None:
        """Do what the client's socket is ready for (bits of epoll)."""
        if events & _OUT:
            self._send(client, b"")
            self._tell(client)
        if events & _IN:
            self._receive(client)
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            self._close(client)
        self._proceed(client)

    def _receive(self, client: Client) -> None:
        try:
            data = client.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(client)
        elif client.leaving:
            client.dropped += len(data)
            if client.dropped > LINGER_BYTES_MAX:
                self._close(client)
        else:
            client.heard_until = trio.current_time() + self._silence_seconds
            client.connection.receive(data)

    def _proceed(self, client: Client) -> None:
        """Go on with what the client has said; end the connection if it is over; else wait for what it needs."""
        if client.socket.fileno() < 0:
            return
        connection = client.connection
        if client.obeying is None and client.session is not None:
            message = connection.next()
            if message is not None:
                client.obeying = trio.CancelScope()
                self._asked_in.send_nowait((client, message))
            elif connection.busy:
                self._busy.append(client)
        if out := connection.take():
            self._send(client, out)
        if connection.ending:
            self._end_session(client)
            if not client.output and not client.leaving:
                self._linger(client)
        self._watch(client)

    def _watch(self, client: Client) -> None:
        interest = client.wanted()
        if interest != client.interest and client.socket.fileno() >= 0:
            client.interest = interest
            self._epoll.modify(client.socket.fileno(), interest)

    def _tell(self, client: Client) -> None:
        """Send the client all that it was not told yet, unless it has to take other things first."""
        if client.output or client.session is None:
            return
        for message in self._sessions.messages(client.session):
            if message is not self._message:
                self._message, self._frame = message, text_frame(message)
            self._send(client, self._frame)

    def _send(self, client: Client, data: bytes) -> None:
        """Send what the client takes at once, and keep the rest for when it takes more."""
        output = client.output + data
        try:
            sent = client.socket.send(output)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(client)
            return
        if sent == len(output):
            if client.output:
                client.output = b""
                client.heard_until = trio.current_time() + self._silence_seconds
            return
        if sent or not client.output:
            client.taken_until = trio.current_time() + self._idle_seconds
            client.unsent = client.waiting()
        client.output = output[sent:]
        self._watch(client)

    async def _broadcast(self) -> None:
        while True:
            await self._news.wait()
            await self._each(self._clients.values(), self._tell)

    async def _tell_timed(self) -> None:
        while True:
            await trio.sleep(TIMED_SECONDS)
            now = trio.current_time()
            due = [client for client, at in self._timed.items() if at <= now]
            await self._each(due, self._tell_in_time)

    def _tell_in_time(self, client: Client) -> None:
        """Tell the client what is new, and remember when that is to be done again though there is no news."""
        self._timed.pop(client, None)
        self._tell(client)
        if client.session is not None:
            pause = self._sessions.pause(client.session)
            if pause != float("inf"):
                self._timed[client] = trio.current_time() + pause

    async def _obey_all(self) -> None:
        async with trio.open_nursery() as nursery:
            async for client, message in self._asked:
                nursery.start_soon(self._obey, client, message)

    async def _obey(self, client: Client, message: str | bytes) -> None:
        assert client.obeying is not None
        assert client.session is not None
        close = None
        try:
            with client.obeying:
                await self._sessions.obey(client.session, message)
        except Close as asked:
            close = asked
        except Exception as error:
            self._failed(client, error)
        except BaseException:
            # The lane is cancelled half way through: its client must not wait.
            self._close(client)
            raise
        finally:
            client.obeying = None
            if client.connection.ending or client.socket.fileno() < 0:
                self._end_session(client)
        if close is not None:
            self._guard(self._say_close, client, close)
        else:
            self._guard(self._tell_in_time, client)
            self._guard(self._proceed, client)

    def _say_close(self, client: Client, close: Close) -> None:
        client.connection.close(close.code, close.reason)
        self._proceed(client)

    def _linger(self, client: Client) -> None:
        """All is said: to close at once could destroy it on its way."""
        client.leaving = True
        client.heard_until = trio.current_time() + LINGER_SECONDS
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(client)

    def _end_session(self, client: Client) -> None:
        """The client watches no more. What it asked for and is still being done is cancelled, and then it ends."""
        self._timed.pop(client, None)
        if client.obeying is not None:
            client.obeying.cancel()
        elif client.session is not None:
            self._sessions.end(client.session)
            client.session = None

    def _close(self, client: Client, *, cut_off: bool = False) -> None:
        """It is over, whatever was not sent yet."""
        fd = client.socket.fileno()
        if self._clients.get(fd) is not client:
            return
        del self._clients[fd]
        self._epoll.unregister(fd)
        client.connection.ending = True
        client.output = b""
        if cut_off:
            client.reset()
        client.socket.close()
        client.leave()
        self._end_session(client)
        if self._stopping and not self._clients:
            self._stopped.set()

    async def _sweep(self) -> None:
        """Once a second: clients whose time has passed, and pings."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now = trio.current_time()
            due = [
                client
                for client in self._clients.values()
                if client.ping_at <= now or client.heard_until <= now or client.output
            ]
            await self._each(due, self._check_time)

    def _check_time(self, client: Client) -> None:
        now = trio.current_time()
        if client.output:
            if client.taken_until <= now:
                waiting = client.waiting()
                if waiting >= client.unsent:
                    self._close(client, cut_off=True)
                client.taken_until, client.unsent = now + self._idle_seconds, waiting
        elif client.heard_until <= now and client.obeying is None:
            self._close(client)
        elif client.ping_at <= now and not client.connection.ending:
            client.ping_at = now + PING_SECONDS
            self._send(client, PING)

    async def _each(self, clients: Iterable[Client], act: Callable[..., None], *arguments: object) -> None:
        """Do something for each of `clients`, and let others in between."""
        for count, client in enumerate(list(clients), 1):
            self._guard(act, client, *arguments)
            if count % CLIENTS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def _guard(self, act: Callable[..., None], client: Client, *arguments: object) -> None:
        """One client's fault must not end the others."""
        try:
            act(client, *arguments)
        except Exception as error:
            self._failed(client, error)

    def _failed(self, client: Client, error: Exception) -> None:
        self.faults += 1
        log.error("connection failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        self._close(client)
