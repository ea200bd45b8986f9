"""Reading spans from files and from streams, the blocking parts in threads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from likd.cli.sending.resume import Gap, read_span
from likd.cli.sending.spans import Cutter, Extent, Source, Span

CHUNK_BYTES = 256 << 10
STREAM_SECONDS = 1.0
"""A line of a stream waits at most so long for others to be sent with."""


T = TypeVar("T")


async def read_file(
    path: Path,
    source: Source,
    spans: trio.MemorySendChannel[Span],
    *,
    lines_max: int,
    resend: Sequence[Extent],
    gaps: Sequence[Gap],
) -> None:
    """Send the spans at `resend` just as they are, then what is in `gaps`, cut anew. Raises OSError."""
    async with await trio.open_file(path, "rb", buffering=0) as file:
        for extent in resend:
            await spans.send(await trio.to_thread.run_sync(read_span, file.fileno(), source, extent))
        for gap in gaps:
            cutter = Cutter(source, lines_max, begin=gap.begin, line=gap.line)
            begin, end = gap.begin, math.inf if gap.end is None else gap.end
            while begin < end:
                size = int(min(CHUNK_BYTES, end - begin))
                data = await trio.to_thread.run_sync(os.pread, file.fileno(), size, begin)
                if not data:
                    break
                begin += len(data)
                for span in cutter.feed(data):
                    await spans.send(span)
            for span in cutter.end():
                await spans.send(span)


async def read_stream(
    path: Path | None, source: Source, spans: trio.MemorySendChannel[Span], *, lines_max: int
) -> None:
    """Send the lines of a pipe or terminal (standard input without `path`) soon after they come.

    It may never end, and can be cancelled while it waits. Raises OSError.
    """
    cutter = Cutter(source, lines_max)
    fault: OSError | None = None

    async def pump(chunks: trio.MemorySendChannel[bytes]) -> None:
        nonlocal fault
        async with chunks:
            try:
                fd = await _abandonable(partial(os.open, path, os.O_RDONLY | os.O_CLOEXEC)) if path else 0
                while data := await _abandonable(partial(os.read, fd, CHUNK_BYTES)):
                    await chunks.send(data)
            except OSError as error:
                fault = error

    async with trio.open_nursery() as nursery:
        sender, chunks = trio.open_memory_channel[bytes](1)
        nursery.start_soon(pump, sender)
        due = math.inf
        while True:
            chunk = None
            with trio.move_on_at(due):
                try:
                    chunk = await chunks.receive()
                except trio.EndOfChannel:
                    break
            for span in cutter.feed(chunk) if chunk is not None else cutter.rest():
                await spans.send(span)
            if not cutter.waiting:
                due = math.inf
            elif due == math.inf:
                due = trio.current_time() + STREAM_SECONDS
    for span in cutter.end():
        await spans.send(span)
    if fault is not None:
        raise fault


async def _abandonable(call: Callable[[], T]) -> T:
    """`call` in a thread that is left to itself when this is cancelled: a read may never return."""
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
