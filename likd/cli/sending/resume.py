"""The state file of `likd send --resume`: what was sent and accepted, so that each line is counted once.

It holds NDJSON records and only grows. Before a batch is sent, its key and extent are on disk. After a crash,
what was not answered is sent again, under the same key and with the same bytes, and the daemon answers as it
did or would have done the first time.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgspec
import trio

from likd.cli.client import ClientError
from likd.cli.sending.formats import Batch, Format, read
from likd.cli.sending.records import (
    Accepted,
    Begin,
    File,
    Options,
    Record,
    Refused,
    Sending,
    SetAside,
    decode,
    digest,
    encode,
)
from likd.cli.sending.spans import Extent, Source, Span
from likd.cli.sending.tally import Tally

VERSION = 1
HEAD_BYTES = 4096
RECORD_BYTES_MAX = 64 << 10


class StateError(ClientError):
    """The state file can't be used, or not with these files or options."""


@attrs.frozen
class Gap:
    """Bytes that were not sent yet, from `begin` to before `end` or the end of the file; `line` is the first."""

    begin: int
    end: int | None
    line: int


@attrs.frozen
class Left:
    """What is left to do of a file, and what earlier runs did."""

    source: Source
    resend: list[Extent]
    gaps: list[Gap]
    earlier: Tally
    earlier_bytes: int
    oldest_unanswered: float | None
    """When the first of `resend` was sent (seconds since 1970)."""


@attrs.define
class _Progress:
    """What the records say of a file."""

    file: File
    settled: list[Extent] = attrs.field(factory=list)
    tally: Tally = attrs.field(factory=Tally)


class StateFile:
    """A ledger on disk. Opening it takes a lock: one delivery at a time. Close it in the end.

    Raises StateError if the file is something else, damaged, in use, or of a delivery with other options.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._files: list[_Progress] = []
        self._unanswered: dict[str, Sending] = {}
        self._entered: set[str] = set()
        self._broken = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from None
        try:
            self._lock()
            self.run = self._load(options) or self._begin(options)
        except OSError as error:
            os.close(self._fd)
            raise StateError(f"{path}: {error.strerror}") from None
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Make all records durable and let go of the file. Raises OSError."""
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)

    def enter(self, path: Path, format: Format) -> Left:
        """What is left to do of the file at `path`. Raises StateError if it is not the file it was, OSError."""
        place = str(path.resolve())
        if place in self._entered:
            raise StateError(f"{path}: given twice")
        self._entered.add(place)
        progress = next((progress for progress in self._files if progress.file.path == place), None)
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if progress is None:
                head = file.read(HEAD_BYTES)
                record = File(len(self._files), place, status.st_ino, len(head), digest(head))
                self._append(record)
                progress = _Progress(record)
                self._files.append(progress)
            known = progress.file
            unanswered = [sending for sending in self._unanswered.values() if sending.file == known.id]
            resend = [sending.extent for sending in unanswered]
            gaps = _gaps([*progress.settled, *resend])
            if known.inode != status.st_ino or known.head != digest(os.pread(file.fileno(), known.head_bytes, 0)):
                raise StateError(f"{path}: another file than the one of that name that {self._path} is about")
            if status.st_size < gaps[-1].begin:
                raise StateError(f"{path}: shorter than what {self._path} says was sent of it")
            source = Source(known.id, str(path))
            for sending in unanswered:
                if digest(read(read_span(file.fileno(), source, sending.extent), format).body) != sending.digest:
                    raise StateError(
                        f"{path}:{sending.extent.line}: changed since it was sent, and no answer came:"
                        " whether it was counted can't be found out"
                    )
        return Left(
            source,
            resend,
            gaps,
            progress.tally,
            sum(extent.end - extent.begin for extent in progress.settled),
            min((sending.at for sending in unanswered), default=None),
        )

    async def sending(self, batch: Batch, key: str) -> None:
        """Record, durably, that `batch` is about to be sent."""
        span = batch.span
        self._append(Sending(key, span.source.id, span.extent, digest(batch.body), time.time()))
        try:
            await trio.to_thread.run_sync(os.fsync, self._fd)
        except OSError as error:
            self._broken = True
            raise StateError(f"{self._path}: {error.strerror}") from None

    async def accepted(self, key: str, tally: Tally) -> None:
        """Record it. Not durable at once: if it gets lost, the batch is sent again under its key."""
        self._append(Accepted(key, tally))

    async def refused(self, key: str) -> None:
        """Record it. Not durable at once: if it gets lost, the batch is refused again."""
        self._append(Refused(key))

    async def set_aside(self, span: Span, tally: Tally) -> None:
        """Record it. Not durable at once: if it gets lost, the lines are looked at again."""
        self._append(SetAside(span.source.id, span.extent, tally))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"{self._path}: in use by another likd send") from None

    def _begin(self, options: Options) -> str:
        run = secrets.token_hex(16)
        self._append(Begin(VERSION, run, options))
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return run

    def _load(self, options: Options) -> str | None:
        """Read the records, if there are any, and return the run that is resumed."""
        with open(self._fd, "rb", closefd=False) as file:
            line = file.readline(RECORD_BYTES_MAX)
            if not line:
                return None
            begin = self._decode(line, 1)
            if not isinstance(begin, Begin) or begin.version != VERSION:
                raise StateError(f"{self._path}: not a state file of this likd send")
            for name in Options.__struct_fields__:
                was, now = getattr(begin.options, name), getattr(options, name)
                if was != now:
                    raise StateError(f"{self._path}: begun with {_flag(name, was)}, not {_flag(name, now)}")
            end = len(line)
            for number, line in enumerate(file, 2):
                if not line.endswith(b"\n"):
                    # A crash tore the last record. It was not durable, so that nothing was sent on its account.
                    os.ftruncate(self._fd, end)
                    break
                try:
                    self._replay(self._decode(line, number))
                except (KeyError, IndexError):
                    raise StateError(f"{self._path}:{number}: damaged") from None
                end += len(line)
        return begin.run

    def _decode(self, line: bytes, number: int) -> Record:
        try:
            record: Record = decode(line)
        except msgspec.DecodeError:
            if number == 1:
                raise StateError(f"{self._path}: not a state file of likd send") from None
            raise StateError(f"{self._path}:{number}: damaged") from None
        return record

    def _replay(self, record: Record) -> None:
        match record:
            case File():
                self._files.append(_Progress(record))
            case Sending():
                self._unanswered[record.key] = record
            case Refused():
                del self._unanswered[record.key]
            case Accepted():
                sending = self._unanswered.pop(record.key)
                self._settle(sending.file, sending.extent, record.tally)
            case SetAside():
                self._settle(record.file, record.extent, record.tally)

    def _settle(self, file: int, extent: Extent, tally: Tally) -> None:
        self._files[file].settled.append(extent)
        self._files[file].tally.add(tally)

    def _append(self, record: Record) -> None:
        """Write `record` in one go, so that records of concurrent batches don't mix."""
        line = encode(record) + b"\n"
        if self._broken:
            raise StateError(f"{self._path}: can't be written any more")
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._broken = True
            raise StateError(f"{self._path}: {error.strerror}") from None
        if written != len(line):
            self._broken = True
            raise StateError(f"{self._path}: no space left")


def read_span(fd: int, source: Source, extent: Extent) -> Span:
    """The span at `extent` of the file that is open as `fd`. Raises OSError."""
    return Span(source, extent, os.pread(fd, extent.end - extent.begin, extent.begin))


def _gaps(taken: Iterable[Extent]) -> list[Gap]:
    """What is between and behind `taken`; the last gap is open."""
    gaps: list[Gap] = []
    begin, line = 0, 1
    for extent in sorted(taken, key=lambda extent: extent.begin):
        if extent.begin > begin:
            gaps.append(Gap(begin, extent.begin, line))
        begin, line = extent.end, extent.line + extent.lines
    return [*gaps, Gap(begin, None, line)]


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"no --{name}"
    return f"--{name} {value}" if value is not None else f"no --{name}"
