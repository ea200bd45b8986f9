"""A simulated disk: it knows what is durable, and a crash takes the rest, or some of it, or tears it."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from likd.durability.disk import AppendFile
from likd.durability.filenames import TEMPORARY
from likd.durability.frames import SECTOR_BYTES


class PowerCut(BaseException):
    """The process ends here and now. No clean-up of its own can hold it up, not even a shielded one."""


@attrs.define(eq=False)
class Inode:
    """A file: what a reader sees, what the platter has, and the writes in between."""

    seen: bytes = b""
    durable: bytes = b""
    pending: list[tuple[int, bytes]] = attrs.field(factory=list)

    def write(self, data: bytes) -> None:
        self.pending.append((len(self.seen), data))
        self.seen += data

    def sync(self) -> None:
        for offset, data in self.pending:
            self.durable = _patch(self.durable, offset, data)
        self.pending.clear()

    def crash(self, rng: random.Random) -> None:
        kept = rng.randint(0, len(self.pending))
        for offset, data in self.pending[:kept]:
            self.durable = _patch(self.durable, offset, data)
        for offset, data in self.pending[kept : kept + 1]:
            torn = data[: rng.randint(0, len(data))]
            rest = b""
            if rng.random() < 0.3:
                # File systems may have made the file longer before its data arrived, a sector at a time.
                torn = torn[: max(0, (offset + len(torn)) // SECTOR_BYTES * SECTOR_BYTES - offset)]
                rest = bytes(len(data) - len(torn))
            self.durable = _patch(self.durable, offset, torn + rest)
        self.seen = self.durable
        self.pending.clear()


def _patch(old: bytes, offset: int, data: bytes) -> bytes:
    return old[:offset].ljust(offset, b"\0") + data + old[offset + len(data) :]


class SimDisk:
    """Implements likd.durability.disk.Disk, in memory.

    `faults` is the chance that an operation fails, `directory_faults` that the directory can't be synced after a change
    that is seen already. `wall` is the clock by which files are dated.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.faults = 0.0
        self.directory_faults = 0.0
        self.off = False
        self.path = Path("/simulated")
        self._seen: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._unsynced: list[Callable[[dict[str, Inode]], object]] = []
        self.damaged: list[str] = []
        self.operations = 0

    def crash(self) -> None:
        """The power failed: of what was not synced, something may be there, something not."""
        self.off = False
        for change in self._unsynced[: self._rng.randint(0, len(self._unsynced))]:
            change(self._durable)
        self._unsynced.clear()
        for inode in {id(i): i for i in [*self._seen.values(), *self._durable.values()]}.values():
            inode.crash(self._rng)
        self._seen = dict(self._durable)

    async def names(self) -> list[str]:
        await self.begin()
        return sorted(self._seen)

    async def read(self, name: str, limit: int = -1) -> bytes:
        await self.begin()
        data = self._inode(name).seen
        return data if limit < 0 else data[:limit]

    async def size(self, name: str) -> int:
        return len(self._inode(name).seen)

    async def create(self, name: str) -> AppendFile:
        await self.begin()
        self.fail()
        if name in self._seen and self._seen[name].seen:
            raise FileExistsError(errno.EEXIST, "File exists", name)
        inode = self._seen.get(name) or Inode()
        self._link(name, inode)
        await self._sync_directory()
        return SimFile(self, inode)

    async def write(self, name: str, data: bytes) -> None:
        await self.begin()
        inode = Inode()
        self._link(name + TEMPORARY, inode)
        try:
            half = self._rng.randint(0, len(data))
            inode.write(data[:half])
            await self.pause()
            self.fail()
            inode.write(data[half:])
            self.sync(inode)
            await self.pause()
            self.fail()
            self._rename(name + TEMPORARY, name)
        except OSError:
            self._unlink(name + TEMPORARY)
            raise
        await self._sync_directory()

    async def rename(self, name: str, new: str) -> None:
        await self.begin()
        self.fail()
        if name in self._seen or new not in self._seen:
            self._inode(name)
            self._rename(name, new)
        await self._sync_directory()

    async def remove(self, name: str) -> None:
        await self.begin()
        self.fail()
        if name in self._seen:
            self._unlink(name)

    async def quarantine(self, name: str) -> None:
        await self.begin()
        self._inode(name)
        self.damaged.append(name)
        self._unlink(name)
        await self._sync_directory()

    async def quarantined_names(self) -> list[str]:
        return sorted(self.damaged)

    async def free_bytes(self) -> int:
        return 1 << 40

    async def begin(self) -> None:
        """An operation begins, unless its task is cancelled; from then on it is done whole."""
        await trio.lowlevel.checkpoint()
        await self.pause()

    async def pause(self) -> None:
        """Take a while. A task that is cancelled still waits, as for a thread; a crash of the process may come."""
        self.operations += 1
        with trio.CancelScope(shield=True):
            await trio.sleep(self._rng.random() * 0.01)
        if self.off:
            raise PowerCut

    def fail(self) -> None:
        """Raise, sometimes."""
        if self._rng.random() < self.faults:
            number = self._rng.choice([errno.ENOSPC, errno.EIO, errno.EMFILE])
            raise OSError(number, errno.errorcode[number])

    def sync(self, inode: Inode) -> None:
        """As Linux does it: after an fsync that failed, the data may be gone and the next one says all is well."""
        if self._rng.random() < self.faults:
            if self._rng.random() < 0.7:
                inode.pending.clear()
            raise OSError(errno.EIO, "EIO")
        inode.sync()

    def torn(self, data: bytes) -> bytes:
        """A beginning of `data`."""
        return data[: self._rng.randint(0, len(data))]

    def _inode(self, name: str) -> Inode:
        inode = self._seen.get(name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return inode

    def _change(self, change: Callable[[dict[str, Inode]], object]) -> None:
        change(self._seen)
        self._unsynced.append(change)

    def _link(self, name: str, inode: Inode) -> None:
        self._change(lambda directory: directory.__setitem__(name, inode))

    def _unlink(self, name: str) -> None:
        self._change(lambda directory: directory.pop(name, None))

    def _rename(self, name: str, new: str) -> None:
        inode = self._inode(name)

        def change(directory: dict[str, Inode]) -> None:
            directory.pop(name, None)
            directory[new] = inode

        self._change(change)

    async def _sync_directory(self) -> None:
        await self.pause()
        self.fail()
        if self._rng.random() < self.directory_faults:
            raise OSError(errno.EIO, "EIO")
        for change in self._unsynced:
            change(self._durable)
        self._unsynced.clear()


class SimFile:
    """Implements likd.disk.AppendFile."""

    def __init__(self, disk: SimDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    async def append(self, data: bytes, *, sync: bool) -> None:
        await self._disk.begin()
        try:
            self._disk.fail()
        except OSError:
            self._inode.write(self._disk.torn(data))
            raise
        self._inode.write(data)
        await self._disk.pause()
        if sync:
            self._disk.sync(self._inode)

    async def truncate(self, size: int) -> None:
        await self._disk.begin()
        self._disk.fail()
        inode = self._inode
        inode.sync()
        inode.seen = inode.seen[:size].ljust(size, b"\0")
        inode.durable = inode.durable[:size].ljust(size, b"\0")

    async def close(self) -> None:
        await self._disk.begin()
