"""The data directory as the tasks see it: blocking file operations in threads, each with its durability."""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from likd.durability.filenames import DAMAGED, TEMPORARY
from likd.durability.kernel_flush import Flusher

INLINE_BYTES_MAX = 1 << 16
"""Appends up to this size go to the page cache without a thread; that takes about 50 microseconds."""


class AppendFile(Protocol):
    """A file that only grows."""

    async def append(self, data: bytes, *, sync: bool) -> None:
        """Write `data` at the end; with `sync`, it is on disk when this returns. After OSError its fate is unknown."""
        ...

    async def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes; on disk when this returns."""
        ...

    async def close(self) -> None:
        """Close the file; it stays where it is."""
        ...


class Disk(Protocol):
    """What likd needs from its data directory. Every operation may raise OSError, and may then be repeated."""

    async def names(self) -> list[str]:
        """The names of all files, sorted."""
        ...

    async def read(self, name: str, limit: int = -1) -> bytes:
        """The first `limit` bytes of a file, or all of it."""
        ...

    async def size(self, name: str) -> int:
        """How many bytes a file has."""
        ...

    async def create(self, name: str) -> AppendFile:
        """Create an empty file; its name is on disk when this returns. An existing empty file will do, too."""
        ...

    async def write(self, name: str, data: bytes) -> None:
        """Write a whole file atomically: after a crash it exists with all of `data`, or not at all."""
        ...

    async def rename(self, name: str, new: str) -> None:
        """Rename a file; that is on disk when this returns."""
        ...

    async def remove(self, name: str) -> None:
        """Remove a file, if it exists. After a crash it may be back."""
        ...

    async def quarantine(self, name: str) -> None:
        """Move a damaged file out of the way, for a person to inspect."""
        ...

    async def quarantined_names(self) -> list[str]:
        """The names of the files that were set aside and are still there, sorted."""
        ...

    async def free_bytes(self) -> int:
        """How much space is left that likd may use."""
        ...


class RealAppendFile:
    """An AppendFile on the operating system's file system."""

    def __init__(self, fd: int, flusher: Flusher) -> None:
        self._fd = fd
        self._flusher = flusher

    async def append(self, data: bytes, *, sync: bool) -> None:
        if sync and len(data) <= INLINE_BYTES_MAX and self._flusher.free:
            write_all(self._fd, data)
            await self._flusher.flush(self._fd)
        else:
            await trio.to_thread.run_sync(partial(self._append, data, sync=sync))

    async def truncate(self, size: int) -> None:
        await trio.to_thread.run_sync(self._truncate, size)

    async def close(self) -> None:
        await trio.to_thread.run_sync(os.close, self._fd)

    def _append(self, data: bytes, *, sync: bool) -> None:
        write_all(self._fd, data)
        if sync:
            os.fdatasync(self._fd)

    def _truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        os.fsync(self._fd)


class RealDisk:
    """The data directory at `path`, which must exist. Damaged files go to its folder DAMAGED."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._flusher = Flusher()

    async def names(self) -> list[str]:
        return await trio.to_thread.run_sync(self._names)

    async def read(self, name: str, limit: int = -1) -> bytes:
        return await trio.to_thread.run_sync(self._read, name, limit)

    async def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    async def create(self, name: str) -> AppendFile:
        return RealAppendFile(await trio.to_thread.run_sync(self._create, name), self._flusher)

    async def write(self, name: str, data: bytes) -> None:
        await trio.to_thread.run_sync(self._write, name, data)

    async def rename(self, name: str, new: str) -> None:
        await trio.to_thread.run_sync(self._rename, name, new)

    async def remove(self, name: str) -> None:
        await trio.to_thread.run_sync(self._remove, name)

    async def quarantine(self, name: str) -> None:
        await trio.to_thread.run_sync(self._quarantine, name)

    async def quarantined_names(self) -> list[str]:
        return await trio.to_thread.run_sync(quarantined_names, self.path)

    async def free_bytes(self) -> int:
        stat = await trio.to_thread.run_sync(os.statvfs, self.path)
        return stat.f_bavail * stat.f_frsize

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self.path) if entry.is_file())

    def _read(self, name: str, limit: int) -> bytes:
        with (self.path / name).open("rb") as file:
            return file.read(limit)

    def _create(self, name: str) -> int:
        fd = os.open(self.path / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            # Nobody else creates files here: an empty one is left from an attempt that failed half-way.
            if os.fstat(fd).st_size:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            self._sync_directory()
        except OSError:
            os.close(fd)
            raise
        return fd

    def _write(self, name: str, data: bytes) -> None:
        temporary = self.path / (name + TEMPORARY)
        fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o640)
        try:
            try:
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.replace(self.path / name)
        except OSError:
            # Free the space of a full disk at once, not at the next start.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        self._sync_directory()

    def _rename(self, name: str, new: str) -> None:
        _move(self.path / name, self.path / new)
        self._sync_directory()

    def _remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def _quarantine(self, name: str) -> None:
        folder = self.path / DAMAGED
        folder.mkdir(mode=0o750, exist_ok=True)
        target = folder / name
        while target.exists() and (self.path / name).exists():
            target = target.with_name(target.name + "+")
        _move(self.path / name, target)
        sync_directory(folder)
        self._sync_directory()

    def _sync_directory(self) -> None:
        sync_directory(self.path)


class DryRunDisk:
    """`disk`, but without making any changes, to see what a start would do."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def names(self) -> list[str]:
        return await self._disk.names()

    async def read(self, name: str, limit: int = -1) -> bytes:
        return await self._disk.read(name, limit)

    async def free_bytes(self) -> int:
        return await self._disk.free_bytes()

    async def size(self, name: str) -> int:
        return await self._disk.size(name)

    async def create(self, name: str) -> AppendFile:
        return _NoFile()

    async def write(self, name: str, data: bytes) -> None: ...

    async def rename(self, name: str, new: str) -> None: ...

    async def remove(self, name: str) -> None: ...

    async def quarantine(self, name: str) -> None: ...

    async def quarantined_names(self) -> list[str]:
        return await self._disk.quarantined_names()


class _NoFile:
    async def append(self, data: bytes, *, sync: bool) -> None: ...

    async def truncate(self, size: int) -> None: ...

    async def close(self) -> None: ...


def quarantined_names(data_dir: Path) -> list[str]:
    """The names of the files that were set aside as damaged in `data_dir`, sorted. Raises OSError."""
    try:
        return sorted(entry.name for entry in os.scandir(data_dir / DAMAGED) if entry.is_file())
    except FileNotFoundError:
        return []


def sync_directory(path: Path) -> None:
    """Flush the names in the directory `path`; they are on disk when this returns. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _move(path: Path, target: Path) -> None:
    """Rename a file, unless an earlier attempt did."""
    try:
        path.replace(target)
    except FileNotFoundError:
        if not target.exists():
            raise


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to `fd`, however many calls it takes."""
    view = memoryview(data)
    while view:
        written = os.write(fd, view)
        if written == 0:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]
