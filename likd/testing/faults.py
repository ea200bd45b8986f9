"""Fault points, for tests only: a daemon that is started with LIKD_TEST_FAULTS=1 can be told to fail."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from likd.durability.disk import AppendFile, RealDisk
from likd.model import Counts, Fold, Rows
from likd.stores.protocol import Applied, Folding, Increments, Store, StoreError, Unit


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
        """Raise StoreError while the store is to be away."""
        if time.monotonic() < self.store_away_until:
            raise StoreError("the store is away, as was asked for")

    async def observe(self, url: str, news: Mapping[str, int]) -> None:
        """An observer that never returns, as often as was asked for."""
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


class FaultyStore:
    """`store`, which is away when told so."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self.kind = store.kind

    def __getattr__(self, name: str) -> Any:
        """What else the store can do, it can do here: see likd.stores.sites."""
        done = getattr(self._store, name)

        async def unless_away(*args: object, **named: object) -> Any:
            self._faults.check_store()
            return await done(*args, **named)

        return unless_away

    async def open(self, names: Sequence[str]) -> int:
        return await self._store.open(names)

    async def apply(self, increments: Increments) -> Applied | None:
        self._faults.check_store()
        applied = await self._store.apply(increments)
        # Committed, and the answer may still get lost.
        self._faults.check_store()
        return applied

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        self._faults.check_store()
        return await self._store.read(urls)

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        self._faults.check_store()
        return await self._store.top(by, limit)

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        self._faults.check_store()
        return await self._store.read_actors(keys)

    async def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        self._faults.check_store()
        return await self._store.history(url, unit, begin, end)

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        self._faults.check_store()
        return await self._store.page(after, limit)

    async def aliases(self) -> dict[str, str]:
        return await self._store.aliases()

    async def fold(self, folds: Sequence[Fold], folding: Folding) -> None:
        self._faults.check_store()
        await self._store.fold(folds, folding)

    async def folding(self) -> Folding:
        return await self._store.folding()

    async def load(self, name: str, rows: Rows, past: Mapping[int, Rows] | None = None) -> bool:
        self._faults.check_store()
        done = await self._store.load(name, rows, past)
        self._faults.check_store()
        return done

    async def loaded(self, name: str) -> bool:
        self._faults.check_store()
        return await self._store.loaded(name)

    async def aclose(self) -> None:
        await self._store.aclose()


def enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process may be told to fail."""
    return environment.get("LIKD_TEST_FAULTS") == "1"
