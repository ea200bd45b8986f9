"""Listening sockets: TCP sockets, and Unix sockets with their files."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import attrs
import trio

from likd.config.parsers import Bind, UnixBind
from likd.errors import StartError

BACKLOG = 1024


class BindError(StartError):
    """Listening on an address is impossible; the message says which address, and why."""


@attrs.frozen
class SocketFile:
    """The file of a listening Unix socket, as it was when created."""

    path: Path
    device: int
    inode: int

    def remove(self) -> None:
        """Remove the file, unless another socket has replaced it."""
        with suppress(OSError), _locked(self.path):
            now = self.path.lstat()
            if (now.st_dev, now.st_ino) == (self.device, self.inode):
                self.path.unlink()


@attrs.frozen
class Listeners:
    """Non-blocking listening sockets, and the files to remove with them."""

    sockets: list[socket.socket] = attrs.field(factory=list)
    copies: list[list[socket.socket]] = attrs.field(factory=list)
    """For each acceptor after the first, what it has instead of `sockets`."""
    files: list[SocketFile] = attrs.field(factory=list)

    def remove_files(self) -> None:
        """Remove the files, so that nobody finds the Unix sockets. Connections that are open or waiting stay."""
        for file in self.files:
            file.remove()
        self.files.clear()

    def close(self) -> None:
        """Stop listening."""
        self.remove_files()
        for sock in {*self.sockets, *chain.from_iterable(self.copies)}:
            sock.close()


async def open_listeners(
    binds: Iterable[Bind | UnixBind], *, socket_mode: int = 0o660, processes: int = 1
) -> Listeners:
    """Listen on every address in `binds`, or on none of them and raise BindError.

    Each of several `processes` gets its own listeners, over which the system spreads connections; a Unix socket is
    shared by all.

    A Unix socket gets the permissions `socket_mode`. A leftover file of a socket on which nobody listens any more is
    replaced; one in use, or a file that is not a socket, is left alone.
    """
    listeners = Listeners(copies=[[] for _ in range(1, processes)])
    try:
        for bind in binds:
            if isinstance(bind, UnixBind):
                _open_unix(bind, socket_mode, listeners)
            else:
                for sock in await _open_tcp(bind):
                    _share(sock, listeners)
    except BaseException:
        listeners.close()
        raise
    return listeners


async def check_free(binds: Iterable[Bind | UnixBind]) -> None:
    """Raise BindError if listening on `binds` is impossible now."""
    (await open_listeners(binds)).close()


def address(listener: socket.socket, scheme: str, base: str = "") -> str:
    """The URL or path of `listener`."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(UnixBind(Path(os.fsdecode(name))))
    return f"{scheme}://{Bind(*name[:2])}{base}"


async def _open_tcp(bind: Bind) -> list[socket.socket]:
    try:
        listeners = await trio.open_tcp_listeners(bind.port, host=bind.host, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error.__cause__, BaseExceptionGroup):
            reason = "; ".join(str(inner) for inner in error.__cause__.exceptions)
        raise _refused(bind, error.errno, reason) from error
    sockets = [socket.socket(fileno=listener.socket.detach()) for listener in listeners]
    for sock in sockets:
        sock.settimeout(0)
    return sockets


def _share(sock: socket.socket, listeners: Listeners) -> None:
    """Listen like `sock`, once for each acceptor."""
    if not listeners.copies:
        listeners.sockets.append(sock)
        return
    # Only `sock` fails if somebody else listens there: sockets that share an address share it with any process of their
    # user.
    family, name = sock.family, sock.getsockname()
    sock.close()
    for those in (listeners.sockets, *listeners.copies):
        copy = socket.socket(family, socket.SOCK_STREAM)
        those.append(copy)
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            copy.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        copy.bind(name)
        copy.listen(BACKLOG)
        copy.settimeout(0)


def _open_unix(bind: UnixBind, mode: int, listeners: Listeners) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # No other likd may do the same between our checking a leftover file and our listening.
        with _locked(bind.path):
            _remove_stale(bind)
            sock.bind(os.fspath(bind.path))
            made = bind.path.lstat()
            listeners.files.append(SocketFile(bind.path, made.st_dev, made.st_ino))
            # Nobody can connect before it listens.
            bind.path.chmod(mode)
            sock.listen(BACKLOG)
        sock.settimeout(0)
    except OSError as error:
        sock.close()
        raise _refused(bind, error.errno, error.strerror or str(error)) from error
    except BaseException:
        sock.close()
        raise
    for those in (listeners.sockets, *listeners.copies):
        those.append(sock)


def _remove_stale(bind: UnixBind) -> None:
    """Remove the file of a socket on which nobody listens. Raises OSError, and BindError if it is anything else."""
    try:
        found = bind.path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise BindError(f"can't listen on {bind}: there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(os.fspath(bind.path))
        except ConnectionRefusedError:
            bind.path.unlink()
            return
        except BlockingIOError:
            pass  # Its backlog is full.
        raise OSError(errno.EADDRINUSE, "")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude every other likd from the files in `path`'s directory. Raises OSError."""
    directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _refused(bind: Bind | UnixBind, number: int | None, reason: str) -> BindError:
    return BindError(f"can't listen on {bind}: {'the address is in use' if number == errno.EADDRINUSE else reason}")
