"""What a client sends on its websocket, as the servers of both lanes get it.

They get whole frames that conform to RFC 6455, one message at a time, none larger than its bound.

Hypercorn notices too late that a message is too large, goes on after a violation of the protocol, and does not say what
was wrong; so none of these reach it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import attrs
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage

MESSAGE_BYTES_MAX = 1 << 20
TOO_LARGE = 1009
FRAMES_AT_ONCE = 100
"""This many take about a millisecond: one read can contain thousands, all of them empty."""


@attrs.frozen
class Violation:
    """Why a websocket must be closed: the code and reason of its close frame."""

    code: int
    reason: str


class Received:
    """What a client sends on its websocket, as events, as long as it keeps to the protocol."""

    __slots__ = ("_size", "busy", "connection", "violation")

    def __init__(self) -> None:
        self.violation: Violation | None = None
        """What the client did wrong; from then on, nothing more is taken from it."""
        self.busy = False
        """Whether there may be more events in what was fed."""
        self.connection = Connection(ConnectionType.SERVER)
        self._size = 0

    def feed(self, data: bytes) -> bool:
        """Take what the client sent next. Returns False if it had already ended or broken the protocol."""
        if self.violation is not None or self.connection.state is not ConnectionState.OPEN:
            return False
        self.connection.receive_data(data)
        return True

    def events(self) -> Iterator[Event]:
        """Some of the events in what was fed, up to the first violation."""
        count = 0
        for count, event in enumerate(self.connection.events(), 1):
            self._judge(event)
            if self.violation is not None:
                break
            # A message can consist of any number of empty frames.
            if not isinstance(event, Message) or event.data or event.message_finished:
                yield event
            if count == FRAMES_AT_ONCE:
                break
        self.busy = self.violation is None and count == FRAMES_AT_ONCE

    def _judge(self, event: Event) -> None:
        if isinstance(event, TextMessage | BytesMessage):
            self._size += len(event.data.encode() if isinstance(event, TextMessage) else event.data)
            if self._size > MESSAGE_BYTES_MAX:
                self.violation = Violation(TOO_LARGE, f"a message has at most {MESSAGE_BYTES_MAX} bytes")
            if event.message_finished:
                self._size = 0
        elif isinstance(event, CloseConnection) and self.connection.state is not ConnectionState.REMOTE_CLOSING:
            self.violation = Violation(event.code, event.reason or "")


class Frames:
    """Checks a client's frames, without I/O."""

    def __init__(self) -> None:
        self._received = Received()
        self._ours = Connection(ConnectionType.CLIENT)
        self._held: deque[Event] = deque()
        self._urgent = b""
        self._asked = False

    @property
    def violation(self) -> Violation | None:
        """What the client did wrong; from then on, nothing more is taken from it."""
        return self._received.violation

    @property
    def busy(self) -> bool:
        """Whether there may be more frames to `work` at."""
        return self._received.busy

    @property
    def full(self) -> bool:
        """Whether a message is waiting to be asked for; until then, nothing needs to be read."""
        return bool(self._held)

    def ask(self) -> None:
        """Ask for the next message: the previous one has been handled."""
        self._asked = True

    def feed(self, data: bytes) -> None:
        """Take what the client sent next."""
        if self._received.feed(data):
            self.work()

    def work(self) -> None:
        """Process some frames of what was fed; `busy` says whether there may be more."""
        for event in self._received.events():
            if isinstance(event, Ping):
                self._urgent += self._ours.send(event)
            elif isinstance(event, Message | CloseConnection):
                self._held.append(event)
        if self.violation is not None:
            self._held.clear()

    def take(self) -> bytes:
        """What the server is to get now."""
        data, self._urgent = self._urgent, b""
        while self._held and (self._asked or isinstance(self._held[0], CloseConnection)):
            event = self._held.popleft()
            data += self._ours.send(event)
            if isinstance(event, Message) and event.message_finished:
                self._asked = False
        return data
