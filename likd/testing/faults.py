"""Fault points, for tests only: a daemon that is started with LIKD_TEST_FAULTS=1 can be told to fail."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from likd.durability.disk import AppendFile, RealDisk
from likd.errors import StoreError
from likd.stores.database import Database
from likd.stores.threaded import ThreadedStore

T = TypeVar("T")


@attrs.define(eq=False)
class Faults:
    """Which faults are due."""

    store_away_until: float = 0.0
    disk_error: int = errno.EIO
    disk_errors: int = 0
    hangs: int = 0

    def check_disk(self) -> None:
        """Raise the OSError that is due, if any."""
        if self.disk_errors:
            self.disk_errors -= 1
            raise OSError(self.disk_error, os.strerror(self.disk_error))

    def check_store(self) -> None:
        """Raise StoreError while the store is meant to be unavailable."""
        if time.monotonic() < self.store_away_until:
            raise StoreError("the store is unavailable, as requested")

    async def observe(self, url: str, news: Mapping[str, int]) -> None:
        """An observer that never returns, as often as requested."""
        if self.hangs:
            self.hangs -= 1
            await trio.sleep_forever()


class FaultyDisk(RealDisk):
    """A real disk that fails when told so."""

    def __init__(self, path: Path, faults: Faults) -> None:
        super().__init__(path)
        self._faults = faults

    async def create(self, name: str) -> AppendFile:
        self._faults.check_disk()
        return _FaultyFile(await super().create(name), self._faults)

    async def write(self, name: str, data: bytes) -> None:
        self._faults.check_disk()
        await super().write(name, data)

    async def remove(self, name: str) -> None:
        self._faults.check_disk()
        await super().remove(name)


class _FaultyFile:
    def __init__(self, file: AppendFile, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    async def append(self, data: bytes, *, sync: bool) -> None:
        try:
            self._faults.check_disk()
        except OSError:
            await self._file.append(data[: len(data) // 2], sync=False)
            raise
        await self._file.append(data, sync=sync)

    async def truncate(self, size: int) -> None:
        self._faults.check_disk()
        await self._file.truncate(size)

    async def close(self) -> None:
        await self._file.close()


class FaultyStore(ThreadedStore):
    """`database` as a store that is unavailable on request."""

    def __init__(self, database: Database, faults: Faults, *, wall_clock: Callable[[], float] = time.time) -> None:
        super().__init__(database, wall_clock=wall_clock)
        self._faults = faults

    async def _call(
        self, limiter: trio.CapacityLimiter, work: Callable[..., T], *args: object, abandon: bool = False
    ) -> T:
        self._faults.check_store()
        done = await super()._call(limiter, work, *args, abandon=abandon)
        # It is done, but the answer may still get lost.
        self._faults.check_store()
        return done

    async def aclose(self) -> None:
        self._faults.store_away_until = 0.0
        await super().aclose()


def enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process may be told to fail."""
    return environment.get("LIKD_TEST_FAULTS") == "1"
