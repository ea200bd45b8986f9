"""A disk whose machine loses power in the middle of an operation."""

from __future__ import annotations

from pathlib import Path

from likd.durability.disk import AppendFile, RealDisk
from likd.durability.filenames import TEMPORARY


class Crash(BaseException):
    """The power failed."""


class CrashingDisk(RealDisk):
    """Crashes in its change number `at`: before, in the middle or after, as far as the operation can be halved."""

    def __init__(self, path: Path, at: int, *, done: bool) -> None:
        super().__init__(path)
        self.left = at
        self.done = done

    def now(self) -> bool:
        """Whether it is this change that is cut off."""
        self.left -= 1
        return self.left < 0

    async def create(self, name: str) -> AppendFile:
        if self.now():
            if self.done:
                await (await super().create(name)).close()
            raise Crash
        return _CrashingFile(self, await super().create(name))

    async def write(self, name: str, data: bytes) -> None:
        if self.now():
            if self.done:
                await super().write(name, data)
            else:
                (self.path / (name + TEMPORARY)).write_bytes(data[: len(data) // 2])
            raise Crash
        await super().write(name, data)

    async def rename(self, name: str, new: str) -> None:
        await self._cut_off(super().rename, name, new)

    async def remove(self, name: str) -> None:
        await self._cut_off(super().remove, name)

    async def quarantine(self, name: str) -> None:
        await self._cut_off(super().quarantine, name)

    async def _cut_off(self, change, *names: str) -> None:  # type: ignore[no-untyped-def]
        crashes = self.now()
        if not crashes or self.done:
            await change(*names)
        if crashes:
            raise Crash


class _CrashingFile:
    def __init__(self, disk: CrashingDisk, file: AppendFile) -> None:
        self._disk = disk
        self._file = file

    async def append(self, data: bytes, *, sync: bool) -> None:
        if self._disk.now():
            await self._file.append(data if self._disk.done else data[: len(data) // 2], sync=False)
            await self._file.close()
            raise Crash
        await self._file.append(data, sync=sync)

    async def truncate(self, size: int) -> None:
        await self._file.truncate(size)

    async def close(self) -> None:
        await self._file.close()
