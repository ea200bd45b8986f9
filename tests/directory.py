"""Data directories as a crash may leave them, and recovery run on them."""

from __future__ import annotations

from collections.abc import Mapping

from likd.durability import batch_file
from likd.durability.batch_file import Batch
from likd.durability.disk import Disk, RealDisk
from likd.durability.filenames import BATCH
from likd.durability.idempotency import KeyLog, KeyWindow
from likd.durability.journal import Entry, Journal
from likd.model import Rows
from likd.plugins.handlers import Handlers, Impressions, Likes
from likd.recovery import Recovered, Recovery
from tests.rows import add_rows

NAMES = ("likes", "unlikes", "impressions")


def new_window() -> KeyWindow:
    """As empty as at a start."""
    return KeyWindow(window_seconds=60, keys_max=100, wall_clock=lambda: 50.0)


def likes(group: int, urls: Mapping[str, int], *, part: int = 0, parts: int = 1, key: str = "") -> Entry:
    keys = [(key, b"body", sum(urls.values()))] if key else []
    return Entry(group, part, parts, keys, {"like": dict(urls)})


async def write_segment(disk: Disk, table: int, *entries: Entry) -> list[int]:
    """A segment with these entries; where each of them ends."""
    keeper = Journal(disk)
    edges = []
    for entry in entries:
        await keeper.append(table, entry)
        edges.append(keeper.length(table))
    await keeper.finish(table)
    return edges


async def write_batch(disk: Disk, table: int, urls: Mapping[str, int]) -> None:
    rows = {url: {"likes": n} for url, n in urls.items()}
    await disk.write(BATCH.name(table), batch_file.encode(Batch(table, 1.0, 2.0, NAMES, rows)))


async def recover(disk: Disk, *, applied: int = 0, keep: int = 0, window: KeyWindow | None = None) -> Recovered:
    if window is None:
        window = new_window()
    return await Recovery(
        disk,
        applied=applied,
        handlers=Handlers({"likes": Likes(), "impressions": Impressions()}),
        keys=KeyLog(disk, window_seconds=60, keys_max=100, wall_clock=lambda: 50.0),
        window=window,
        keep_batches=keep,
        wall_clock=lambda: 50.0,
    ).run()


def by_table(found: Recovered) -> dict[int, dict[str, int]]:
    return {batch.table_id: {url: n["likes"] for url, n in batch.rows.items()} for batch in found.batches}


def summed(found: Recovered) -> Rows:
    rows: Rows = {}
    for batch in found.batches:
        add_rows(rows, batch.rows)
    return rows


def damaged(disk: RealDisk) -> list[str]:
    folder = disk.path / "damaged"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
