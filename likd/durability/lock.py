"""The data directory's lock: at most one daemon uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from likd.durability.disk import sync_directory
from likd.durability.filenames import LOCK
from likd.errors import StartError


@contextmanager
def locked_data_dir(path: Path) -> Iterator[None]:
    """Create the data directory if need be, and hold its lock: at most one daemon uses it. Raises StartError."""
    try:
        if not path.exists():
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
            sync_directory(path.parent)
        fd = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StartError(f"can't use the data directory {path}: {error.strerror}") from error
    try:
        _take(fd, path, fcntl.LOCK_EX)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextmanager
def unused_data_dir(path: Path) -> Iterator[None]:
    """Keep daemons out of the data directory, without writing anything. Raises StartError."""
    try:
        fd = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        # No daemon has ever used it.
        yield
        return
    except OSError as error:
        raise StartError(f"can't use the data directory {path}: {error.strerror}") from error
    try:
        _take(fd, path, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _take(fd: int, path: Path, kind: int) -> None:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        raise StartError(f"the data directory {path} is in use by process {owner}") from None
