"""A connection to one server: commands go out together, and their replies come back in their order.

coredis has the protocol: its parser and its errors. The connection is likd's own, because WAIT is about what came by
the same connection, and because a batch of commands that are packed already costs a tenth of what it costs to have
each of them looked at and followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import trio
from coredis.exceptions import RedisError
from coredis.parser import NotEnoughData, Parser

from likd.stores.redis.address import Address, Node

CONNECT_SECONDS = 3.0
READ_BYTES = 1 << 16

Reply: TypeAlias = Any
"""None, an int, bytes, a list of replies, or a RedisError."""


class LineBroken(Exception):
    """The connection ended, or could not be made. Whether the server did what it was told is not known."""


def packed(*words: bytes) -> bytes:
    """A command as it is sent."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


class Line:
    """A connection, for one who asks at a time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._parser = Parser()

    @classmethod
    async def connect(cls, node: Node, address: Address) -> Line:
        """A connection to `node`, as who `address` says. Raises LineBroken, RedisError."""
        stream: trio.abc.Stream
        try:
            with trio.fail_after(CONNECT_SECONDS):
                stream = tcp = await trio.open_tcp_stream(node.host, node.port)
                if address.tls is not None:
                    stream = trio.SSLStream(tcp, address.tls, server_hostname=node.host, https_compatible=True)
                    await stream.do_handshake()
                line = cls(stream)
                if address.password:
                    words = (address.user, address.password) if address.user else (address.password,)
                    (reply,) = await line.ask([packed(b"AUTH", *(word.encode() for word in words))])
                    if isinstance(reply, RedisError):
                        line.close()
                        raise reply
        except trio.TooSlowError:
            raise LineBroken(f"{node} does not answer within {CONNECT_SECONDS:g} s") from None
        except (OSError, trio.BrokenResourceError) as error:
            raise LineBroken(f"{node}: {error.__cause__ or error}") from None
        return line

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """The replies to packed `commands`. Cut off, the connection is of no use any more. Raises LineBroken."""
        replies: list[Reply] = []
        try:
            await self._stream.send_all(b"".join(commands))
            while len(replies) < len(commands):
                parsed = self._parser.parse()
                if not isinstance(parsed, NotEnoughData):
                    replies.append(parsed[1])
                elif data := await self._stream.receive_some(READ_BYTES):
                    self._parser.feed(bytes(data))
                else:
                    raise LineBroken("the server closed the connection")
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LineBroken(f"the connection ended: {error.__cause__ or error}") from None
        return replies

    def close(self) -> None:
        """Let go of it, without a word."""
        inner = self._stream
        while isinstance(inner, trio.SSLStream):
            inner = inner.transport_stream
        if isinstance(inner, trio.SocketStream):
            with suppress(OSError):
                inner.socket.close()
