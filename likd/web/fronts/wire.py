"""The wire between front and engine, without I/O: turns messages into bytes and back; both ends have one version."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from likd.errors import LikdError
from likd.web.fronts.messages import VERSION, Hello, Message, Welcome

MESSAGE_BYTES_MAX = 1 << 26
"""The size of the largest message: anything longer is not a message."""
LENGTH_BYTES = 4

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class WireError(LikdError):
    """What came is not a message, or of another version: nothing after it can be trusted."""


def frame(message: Message) -> bytes:
    """The bytes of a message. Raises WireError if it has too many."""
    data = _encode(message)
    if len(data) > MESSAGE_BYTES_MAX:
        raise WireError(f"a message of {len(data)} bytes")
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


class Receiver:
    """Cuts what one end receives into messages. The first has to be `first`, of this version."""

    def __init__(self, first: type[Hello | Welcome]) -> None:
        self._first: type[Hello | Welcome] | None = first
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete with what has just come. Raises WireError."""
        self._data += data
        at = 0
        try:
            while (message := self._next(at)) is not None:
                length, said = message
                at += length
                if self._first is not None:
                    self._check_first(said, self._first)
                    self._first = None
                yield said
        finally:
            del self._data[:at]

    @property
    def incomplete(self) -> bool:
        """Whether part of a message is here; if nothing more is received, it is cut off."""
        return bool(self._data)

    def _next(self, at: int) -> tuple[int, Message] | None:
        """The message that begins `at`, and how many bytes it takes, if it is complete."""
        have = len(self._data) - at
        if have < LENGTH_BYTES:
            return None
        size = int.from_bytes(self._data[at : at + LENGTH_BYTES], "little")
        if size > MESSAGE_BYTES_MAX:
            raise WireError(f"a message of {size} bytes")
        if have < LENGTH_BYTES + size:
            return None
        try:
            said = _decoder.decode(memoryview(self._data)[at + LENGTH_BYTES : at + LENGTH_BYTES + size])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WireError(self._unreadable(error)) from None
        return LENGTH_BYTES + size, said

    def _unreadable(self, error: Exception) -> str:
        return "the other end is not a likd of this version" if self._first is not None else f"not a message: {error}"

    def _check_first(self, said: Message, first: type[Hello | Welcome]) -> None:
        if not isinstance(said, first):
            raise WireError(f"the first message is {type(said).__name__}, expected {first.__name__}")
        if said.version != VERSION:
            raise WireError(f"the other end speaks version {said.version}, expected {VERSION}")
