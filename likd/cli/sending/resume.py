"""The state file of `likd send --resume`: records what was sent and accepted, so that each line is counted once.

It holds NDJSON records. Before a batch is sent, its key and byte range are on disk. After a crash, whatever was not
answered is sent again, with the same key and the same bytes, and the daemon answers as it did, or would have done, the
first time.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path

import msgspec
import trio

from likd.cli.client import ClientError
from likd.cli.sending.batches import Batch
from likd.cli.sending.content import Content
from likd.cli.sending.line_ranges import ByteRange, LineRange, Source
from likd.cli.sending.line_stats import LineStats
from likd.cli.sending.progress import Progress
from likd.cli.sending.records import (
    Accepted,
    Begin,
    Ended,
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
from likd.cli.sending.rotation import head_of
from likd.durability.disk import sync_directory

VERSION = 1
RECORD_BYTES_MAX = 64 << 10
RECORDS_BYTES = 4 << 20
"""When the records have grown by this much, they are rewritten in condensed form."""


class StateError(ClientError):
    """The state file can't be used at all, or not with these files or options."""


class StateFile:
    """A delivery log on disk. Opening it takes a lock: one delivery at a time. Close it when done.

    Raises StateError if the file is something else, damaged, in use, or belongs to a delivery with other options.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self._files: list[Progress] = []
        self._unanswered: dict[str, Sending] = {}
        self._begin: Begin
        self._bytes = 0
        self._compacted_bytes = 0
        self._broken = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from None
        try:
            self._lock()
            if not self._load(options):
                self._begin_anew(options)
            elif self._bytes > RECORDS_BYTES:
                self._compact()
        except OSError as error:
            os.close(self._fd)
            raise StateError(f"{path}: {error.strerror}") from None
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Make all records durable and close the file. Raises OSError."""
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)

    @property
    def run(self) -> str:
        """Distinguishes this delivery's idempotency keys from those of all others."""
        return self._begin.run

    @property
    def options(self) -> Options:
        """The options with which the delivery began."""
        return self._begin.options

    def files(self, place: str) -> list[Progress]:
        """The files that were at `place` and may have something left, oldest first."""
        return [
            progress
            for progress in self._files
            if progress.file.path == place and not (progress.complete and not self.unanswered(progress))
        ]

    def progress(self, file_id: int) -> Progress:
        """How far the file with that id has been sent."""
        return self._files[file_id]

    def unanswered(self, progress: Progress) -> list[Sending]:
        """What was sent from a file without getting an answer."""
        return [sending for sending in self._unanswered.values() if sending.file == progress.file.id]

    def renew(self, path: Path, content: Content) -> int:
        """Record a new file. Returns its id."""
        head = head_of(content)
        place, inode = str(path.resolve()), content.status.st_ino
        self._append(File(len(self._files), place, inode, head.size, head.digest))
        return len(self._files) - 1

    def know_again(self, source: Source, content: Content) -> None:
        """Record what identifies the file from now on: a longer head, another inode."""
        head = head_of(content)
        known = self._files[source.id].file
        if (head.size, content.status.st_ino) != (known.head_bytes, known.inode):
            self._append(File(known.id, known.path, content.status.st_ino, head.size, head.digest))

    def ended(self, source: Source, end: int) -> None:
        """Record that the file was rotated away and ends at `end`."""
        self._append(Ended(source.id, end))

    async def sending(self, batch: Batch, key: str) -> None:
        """Record, durably, that `batch` is about to be sent."""
        line_range = batch.line_range
        if self._bytes > self._compacted_bytes + RECORDS_BYTES:
            self._compact()
        self._append(Sending(key, line_range.source.id, line_range.byte_range, digest(batch.body), time.time()))
        try:
            await trio.to_thread.run_sync(os.fsync, self._fd)
        except OSError as error:
            self._broken = True
            raise StateError(f"{self.path}: {error.strerror}") from None

    async def accepted(self, key: str, line_stats: LineStats) -> None:
        """Record it. Not durable at once: if the record is lost, the batch is sent again with its key."""
        self._append(Accepted(key, line_stats))

    async def refused(self, key: str) -> None:
        """Record it. Not durable at once: if the record is lost, the batch is refused again."""
        self._append(Refused(key))

    async def set_aside(self, line_range: LineRange, line_stats: LineStats) -> None:
        """Record it. Not durable at once: if the record is lost, the lines are read again."""
        self._append(SetAside(line_range.source.id, line_range.byte_range, line_stats))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"{self.path}: in use by another likd send") from None

    def _begin_anew(self, options: Options) -> None:
        self._begin = Begin(VERSION, secrets.token_hex(16), options)
        self._write(encode(self._begin) + b"\n")
        sync_directory(self.path.parent)

    def _load(self, options: Options) -> bool:
        """Read the records, if there are any."""
        with open(self._fd, "rb", closefd=False) as file:
            line = file.readline(RECORD_BYTES_MAX)
            if not line:
                return False
            begin = self._decode(line, 1)
            if not isinstance(begin, Begin) or begin.version != VERSION:
                raise StateError(f"{self.path}: not a state file of this likd send")
            self._begin = begin
            self._check(options)
            end = len(line)
            for number, line in enumerate(file, 2):
                if not line.endswith(b"\n"):
                    # A crash tore the last record. It was not durable, so nothing was sent because of it.
                    os.ftruncate(self._fd, end)
                    break
                try:
                    self._replay(self._decode(line, number))
                except (KeyError, IndexError):
                    raise StateError(f"{self.path}:{number}: damaged") from None
                end += len(line)
            self._bytes = end
        return True

    def _check(self, options: Options) -> None:
        """Raise StateError unless the delivery was begun with `options`."""
        begun = self._begin.options
        for name in Options.__struct_fields__:
            was, now = getattr(begun, name), getattr(options, name)
            # A delivery continues with its own options unless others are asked for.
            same = was == now or (name == "format" and now == "auto") or (name == "count_all" and was is None)
            if not same:
                raise StateError(f"{self.path}: begun with {_flag(name, was)}, not {_flag(name, now)}")

    def _compact(self) -> None:
        """Rewrite the records in condensed form; if that fails, they stay as they are."""
        self._compacted_bytes = self._bytes
        records: list[Record] = [self._begin]
        for progress in self._files:
            records += progress.records()
        records += self._unanswered.values()
        data = b"".join(encode(record) + b"\n" for record in records)
        path = self.path.resolve()
        new = path.with_name(f"{path.name}.new")
        try:
            with os.fdopen(_open_appending(new), "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                new.replace(path)
                # The lock comes with it. A thread that is still syncing the old file loses nothing: everything is
                # synced.
                os.dup2(file.fileno(), self._fd, inheritable=False)
            sync_directory(self.path.parent)
        except OSError:
            return
        self._bytes = self._compacted_bytes = len(data)

    def _decode(self, line: bytes, number: int) -> Record:
        try:
            record: Record = decode(line)
        except msgspec.DecodeError:
            if number == 1:
                raise StateError(f"{self.path}: not a state file of likd send") from None
            raise StateError(f"{self.path}:{number}: damaged") from None
        return record

    def _replay(self, record: Record) -> None:
        match record:
            case File():
                if record.id == len(self._files):
                    self._files.append(Progress(record))
                self._files[record.id].file = record
            case Ended():
                self._files[record.file].end = record.end
            case Sending():
                self._unanswered[record.key] = record
            case Refused():
                del self._unanswered[record.key]
            case Accepted():
                sending = self._unanswered.pop(record.key)
                self._settle(sending.file, sending.byte_range, record.line_stats)
            case SetAside():
                self._settle(record.file, record.byte_range, record.line_stats)

    def _settle(self, file: int, byte_range: ByteRange, line_stats: LineStats) -> None:
        self._files[file].settle(byte_range, line_stats)

    def _append(self, record: Record) -> None:
        """Record `record`, in memory and in the file."""
        self._write(encode(record) + b"\n")
        self._replay(record)

    def _write(self, line: bytes) -> None:
        """Write it with one call, so that records of concurrent batches don't mix."""
        if self._broken:
            raise StateError(f"{self.path}: can no longer be written")
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._broken = True
            raise StateError(f"{self.path}: {error.strerror}") from None
        if written != len(line):
            self._broken = True
            raise StateError(f"{self.path}: no space left")
        self._bytes += written


def _open_appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _flag(name: str, value: object) -> str:
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"no --{name}"
    return f"--{name} {value}" if value is not None else f"no --{name}"
