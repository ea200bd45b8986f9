"""The floor for live counts: a Trio server that writes one shared frame to each of its sockets after each like."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import trio


async def bare() -> None:
    """Serve: anything that begins with POST is a like, everything else a websocket, whatever it asks for."""
    streams: list[trio.SocketStream] = []
    likes = 0

    def frame() -> bytes:
        counts = [{"url": "https://example.com/hot", "likes": likes, "rate": 4.0}]
        message = json.dumps({"type": "changes", "counts": counts}, separators=(",", ":")).encode()
        return b"\x81" + bytes([len(message)]) + message

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal likes
        received = await stream.receive_some(4096)
        if not received.startswith(b"POST"):
            await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frame())
            streams.append(stream)
        with contextlib.suppress(trio.BrokenResourceError):
            while received:
                if received.startswith(b"POST"):
                    likes += 1
                    shared = frame()
                    for each in tuple(streams):
                        with contextlib.suppress(OSError):
                            os.write(each.socket.fileno(), shared)
                    await stream.send_all(b'HTTP/1.1 202 Accepted\r\nContent-Length: 14\r\n\r\n{"accepted":1}')
                received = await stream.receive_some(4096)
        if stream in streams:
            streams.remove(stream)

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, serve, 0)
        print(listeners[0].socket.getsockname()[1], flush=True)


@contextlib.contextmanager
def server() -> Iterator[tuple[int, int]]:
    """A server of its own: its process and port."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    trio.run(bare)
