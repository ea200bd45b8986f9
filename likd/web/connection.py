"""One connection of the express lane: its bytes in, its answers out, in order."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from likd.web.http1 import CONTINUE, HEAD_BYTES_MAX, BadHead, Head, Operation
from likd.web.lane import Lane, Slot
from likd.web.room import BODY_BYTES_PER_SECOND, BODY_SECONDS

RECEIVE_BYTES = 1 << 14
"""Python makes a buffer for each read: one of 64 KiB costs 2 us more, and a larger one is mapped and unmapped, too."""
RECEIVE_BODY_BYTES = 1 << 20
PIPELINE_MAX = 64
"""Requests of one connection that may wait for their answers; it is not read from past that."""
OUTPUT_BYTES_MAX = 1 << 18
"""Answers that may wait for a client to read them; its requests are not read past that."""

BODY_ADMITTED_BYTES = 1 << 14
"""Bodies up to this size are taken without asking: they are here with their heads already."""

LINGER_SECONDS = 2.0


class State(Enum):
    """What a connection does with what the client sends."""

    HEADS = auto()
    BODY = auto()
    DISCARD = auto()
    CLOSED = auto()


class Connection:
    """A client's connection. All calls run to their end without waiting: there is no task behind it.

    Answers that are ready together are sent together.
    """

    __slots__ = (
        "_admitted",
        "_advancing",
        "_body",
        "_data",
        "_eof",
        "_head",
        "_interest",
        "_lane",
        "_missing",
        "_out",
        "_owed",
        "_slots",
        "address",
        "deadline",
        "leave",
        "socket",
        "state",
    )

    def __init__(self, sock: socket.socket, address: str, leave: Callable[[], None], lane: Lane) -> None:
        self.socket = sock
        self.address = address
        self.leave = leave
        self.state = State.HEADS
        self.deadline = lane.now + lane.head_seconds
        self._lane = lane
        self._data = b""
        self._advancing = False
        self._head: Head | None = None
        self._body: list[bytes] = []
        self._missing = 0
        self._admitted = 0
        self._slots: deque[Slot] = deque()
        self._owed = 0
        self._out = b""
        self._eof = False
        self._interest: int = select.EPOLLIN

    def ready(self, events: int) -> None:
        """Do what the socket is ready for (bits of epoll)."""
        if events & select.EPOLLOUT:
            self._send(b"")
            if not self._slots:
                self._advance()
        if events & select.EPOLLIN and self.state is not State.CLOSED:
            self._receive()
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            self.close()
        if self._busy or len(self._slots) >= PIPELINE_MAX:
            self._watch()

    def answered(self, slot: Slot) -> None:
        """One more answer is known: once none is missing, send them all and go on."""
        if slot.admitted:
            self._lane.release(slot.admitted)
        self._owed -= 1
        if self._owed or self.state is State.CLOSED:
            return
        slots = self._slots
        responses = slots[0].response if len(slots) == 1 else b"".join([one.response or b"" for one in slots])
        if not slots[-1].keep_alive:
            self.state = State.DISCARD
        slots.clear()
        if self.state is State.HEADS and not self._data:
            self.deadline = self._lane.now + self._lane.idle_seconds
        self._send(responses or b"")
        if self._busy and not self._advancing:
            self._advance()
            if self._eof and not self._slots:
                self.state = State.DISCARD
                self._send(b"")
            self._watch()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._slots and self.state is not State.BODY:
            self.deadline = self._lane.now + self._lane.idle_seconds
        elif self.state is State.BODY or (self.state is State.HEADS and self._data):
            self._refuse(self._lane.refusal(408, "the request did not arrive in time"))
        else:
            self.close()

    def finish(self) -> None:
        """The daemon ends: answer what is owed, take no more."""
        if self._slots:
            self._slots[-1].keep_alive = False
        elif self.state is State.HEADS and not self._out:
            self.close()

    def close(self) -> None:
        """Close at once."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._lane.release(self._admitted)
            self._lane.closed(self)
            self.socket.close()
            self.leave()

    def detach(self) -> socket.socket:
        """Give the socket away; the connection is done with it."""
        self.state = State.CLOSED
        return self.socket

    @property
    def _busy(self) -> bool:
        """Whether there is more to it than the next request: something waits, or is watched for."""
        return bool(self._data or self._out or self._eof or self._interest != select.EPOLLIN)

    def _watch(self) -> None:
        """Read on as long as there is room for what the client may send."""
        if self.state is State.CLOSED:
            return
        room = len(self._slots) < PIPELINE_MAX and len(self._out) < OUTPUT_BYTES_MAX and len(self._data) < RECEIVE_BYTES
        interest = (select.EPOLLIN if room and not self._eof else 0) | (select.EPOLLOUT if self._out else 0)
        if interest != self._interest:
            self._interest = interest
            self._lane.watch(self, interest)

    def _receive(self) -> None:
        try:
            data = self.socket.recv(max(RECEIVE_BYTES, min(self._missing, RECEIVE_BODY_BYTES)))
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            # The client sends no more; it may still wait for answers.
            self._eof = True
            if not self._slots and not self._out:
                self.close()
        elif self.state is State.HEADS:
            if self._data:
                self._data += data
            else:
                self._data = data
                self.deadline = self._lane.now + self._lane.head_seconds
            self._advance()
        elif self.state is State.BODY:
            self._take_body(data)

    def _advance(self) -> None:
        """Take the requests that are there. What is left of `_data` waits for more bytes, or for answers."""
        self._advancing = True
        while self.state is State.HEADS and self._data and len(self._slots) < PIPELINE_MAX:
            data = self._data
            if data[0] in b"\r\n":
                # Empty lines before a request are to be passed over (RFC 9112, 2.2).
                self._data = data.lstrip(b"\r\n")
                continue
            end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX) + 4
            if end == 3:
                if len(data) >= HEAD_BYTES_MAX:
                    self._refuse(self._lane.refusal(431, f"the head is over {HEAD_BYTES_MAX} bytes"))
                break
            try:
                head = self._lane.heads.read(data[:end])
            except BadHead as error:
                self._refuse(self._lane.refusal(400, str(error)))
                break
            if head.operation is Operation.COLD:
                if not self._slots and not self._out:
                    self._lane.hand_over(self, data)
                break
            stop = end + head.length
            if stop <= len(data) and head.length <= BODY_ADMITTED_BYTES:
                self._data = data[stop:]
                self.deadline = self._lane.now + self._lane.head_seconds
                self._request(head, data[end:stop])
            else:
                self._data = b""
                self._begin_body(head, data[end:])
        self._advancing = False

    def _begin_body(self, head: Head, data: bytes) -> None:
        refusal = self._lane.admit(self, head)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._admitted = self._missing = head.length
        self._head, self._body = head, []
        self.state = State.BODY
        self.deadline = self._lane.now + BODY_SECONDS + head.length / BODY_BYTES_PER_SECOND
        if head.expects_continue and not data and not self._slots:
            self._send(CONTINUE)
        if data:
            self._take_body(data)

    def _take_body(self, data: bytes) -> None:
        self._body.append(data[: self._missing])
        rest = data[self._missing :]
        self._missing -= len(self._body[-1])
        if self._missing:
            return
        head, body = self._head, b"".join(self._body)
        assert head is not None
        self._head, self._body = None, []
        self._data = rest
        self.state = State.HEADS
        self._request(head, body)
        if not self._advancing:
            self._advance()

    def _request(self, head: Head, body: bytes) -> None:
        slot = Slot(self, head.keep_alive and not self._lane.stopping, self._admitted)
        self._admitted = 0
        self._slots.append(slot)
        self._owed += 1
        if not slot.keep_alive:
            self.state = State.DISCARD
        self._lane.request(slot, head, body)

    def _refuse(self, response: bytes) -> None:
        """Answer what can't be read on from, after the answers that are owed before it."""
        self.state = State.DISCARD
        self._data, self._head, self._body = b"", None, []
        slot = Slot(self, False, self._admitted)
        self._admitted = 0
        self._slots.append(slot)
        self._owed += 1
        slot.fill(response)

    def _send(self, data: bytes) -> None:
        data = self._out + data if self._out else data
        try:
            sent = self.socket.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._out = data[sent:]
        if self.state is State.DISCARD and not self._out and not self._slots:
            self._end()

    def _end(self) -> None:
        """All is answered. Let the client finish: to close at once could destroy the answers on their way."""
        if self._eof:
            self.close()
            return
        self.deadline = self._lane.now + LINGER_SECONDS
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
