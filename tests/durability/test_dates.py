"""Dates: the time that a data directory tells is that of its contents, not that of its files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from likd.daemon import newest_time
from likd.durability import batch_file, dates
from likd.durability.batch_file import Batch
from likd.durability.disk import RealDisk
from likd.durability.filenames import BATCH
from likd.durability.idempotency import KeyLog
from likd.durability.journal import Entry, Journal
from likd.model import IdempotencyKey
from likd.stores.protocol import Increments
from likd.stores.sqlite.store import SqliteDatabase

NOW = 1_790_000_040.0
ENTRY = Entry(1, 0, 1, [], {"like": {"https://example.com/": 1}})


@pytest.fixture
def disk(tmp_path: Path) -> RealDisk:
    return RealDisk(tmp_path)


async def test_an_empty_directory_tells_nothing(disk: RealDisk) -> None:
    assert await dates.newest(disk) == await newest_time(disk, SqliteDatabase(disk.path / "likd.db", "here")) == 0


async def test_a_segment_tells_when_it_was_opened(disk: RealDisk) -> None:
    await Journal(disk, wall_clock=lambda: NOW).append(7, ENTRY)
    await Journal(disk, wall_clock=lambda: NOW - 5).append(8, ENTRY)
    assert await dates.newest(disk) == NOW


async def test_a_batch_file_tells_when_its_table_was_closed(disk: RealDisk) -> None:
    batch = Batch(7, NOW - 5, NOW, ("likes",), {"https://example.com/": {"likes": 1}})
    await disk.write(BATCH.name(7), batch_file.encode(batch))
    assert await dates.newest(disk) == NOW


async def test_keys_tell_when_they_were_taken(disk: RealDisk) -> None:
    for table in (1, 2, 3):
        now = NOW - 3 + table
        log = KeyLog(disk, window_seconds=60, keys_max=100, wall_clock=lambda: now)  # noqa: B023
        await log.append(table, [(IdempotencyKey("key", b"digest"), 1)])
    assert await dates.newest(disk) == NOW


async def test_the_store_tells_in_which_minute_it_counted_last(tmp_path: Path) -> None:
    store = SqliteDatabase(tmp_path / "likd.db", "here")
    store.open(("likes",))
    store.apply(Increments(1, 1, int(NOW // 60), {"https://example.com/": {"likes": 1}}), int(NOW // 60))
    assert await newest_time(RealDisk(tmp_path), store) == NOW
    store.close()


async def test_what_is_damaged_or_dated_otherwise_tells_nothing(disk: RealDisk) -> None:
    for name in ("journal_000000000007", "tab_000000000007", "keys_000000000007", "aside_000000000007"):
        await disk.write(name, b"likd-batch 1 table=7 closed=later")
    os.utime(disk.path / "tab_000000000007", (NOW, NOW))
    assert await dates.newest(disk) == 0
