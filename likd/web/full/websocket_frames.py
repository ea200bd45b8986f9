"""What a client says on its websocket, as the full lane's server gets it: whole frames that keep to RFC 6455, one
message at a time, none larger than its bound.

Hypercorn sees too late that a message is too large, goes on taking what comes behind one that breaks the protocol, and
does not say what is wrong; so none of these reaches it.
"""

from __future__ import annotations

from collections import deque

import attrs
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage

MESSAGE_BYTES_MAX = 1 << 20
TOO_LARGE = 1009
FRAMES_AT_ONCE = 100
"""That many take about a millisecond: a read can be of thousands, all of them empty."""


@attrs.frozen
class Violation:
    """Why a websocket is to be failed: the code and reason of its close frame."""

    code: int
    reason: str


class Frames:
    """Checks a client's frames, without doing any input or output."""

    def __init__(self) -> None:
        self.violation: Violation | None = None
        """What the client did wrong; nothing is taken of it from then on."""
        self.busy = False
        self._theirs = Connection(ConnectionType.SERVER)
        self._ours = Connection(ConnectionType.CLIENT)
        self._held: deque[Event] = deque()
        self._urgent = b""
        self._size = 0
        self._asked = False

    @property
    def full(self) -> bool:
        """Whether a message waits for being asked for: nothing needs to be read until then."""
        return bool(self._held)

    def ask(self) -> None:
        """The next message may come: whoever asks is done with the one before."""
        self._asked = True

    def feed(self, data: bytes) -> None:
        """Take what the client sent next."""
        if self.violation is None and self._theirs.state is ConnectionState.OPEN:
            self._theirs.receive_data(data)
            self.work()

    def work(self) -> None:
        """Look at some frames of what was fed: `busy` says whether there may be more."""
        events = 0
        for events, event in enumerate(self._theirs.events(), 1):
            state: ConnectionState = self._theirs.state
            if isinstance(event, TextMessage | BytesMessage):
                self._hold(event)
            elif isinstance(event, Ping):
                self._urgent += self._ours.send(event)
            elif isinstance(event, CloseConnection):
                if state is not ConnectionState.REMOTE_CLOSING:
                    self.violation = Violation(event.code, event.reason or "")
                else:
                    self._held.append(event)
            if self.violation is not None:
                self._held.clear()
                break
            if events == FRAMES_AT_ONCE:
                break
        self.busy = self.violation is None and events == FRAMES_AT_ONCE

    def take(self) -> bytes:
        """What the server is to get now."""
        data, self._urgent = self._urgent, b""
        while self._held and (self._asked or isinstance(self._held[0], CloseConnection)):
            event = self._held.popleft()
            data += self._ours.send(event)
            if isinstance(event, Message) and event.message_finished:
                self._asked = False
        return data

    def _hold(self, event: TextMessage | BytesMessage) -> None:
        self._size += len(event.data.encode() if isinstance(event, TextMessage) else event.data)
        if self._size > MESSAGE_BYTES_MAX:
            self.violation = Violation(TOO_LARGE, f"a message has at most {MESSAGE_BYTES_MAX} bytes")
        elif event.data or event.message_finished:
            # A message can consist of any number of empty frames.
            self._held.append(event)
        if event.message_finished:
            self._size = 0
