"""Reads ranges of lines from files, growing files and streams; the blocking parts run in threads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from likd.cli.sending.content import CHUNK_BYTES, Content
from likd.cli.sending.delivery_log import DeliveryLog
from likd.cli.sending.inputs import Input, MakeFormat, read_line_range
from likd.cli.sending.line_ranges import Cutter, LineRange, Source
from likd.cli.sending.progress import Gap
from likd.cli.sending.rotation import HEAD_BYTES, SETTLED_SECONDS, Head, find, head_of

STREAM_SECONDS = 1.0
"""How long a line of a stream waits at most for others to be sent with it."""
FOLLOW_SECONDS = 0.5
"""How often a followed file is checked."""


T = TypeVar("T")
Spans = trio.MemorySendChannel[LineRange]


@attrs.frozen
class Reader:
    """Reads inputs and sends ranges of at most `lines_max` lines."""

    line_ranges: Spans
    delivery_log: DeliveryLog
    lines_max: int

    async def read(self, one: Input) -> None:
        """Send what is left of an input. Raises OSError."""
        if one.content is None:
            await read_stream(one.path, one.source, self.line_ranges, lines_max=self.lines_max)
            return
        end, cutter = await self._read_gaps(one)
        for line_range in cutter.end(whole_lines=one.whole_lines):
            await self.line_ranges.send(line_range)
        if one.rotated and not one.whole_lines:
            self.delivery_log.ended(one.source, end)

    async def follow(self, one: Input, make_format: MakeFormat) -> None:
        """Send what is left of a file, and then whatever is added, even after a rotation, for ever. Raises OSError.

        A file that was moved is read until nothing more is written to it.
        """
        path, content, source = one.path, one.content, one.source
        assert path is not None
        assert content is not None
        begin, cutter = await self._read_gaps(one)
        while True:
            end = await self._grow(path, content, source, cutter, begin)
            for line_range in cutter.end():
                await self.line_ranges.send(line_range)
            self.delivery_log.ended(source, end)
            content = await _in_thread(Content, path)
            source = Source(self.delivery_log.renew(path, content), str(path), make_format(str(path)))
            begin, cutter = 0, Cutter(source, self.lines_max)

    async def _read_gaps(self, one: Input) -> tuple[int, Cutter]:
        """Send the ranges that have to be sent again exactly as they were, then the lines in the gaps, cut anew.

        Returns where the end is, and the cutter with what is left there.
        """
        content = one.content
        assert content is not None
        for byte_range in one.resend:
            await self.line_ranges.send(await _in_thread(read_line_range, content, one.source, byte_range))
        for gap in one.gaps:
            cutter = Cutter(
                one.source,
                self.lines_max,
                begin=gap.begin,
                line=gap.line,
                header=await _in_thread(content.header, gap.begin),
            )
            begin = await self._read_gap(content, cutter, gap)
            if gap.end is not None:
                for line_range in cutter.end():
                    await self.line_ranges.send(line_range)
        return begin, cutter

    async def _read_gap(self, content: Content, cutter: Cutter, gap: Gap) -> int:
        begin = gap.begin
        while gap.end is None or begin < gap.end:
            size = CHUNK_BYTES if gap.end is None else min(CHUNK_BYTES, gap.end - begin)
            data = await _in_thread(content.read, size, begin)
            if not data:
                break
            begin += len(data)
            for line_range in cutter.feed(data):
                await self.line_ranges.send(line_range)
        return begin

    async def _grow(self, path: Path, content: Content, source: Source, cutter: Cutter, begin: int) -> int:
        """Send what is added to `content` after `begin`, until it is rotated away. Returns its end."""
        head = await _in_thread(head_of, content)
        quiet_since = trio.current_time()
        while True:
            came = await self._read_gap(content, cutter, Gap(begin, None, 0))
            for line_range in cutter.rest():
                await self.line_ranges.send(line_range)
            if came > begin:
                begin, quiet_since = came, trio.current_time()
                if head.size < min(HEAD_BYTES, begin) and await _in_thread(head.fits, content):
                    head = await _in_thread(head_of, content)
                    self.delivery_log.know_again(source, content)
            if await _in_thread(_was_cut_back, content, head, begin):
                return await self._finish_copy(path, content, cutter, head, begin)
            quiet = trio.current_time() - quiet_since > SETTLED_SECONDS
            if quiet and await _in_thread(_was_moved, path, content):
                content.close()
                return begin
            await trio.sleep(FOLLOW_SECONDS)

    async def _finish_copy(self, path: Path, content: Content, cutter: Cutter, head: Head, begin: int) -> int:
        """Send the lines written just before a file was truncated, from its copy, if there is one. Returns its end."""
        content.close()
        copy = await _in_thread(find, path, head, begin)
        if copy is not None:
            begin = await self._read_gap(copy, cutter, Gap(begin, None, 0))
            copy.close()
        return begin


async def read_stream(path: Path | None, source: Source, line_ranges: Spans, *, lines_max: int) -> None:
    """Send the lines of a pipe or terminal (standard input if there is no `path`) soon after they arrive.

    The stream may never end; cancelling is possible while it waits. Raises OSError.
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
            for line_range in cutter.feed(chunk) if chunk is not None else cutter.rest():
                await line_ranges.send(line_range)
            if not cutter.waiting:
                due = math.inf
            elif due == math.inf:
                due = trio.current_time() + STREAM_SECONDS
    for line_range in cutter.end():
        await line_ranges.send(line_range)
    if fault is not None:
        raise fault


def _was_moved(path: Path, content: Content) -> bool:
    """Whether another file is at `path` now. If there is none yet, one will come."""
    try:
        return path.stat().st_ino != content.status.st_ino
    except FileNotFoundError:
        return False


def _was_cut_back(content: Content, head: Head, begin: int) -> bool:
    """Whether the file is shorter than it was, or begins differently."""
    size = content.size
    return (size is not None and size < begin) or not head.fits(content)


async def _in_thread(call: Callable[..., T], *args: object) -> T:
    return await trio.to_thread.run_sync(call, *args)


async def _abandonable(call: Callable[[], T]) -> T:
    """`call` in a thread that is abandoned when this is cancelled, because a read may never return."""
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
