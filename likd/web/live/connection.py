"""A client's websocket, without I/O: bytes in, whole messages out, plus the protocol's own frames."""

from __future__ import annotations

from wsproto.events import CloseConnection, Event, Message, Ping

from likd.web.full.websocket_frames import Received

PING = b"\x89\x00"
PARTS_MAX = 1024
"""How many parts of a message are kept before they are joined: each can be a single byte."""


def text_frame(message: bytes) -> bytes:
    """A text message as one frame, the same for everyone who gets it."""
    size = len(message)
    if size < 126:
        return b"\x81%c%b" % (size, message)
    if size < 1 << 16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), message)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), message)


class Connection:
    """Whoever moves the bytes calls `next` once the previous message is handled, and then sends what `take` returns.

    A violation of the protocol ends it at once. The client's close is answered after the messages before it.
    """

    __slots__ = ("_held", "_out", "_parts", "_received", "ending")

    def __init__(self) -> None:
        self.ending = False
        """Whether the close was sent, or is about to be: nothing more is taken from the client."""
        self._received = Received()
        self._held: list[Event] = []
        self._parts: list[str | bytes] = []
        self._out = b""

    @property
    def wants_input(self) -> bool:
        """Whether there is room for more from the client: everything before has been taken."""
        return not (self.ending or self._held or self._received.busy)

    @property
    def busy(self) -> bool:
        """Whether there may be more to `work` at once other tasks have had their turn."""
        return self._received.busy and not self._held and not self.ending

    def receive(self, data: bytes) -> None:
        """The client sent `data`."""
        if not self.ending and self._received.feed(data):
            self.work()

    def work(self) -> None:
        """Process some of the received frames, about a millisecond's worth."""
        for event in self._received.events():
            if isinstance(event, Ping):
                self._out += self._received.connection.send(event.response())
            elif isinstance(event, Message | CloseConnection):
                self._held.append(event)
        violation = self._received.violation
        if violation is not None:
            self.close(violation.code, violation.reason)

    def next(self) -> str | bytes | None:
        """The next message, None if there is none yet. The client's close is answered in its turn."""
        while self._held:
            event = self._held.pop(0)
            if isinstance(event, CloseConnection):
                self.close(event.code, event.reason or "")
            elif isinstance(event, Message):
                self._parts.append(event.data)
                if event.message_finished or len(self._parts) == PARTS_MAX:
                    self._parts = [_joined(self._parts)]
                if event.message_finished:
                    return self._parts.pop()
        return None

    def close(self, code: int, reason: str) -> None:
        """Send the close. Whatever was received and not taken is dropped."""
        self._held.clear()
        if not self.ending:
            self.ending = True
            self._out += self._received.connection.send(CloseConnection(code, reason))

    def take(self) -> bytes:
        """What is to be sent now besides messages: pongs and the close."""
        out, self._out = self._out, b""
        return out


def _joined(parts: list[str | bytes]) -> str | bytes:
    """The parts of one message: all text or all binary."""
    return parts[0][:0].join(parts)  # type: ignore[arg-type]
