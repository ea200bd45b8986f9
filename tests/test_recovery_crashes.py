"""Recovery cut off anywhere, and journals damaged anywhere: each count is there once, and none that was not written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from likd.durability import dead_letters
from likd.durability.disk import RealDisk
from likd.durability.filenames import BATCH, JOURNAL
from likd.durability.idempotency import KeyWindow
from likd.durability.journal import Entry
from likd.model import DeadLetter, IdempotencyKey, Submission
from likd.recovery import Recovered
from tests.crashing import Crash, CrashingDisk
from tests.damage import strokes
from tests.directory import by_table, damaged, likes, new_window, recover, summed, write_batch, write_segment

A, B, C = "http://a/", "http://b/", "http://c/"


async def write_ruins(disk: RealDisk) -> None:
    """A directory with something of everything that recovery mends; tables up to 3 are applied."""
    await write_batch(disk, 2, {A: 1000})
    await write_segment(disk, 3, likes(1, {A: 1000}))
    await write_batch(disk, 4, {A: 1})
    await write_segment(disk, 4, likes(2, {A: 1}))
    edges = await write_segment(
        disk, 5, likes(3, {A: 2}, key="k5"), likes(4, {C: 1000}), likes(5, {B: 4}), likes(6, {A: 8}, parts=2)
    )
    path = disk.path / JOURNAL.name(5)
    broken = bytearray(path.read_bytes())
    broken[edges[0] + 15] ^= 1
    path.write_bytes(broken)
    await write_segment(disk, 6, likes(6, {B: 16}, part=1, parts=2, key="k6"))
    (disk.path / BATCH.name(7)).write_bytes(b"damaged")
    await write_segment(disk, 7, likes(8, {A: 32}, key="k7"), likes(7, {C: 1000}))
    path = disk.path / JOURNAL.name(7)
    path.write_bytes(path.read_bytes()[:-5])
    (disk.path / "tab_000000000008.tmp").write_bytes(b"half")
    kept = [DeadLetter("likes", "like", B, 64), DeadLetter("gone", "x", B, 1)]
    await disk.write("aside_000000000001", dead_letters.encode(kept))


def check_mended(disk: RealDisk, found: Recovered, window: KeyWindow) -> None:
    assert summed(found) == {A: {"likes": 1 + 2 + 8 + 32}, B: {"likes": 4 + 16 + 64}}
    tables = [batch.table_id for batch in found.batches]
    assert tables == sorted(set(tables))
    assert 3 < tables[0] <= tables[-1] < found.next_table
    assert damaged(disk) == [JOURNAL.name(5), BATCH.name(7)]
    for key in ("k5", "k6", "k7"):
        assert window.claim(Submission({}, 0, IdempotencyKey(key, b"body"))).outcome is not None, key
    names = {path.name for path in disk.path.iterdir() if path.is_file()}
    assert {name for name in names if name.startswith("tab_")} == set(map(BATCH.name, tables))
    assert not any(name.startswith("journal_") or name.endswith(".tmp") for name in names)
    [still_dead] = [name for name in names if name.startswith("aside_")]
    assert dead_letters.decode((disk.path / still_dead).read_bytes()).events == [DeadLetter("gone", "x", B, 1)]


async def mended_after(path: Path, crashes: list[tuple[int, bool]]) -> bool:
    """Crash in these changes, one start after the other, then start in peace; whether they all came about."""
    crashed = 0
    for at, done in crashes:
        try:
            await recover(CrashingDisk(path, at, done=done), applied=3)
        except Crash:
            crashed += 1
    disk = RealDisk(path)
    window = new_window()
    check_mended(disk, await recover(disk, applied=3, window=window), window)
    return crashed == len(crashes)


@pytest.mark.parametrize("done", [False, True])
async def test_a_recovery_that_crashes_anywhere_is_taken_up_again(disk: RealDisk, tmp_path: Path, done: bool) -> None:
    await write_ruins(disk)
    at = 0
    while await mended_after(shutil.copytree(disk.path, tmp_path / str(at)), [(at, done)]):
        at += 1
    assert at > 15, "every change of the directory was cut off once"


@pytest.fixture(scope="module")
def ruins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ruins")
    trio.run(write_ruins, RealDisk(path))
    return path


@given(crashes=st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=5))
@settings(max_examples=15)
def test_crash_after_crash_is_mended(ruins: Path, crashes: list[tuple[int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as path:
        shutil.copytree(ruins, path, dirs_exist_ok=True)
        trio.run(mended_after, Path(path), crashes)


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data())
@settings(max_examples=15)
def test_damage_costs_no_part_of_a_group_that_it_does_not_touch(sizes: list[int], data: st.DataObject) -> None:
    """Groups over several segments, one of which is damaged; a later table says that all were acknowledged."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            disk = RealDisk(Path(name))
            tables: dict[int, list[Entry]] = {1: []}
            for group, parts in enumerate(sizes):
                first = max(tables)
                for part in range(parts):
                    url = {f"http://{group}.{part}/": 1 + group}
                    tables.setdefault(first + part, []).append(likes(group, url, part=part, parts=parts))
            edges = {table: await write_segment(disk, table, *entries) for table, entries in tables.items()}
            await write_batch(disk, max(tables) + 1, {})
            struck = data.draw(st.sampled_from(sorted(tables)))
            path = disk.path / JOURNAL.name(struck)
            stroke = data.draw(strokes(path.stat().st_size))
            # A segment that lacks bytes from its first frame on may be one whose first append failed.
            assume(stroke.begin >= edges[struck][0] or len(stroke.patch) >= stroke.end - stroke.begin)
            path.write_bytes(stroke.on(path.read_bytes()))
            counted = by_table(await recover(disk))
            for table, entries in tables.items():
                begins = [0, *edges[table]]
                for entry, begin, end in zip(entries, begins, edges[table], strict=False):
                    if table != struck or stroke.spares(begin, end):
                        assert entry.events["like"].items() <= counted[table].items()

    trio.run(run)


@given(numbers=st.lists(st.integers(1, 1 << 30), min_size=1, max_size=6), data=st.data())
@settings(max_examples=15)
def test_any_damage_costs_only_the_frames_it_touches(numbers: list[int], data: st.DataObject) -> None:
    """Each frame has a URL of its own, so that every count can be traced to its frame."""
    urls = {f"http://{n}/": likes for n, likes in enumerate(numbers)}

    async def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            disk = RealDisk(Path(name))
            edges = await write_segment(disk, 1, *(likes(n, {url: k}) for n, (url, k) in enumerate(urls.items())))
            path = disk.path / JOURNAL.name(1)
            whole = path.read_bytes()
            stroke = data.draw(strokes(len(whole)))
            path.write_bytes(stroke.on(whole))
            found = await recover(disk)
            counted = by_table(found).get(1, {})
            assert counted.items() <= urls.items(), "a count that was not written"
            begins = [0, *edges]
            spared = {url for url, begin, end in zip(urls, begins, edges, strict=False) if stroke.spares(begin, end)}
            assert spared <= counted.keys()
            if damaged(disk):
                assert (disk.path / "damaged" / JOURNAL.name(1)).read_bytes() == stroke.on(whole)

    trio.run(run)
