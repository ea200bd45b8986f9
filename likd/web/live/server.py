"""The live lane: serves the websockets of `/v1/live` in a few tasks, on one epoll."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from functools import partial

import trio

from likd.queries.hub import Hub
from likd.web.access.caller import Caller
from likd.web.answers import Answer, Responses
from likd.web.api.live_ops import Close, going_away
from likd.web.api.live_socket import LiveSessions
from likd.web.clients import CLIENTS_AT_ONCE, Clients
from likd.web.full.stream import LINGER_BYTES_MAX, LINGER_SECONDS, PING_SECONDS, SILENCE_SECONDS_MIN
from likd.web.live.admission import Admit
from likd.web.live.client import Client
from likd.web.live.connection import PING
from likd.web.live.handshake import Handshake, read_handshake
from likd.web.live.teller import Teller

RECEIVE_BYTES = 1 << 14
SWEEP_SECONDS = 1.0

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class LiveLane:
    """Serves `/v1/live` on the connections that `take` accepts.

    An open page costs an object, not a task. When the hub has news, one task sends it to all clients, with the same
    bytes for all who watch the same. It waits for none of them: a client that does not take what it is sent is skipped,
    and gets the newest state once it does. A client's requests are carried out by short-lived tasks.
    """

    def __init__(self, *, sessions: LiveSessions, hub: Hub, admit: Admit, idle_seconds: float, base: str = "") -> None:
        self._path = f"{base}/v1/live".encode()
        self._sessions = sessions
        self._hub = hub
        self._admit = admit
        self._idle_seconds = idle_seconds
        self._silence_seconds = max(idle_seconds, SILENCE_SECONDS_MIN)
        self._responses = Responses()
        self._clients: Clients[Client] = Clients(self._closed)
        self._close = self._clients.close
        self._guard = self._clients.guard
        self._busy: list[Client] = []
        self._teller = Teller(sessions, self._clients, self._send)
        # No bound of its own: a client has one at a time.
        self._asked_in, self._asked = trio.open_memory_channel[tuple[Client, str | bytes]](float("inf"))

    @property
    def faults(self) -> int:
        """Connections that ended because of a fault in likd."""
        return self._clients.faults

    def take(self, sock: socket.socket, data: bytes, leave: Callable[[], None], address: str) -> bool:
        """Serve the connection `sock` if `data`, read from it before, asks for `/v1/live`; else return False.

        It comes from `address`; `leave` is called to give its seat back.
        """
        handshake = None if self._clients.stopping else read_handshake(data, self._path)
        if handshake is None:
            return False
        client = Client(sock, leave, None)
        self._clients.add(client)
        self._guard(self._begin, client, handshake, address)
        return True

    def expel(self, leave: Callable[[], None]) -> None:
        """Close the connection that has this seat, if there is one."""
        self._clients.expel(leave)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. When run again after a fault, it finds the clients as they were."""
        self._hub.listen(self._teller.news)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._teller.run)
                nursery.start_soon(self._obey_all)
                nursery.start_soon(self._sweep)
                task_status.started()
                while True:
                    if self._busy:
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self._clients.epoll.fileno())
                    self._serve_ready()
        finally:
            self._hub.unlisten(self._teller.news)

    async def stop(self) -> None:
        """Tell all clients that the daemon is shutting down, and take no more."""
        self._clients.stop()
        await self._clients.each(self._clients, self._say_close, going_away())

    async def wait_stopped(self) -> None:
        """Wait until the last connection has ended after `stop`."""
        await self._clients.wait_stopped()

    def close(self) -> None:
        """Close everything at once."""
        self._clients.close_all()

    def _begin(self, client: Client, handshake: Handshake, address: str) -> None:
        client.heard_until = trio.current_time() + self._silence_seconds
        client.ping_at = float("inf")
        self._admit(address, handshake.credentials, partial(self._guard, self._enter, client, handshake))
        self._clients.watch(client, client.wanted())

    def _enter(self, client: Client, handshake: Handshake, admitted: Caller | Answer) -> None:
        """The client is let in, or told why not."""
        if client.socket.fileno() < 0 or client.connection.ending:
            return
        client.entering = False
        if isinstance(admitted, Answer):
            client.connection.ending = True
            self._send(client, self._responses.make(admitted, keep_alive=False))
        else:
            client.ping_at = trio.current_time() + PING_SECONDS
            client.session = self._sessions.begin(admitted)
            self._send(client, handshake.accept + PING)
            client.connection.receive(handshake.rest)
        self._proceed(client)

    def _serve_ready(self) -> None:
        busy, self._busy = self._busy, []
        for client in busy:
            self._guard(self._work, client)
        for fd, events in self._clients.epoll.poll(0, CLIENTS_AT_ONCE):
            ready = self._clients.by_descriptor.get(fd)
            if ready is not None:
                self._guard(self._ready, ready, events)

    def _work(self, client: Client) -> None:
        client.connection.work()
        self._proceed(client)

    def _ready(self, client: Client, events: int) -> None:
        """Handle what the client's socket is ready for (bits of epoll)."""
        if events & _OUT:
            self._send(client, b"")
            self._teller.tell(client)
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
        """Continue with what the client has sent; then end the connection if it is over, or wait for what it needs."""
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
        self._clients.watch(client, client.wanted())

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
        self._clients.watch(client, client.wanted())

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
            self._clients.failed(client, error)
        except BaseException:
            # The lane is cancelled half-way: its client must not be left waiting.
            self._close(client)
            raise
        finally:
            client.obeying = None
            if client.connection.ending or client.socket.fileno() < 0:
                self._end_session(client)
        if close is not None:
            self._guard(self._say_close, client, close)
        else:
            self._guard(self._teller.tell_in_time, client)
            self._guard(self._proceed, client)

    def _say_close(self, client: Client, close: Close) -> None:
        if client.entering:
            self._close(client)
            return
        client.connection.close(close.code, close.reason)
        self._proceed(client)

    def _linger(self, client: Client) -> None:
        """Everything is sent; closing at once could destroy it on its way."""
        client.leaving = True
        client.heard_until = trio.current_time() + LINGER_SECONDS
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(client)

    def _end_session(self, client: Client) -> None:
        """The client stops watching. If a request of its is still being carried out, cancel that first."""
        self._teller.forget(client)
        if client.obeying is not None:
            client.obeying.cancel()
        elif client.session is not None:
            self._sessions.end(client.session)
            client.session = None

    def _closed(self, client: Client) -> None:
        client.connection.ending = True
        self._end_session(client)

    async def _sweep(self) -> None:
        """Once a second: drop clients whose time has passed, and send pings."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            now = trio.current_time()
            due = [
                client
                for client in self._clients
                if client.ping_at <= now or client.heard_until <= now or client.output
            ]
            await self._clients.each(due, self._check_time)

    def _check_time(self, client: Client) -> None:
        now = trio.current_time()
        if client.output:
            if client.taken_until <= now:
                waiting = client.waiting()
                if waiting >= client.unsent:
                    client.cut_off()
                    self._close(client)
                client.taken_until, client.unsent = now + self._idle_seconds, waiting
        elif client.heard_until <= now and client.obeying is None:
            self._close(client)
        elif client.ping_at <= now and not client.connection.ending:
            client.ping_at = now + PING_SECONDS
            self._send(client, PING)
