"""The inputs of a delivery: what to read, where, and in which format."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from likd.cli.client import ClientError
from likd.cli.sending.batches import read
from likd.cli.sending.content import CHUNK_BYTES, Content
from likd.cli.sending.delivery_log import NoDeliveryLog
from likd.cli.sending.formats import Looking, Ndjson
from likd.cli.sending.line_ranges import ByteRange, LineRange, Source
from likd.cli.sending.lines import Format
from likd.cli.sending.progress import Gap, Progress, gaps_between
from likd.cli.sending.records import digest
from likd.cli.sending.resume import StateError, StateFile
from likd.cli.sending.rotation import at_rest, find, head_of, since

KEYS_SECONDS = 86_400
"""How long a daemon remembers keys by default: a batch that is sent again later may be counted twice."""

MakeFormat = Callable[[str], Format]
"""Makes the format for the input of that name."""


@attrs.frozen
class Input:
    """One input, and what is left of it. Without `content` it is a stream; without a `path`, too, standard input."""

    path: Path | None
    source: Source
    content: Content | None = None
    done_bytes: int = 0
    resend: Sequence[ByteRange] = ()
    gaps: Sequence[Gap] = (Gap(0, None, 1),)
    rotated: bool = False
    """Whether it is no longer at its path."""
    whole_lines: bool = False
    """Whether a last line without its newline is left for later."""


def open_input(path: Path, delivery_log: NoDeliveryLog, make_format: MakeFormat) -> Input:
    """The whole input at `path`. Raises ClientError."""
    number = delivery_log.renew()
    if str(path) == "-":
        return Input(None, Source(number, "standard input", make_format("standard input")))
    content = _content(path)
    source = Source(number, str(path), make_format(str(path)))
    if content is not None:
        _look(source.format, content)
    return Input(path, source, content)


def resume_inputs(path: Path, state: StateFile, make_format: MakeFormat, warn: Callable[[str], None]) -> list[Input]:
    """What is left of the file at `path`, and of those that were there before it. Raises ClientError, OSError."""
    content = _content(path)
    if content is None:
        raise ClientError(f"{path}: --resume needs regular files")
    place = path.resolve()
    inputs: list[Input] = []
    current: Progress | None = None
    newest: float | None = None
    known = [head_of(content)]
    for progress in state.files(str(place)):
        known.append(progress.head)
        if current is None and _is(progress, content):
            current = progress
            continue
        old = find(place, progress.head, gaps_between(progress.settled)[-1].begin, progress.file.inode)
        if old is None:
            if state.unanswered(progress) or not _look(make_format(str(path)), content).from_log:
                raise StateError(f"{path}: not the file of that name that {state.path} records")
            warn(f"{path}: the log before this one is gone; nothing after its byte {progress.bytes_settled} is sent")
            state.ended(Source(progress.file.id, str(path), Ndjson()), 0)
            continue
        newest = max(newest or 0.0, old.status.st_mtime)
        inputs.append(_left(path, state, progress, old, make_format, rotated=True))
    if newest is not None:
        for missed in since(place, newest, known):
            progress = state.progress(state.renew(place, missed))
            inputs.append(_left(path, state, progress, missed, make_format, rotated=True))
    if current is None:
        current = state.progress(state.renew(place, content))
    inputs.append(_left(path, state, current, content, make_format, rotated=False))
    return inputs


def read_line_range(content: Content, source: Source, byte_range: ByteRange) -> LineRange:
    """The range of lines at `byte_range`. Raises OSError."""
    data = content.read(byte_range.end - byte_range.begin, byte_range.begin)
    return LineRange(source, byte_range, data, content.header(byte_range.begin))


def _content(path: Path) -> Content | None:
    """What is at `path`; None if it is not a regular file. Raises ClientError."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ClientError(f"{path}: is a directory")
        return Content(path) if stat.S_ISREG(mode) else None
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from None


def _is(progress: Progress, content: Content) -> bool:
    """Whether `content` is the file that `progress` is about: it has its beginning, and is not shorter than it was."""
    known = progress.file
    if known.head_bytes == 0 and known.inode != content.status.st_ino:
        return False
    size = content.size
    return progress.head.fits(content) and (size is None or size >= gaps_between(progress.settled)[-1].begin)


def _left(
    path: Path, state: StateFile, progress: Progress, content: Content, make_format: MakeFormat, *, rotated: bool
) -> Input:
    name = f"{path} (rotated)" if rotated else str(path)
    source = Source(progress.file.id, name, make_format(name))
    _look(source.format, content)
    if progress.end is None:
        state.know_again(source, content)
    unanswered = state.unanswered(progress)
    for sending in unanswered:
        if time.time() - sending.at > KEYS_SECONDS:
            raise ClientError(
                f"{path}: lines sent more than a day ago got no answer; sent again now, they might be counted twice"
            )
        if digest(read(read_line_range(content, source, sending.byte_range)).body) != sending.digest:
            raise StateError(
                f"{path}:{sending.byte_range.line}: changed since it was sent without an answer:"
                " it can't be determined whether it was counted"
            )
    resend = [sending.byte_range for sending in unanswered]
    return Input(
        path,
        source,
        content,
        done_bytes=progress.bytes_settled,
        resend=resend,
        gaps=gaps_between([*progress.settled, *resend]),
        rotated=rotated,
        whole_lines=not (at_rest(content, time.time()) if rotated else content.compressed),
    )


def _look(log_format: Format, content: Content) -> Format:
    """`log_format`, which has seen the first lines if it detects formats. Raises ClientError, OSError."""
    if isinstance(log_format, Looking):
        data = content.read(CHUNK_BYTES, 0)
        lines = data.split(b"\n")[: -1 if len(data) == CHUNK_BYTES else None]
        log_format.look([line for line in lines if line.strip()])
    return log_format
