"""Recovery: whatever a crash left, a start counts what was acknowledged once, and says what it did."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from likd import aside, batchfile, journal
from likd.batchfile import Batch
from likd.disk import Disk, RealDisk
from likd.events import IdempotencyKey, Rows, Submission, add_rows
from likd.handlers import Aside, Handlers, Impressions, Likes
from likd.journal import Entry, Journal
from likd.keys import KeyLog, KeyWindow
from likd.recovery import Recovered, Recovery
from tests.crashing import Crash, CrashingDisk
from tests.damage import strokes

A, B, C = "http://a/", "http://b/", "http://c/"
NAMES = ("likes", "unlikes", "impressions")


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
    await disk.write(batchfile.name(table), batchfile.encode(Batch(table, 1.0, 2.0, NAMES, rows)))


async def recover(disk: Disk, *, applied: int = 0, keep: int = 0, window: KeyWindow | None = None) -> Recovered:
    if window is None:
        window = KeyWindow(window_seconds=60, keys_max=100, wall_clock=lambda: 50.0)
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
    return {batch.table: {url: n["likes"] for url, n in batch.rows.items()} for batch in found.batches}


def summed(found: Recovered) -> Rows:
    rows: Rows = {}
    for batch in found.batches:
        add_rows(rows, batch.rows)
    return rows


def damaged(disk: RealDisk) -> list[str]:
    folder = disk.path / "damaged"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_an_empty_directory_starts_with_table_1(disk: RealDisk) -> None:
    assert (await recover(disk)).next_table == 1
    assert await disk.names() == []


async def test_an_orphan_segment_becomes_a_batch_file_under_its_own_id(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 2}), likes(2, {A: 1, B: 1}))
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 3, B: 1}}
    assert await disk.names() == [batchfile.name(5)]
    assert batchfile.decode(await disk.read(batchfile.name(5))) == found.batches[0]
    assert found.journal_bytes > 0


async def test_batches_come_in_the_order_of_their_ids(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 5}))
    await write_batch(disk, 6, {A: 6})
    await write_segment(disk, 7, likes(2, {A: 7}))
    await write_batch(disk, 4, {A: 4})
    assert list(by_table(await recover(disk, applied=3)).items()) == [(n, {A: n}) for n in (4, 5, 6, 7)]


async def test_a_segment_whose_batch_file_is_written_is_not_counted_again(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}))
    await write_batch(disk, 5, {A: 1})
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}}
    assert await disk.names() == [batchfile.name(5)]


async def test_files_of_applied_tables_are_not_counted_again(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}))
    await write_batch(disk, 4, {A: 1})
    found = await recover(disk, applied=5)
    assert (found.batches, await disk.names()) == ([], [])


@pytest.mark.parametrize(
    ("keep", "kept"), [(0, []), (1, [3]), (2, [2, 3]), (3, [1, 2, 3]), (4, [1, 2, 3]), (5, [1, 2, 3])]
)
async def test_the_newest_applied_files_are_kept_if_asked(disk: RealDisk, keep: int, kept: list[int]) -> None:
    for table in (1, 2, 3):
        await write_batch(disk, table, {A: 1})
    found = await recover(disk, applied=3, keep=keep)
    assert found.batches == []
    assert await disk.names() == [batchfile.name(table) for table in kept]


async def test_ids_go_on_growing(disk: RealDisk) -> None:
    assert (await recover(disk, applied=9)).next_table == 10
    await write_batch(disk, 11, {A: 1})
    assert (await recover(disk, applied=9)).next_table == 12
    await write_segment(disk, 13, likes(1, {A: 1}))
    assert (await recover(disk, applied=9)).next_table == 14
    await disk.write("aside_000000000020", aside.encode([Aside("gone", "like", A, 1)]))
    assert (await recover(disk, applied=9)).next_table == 21
    (disk.path / batchfile.name(22)).write_bytes(b"damaged")
    assert (await recover(disk, applied=9)).next_table == 23


async def test_half_written_files_are_dropped(disk: RealDisk) -> None:
    (disk.path / "tab_000000000005.tmp").write_bytes(b"likd-batch 1 ta")
    found = await recover(disk)
    assert await disk.names() == []
    assert found.steps == ["tab_000000000005.tmp: half-written, dropped"]


async def test_a_torn_last_frame_is_cut_off(disk: RealDisk) -> None:
    edges = await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}))
    path = disk.path / journal.name(5)
    path.write_bytes(path.read_bytes()[:-3])
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1}}
    assert f"journal_000000000005: bytes {edges[0]} to {edges[1] - 3}: torn last frame, cut off" in found.steps
    assert damaged(disk) == []


async def test_damage_in_the_middle_costs_only_itself_is_reported_and_kept(disk: RealDisk) -> None:
    edges = await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}), likes(3, {C: 1}))
    path = disk.path / journal.name(5)
    broken = bytearray(path.read_bytes())
    broken[edges[0] + 15] ^= 0x40
    path.write_bytes(broken)
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1, C: 1}}
    assert f"journal_000000000005: bytes {edges[0]} to {edges[1]}: damage, set aside" in found.steps
    assert (disk.path / "damaged" / journal.name(5)).read_bytes() == broken
    assert await disk.names() == [batchfile.name(5)]


async def test_a_damaged_batch_file_is_kept_aside_and_its_journal_counts(disk: RealDisk) -> None:
    await write_batch(disk, 5, {A: 1})
    path = disk.path / batchfile.name(5)
    broken = path.read_bytes().replace(b"http://a/", b"http://x/")
    path.write_bytes(broken)
    await write_segment(disk, 5, likes(1, {A: 1}))
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1}}
    assert (disk.path / "damaged" / batchfile.name(5)).read_bytes() == broken
    assert "tab_000000000005: damaged (the checksum does not match), set aside" in found.steps


async def test_a_batch_file_under_a_wrong_name_is_damaged(disk: RealDisk) -> None:
    await write_batch(disk, 5, {A: 1})
    await disk.rename(batchfile.name(5), batchfile.name(6))
    assert (await recover(disk, applied=4)).batches == []
    assert damaged(disk) == [batchfile.name(6)]


async def test_a_group_over_two_segments_counts_whole(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}, part=0, parts=2))
    await write_segment(disk, 6, likes(2, {C: 1}, part=1, parts=2))
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1, B: 1}, 6: {C: 1}}


async def test_a_group_without_its_last_part_was_never_acknowledged(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}, part=0, parts=3))
    await write_segment(disk, 6, likes(2, {C: 1}, part=1, parts=3))
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}}


async def test_a_write_that_a_later_segment_declares_void_does_not_count(disk: RealDisk) -> None:
    edges = await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}))
    later = Journal(disk)
    later._unsealed[5] = edges[0]
    await later.append(6, likes(3, {C: 1}))
    await later.finish(6)
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}, 6: {C: 1}}


async def test_keys_of_the_journal_are_known_again_now_and_after_the_next_start(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 3}, key="k"))
    for _ in range(2):
        window = KeyWindow(window_seconds=60, keys_max=100, wall_clock=lambda: 50.0)
        await recover(disk, applied=4, window=window)
        retry = Submission({}, 0, IdempotencyKey("k", b"body"))
        assert window.claim(retry).outcome is not None


async def test_events_set_aside_are_counted_once_their_handler_is_back(disk: RealDisk) -> None:
    await disk.write("aside_000000000003", aside.encode([Aside("likes", "like", A, 2), Aside("gone", "x", B, 1)]))
    found = await recover(disk, applied=7)
    assert by_table(found) == {8: {A: 2}}
    assert found.next_table == 9
    assert await disk.names() == ["aside_000000000008", batchfile.name(8)]
    assert aside.decode(await disk.read("aside_000000000008")) == [Aside("gone", "x", B, 1)]
    assert by_table(await recover(disk, applied=7)) == {8: {A: 2}}
    assert (await recover(disk, applied=8)).batches == []


@pytest.mark.parametrize("data", [b"[", b'["likes","like","http://a/\xff",2]\n'])
async def test_a_damaged_aside_file_does_not_stop_a_start(disk: RealDisk, data: bytes) -> None:
    (disk.path / "aside_000000000003").write_bytes(data)
    assert (await recover(disk)).batches == []
    assert damaged(disk) == ["aside_000000000003"]


async def test_files_of_others_are_left_alone(disk: RealDisk) -> None:
    for name in ("likd.sqlite", "notes.txt", "tab_5", "journal_x"):
        (disk.path / name).write_bytes(b"mine")
    found = await recover(disk)
    assert (found.steps, found.next_table) == ([], 1)
    assert await disk.names() == ["journal_x", "likd.sqlite", "notes.txt", "tab_5"]


async def write_ruins(disk: RealDisk) -> None:
    """A directory with something of everything that recovery mends; tables up to 3 are applied."""
    await write_batch(disk, 2, {A: 1000})
    await write_segment(disk, 3, likes(1, {A: 1000}))
    await write_batch(disk, 4, {A: 1})
    await write_segment(disk, 4, likes(2, {A: 1}))
    edges = await write_segment(
        disk, 5, likes(3, {A: 2}, key="k5"), likes(4, {C: 1000}), likes(5, {B: 4}), likes(6, {A: 8}, parts=2)
    )
    path = disk.path / journal.name(5)
    broken = bytearray(path.read_bytes())
    broken[edges[0] + 15] ^= 1
    path.write_bytes(broken)
    await write_segment(disk, 6, likes(6, {B: 16}, part=1, parts=2, key="k6"), likes(7, {C: 1000}))
    path = disk.path / journal.name(6)
    path.write_bytes(path.read_bytes()[:-5])
    (disk.path / batchfile.name(7)).write_bytes(b"damaged")
    await write_segment(disk, 7, likes(8, {A: 32}, key="k7"))
    (disk.path / "tab_000000000008.tmp").write_bytes(b"half")
    await disk.write("aside_000000000001", aside.encode([Aside("likes", "like", B, 64), Aside("gone", "x", B, 1)]))


def check_mended(disk: RealDisk, found: Recovered, window: KeyWindow) -> None:
    assert summed(found) == {A: {"likes": 1 + 2 + 8 + 32}, B: {"likes": 4 + 16 + 64}}
    tables = [batch.table for batch in found.batches]
    assert tables == sorted(set(tables))
    assert 3 < tables[0] <= tables[-1] < found.next_table
    assert damaged(disk) == [journal.name(5), batchfile.name(7)]
    for key in ("k5", "k6", "k7"):
        assert window.claim(Submission({}, 0, IdempotencyKey(key, b"body"))).outcome is not None, key
    names = {path.name for path in disk.path.iterdir() if path.is_file()}
    assert {name for name in names if name.startswith("tab_")} == set(map(batchfile.name, tables))
    assert not any(name.startswith("journal_") or name.endswith(".tmp") for name in names)
    [still_aside] = [name for name in names if name.startswith("aside_")]
    assert aside.decode((disk.path / still_aside).read_bytes()) == [Aside("gone", "x", B, 1)]


async def mended_after(path: Path, crashes: list[tuple[int, bool]]) -> bool:
    """Crash in these changes, one start after the other, then start in peace; whether they all came about."""
    crashed = 0
    for at, done in crashes:
        try:
            await recover(CrashingDisk(path, at, done=done), applied=3)
        except Crash:
            crashed += 1
    disk = RealDisk(path)
    window = KeyWindow(window_seconds=60, keys_max=100, wall_clock=lambda: 50.0)
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
@settings(max_examples=30)
def test_crash_after_crash_is_mended(ruins: Path, crashes: list[tuple[int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as path:
        shutil.copytree(ruins, path, dirs_exist_ok=True)
        trio.run(mended_after, Path(path), crashes)


@given(numbers=st.lists(st.integers(1, 1 << 30), min_size=1, max_size=6), data=st.data())
@settings(max_examples=60)
def test_any_damage_costs_only_the_frames_it_touches(numbers: list[int], data: st.DataObject) -> None:
    """Each frame has a URL of its own, so that every count can be traced to its frame."""
    urls = {f"http://{n}/": likes for n, likes in enumerate(numbers)}

    async def run() -> None:
        with tempfile.TemporaryDirectory() as name:
            disk = RealDisk(Path(name))
            edges = await write_segment(disk, 1, *(likes(n, {url: k}) for n, (url, k) in enumerate(urls.items())))
            path = disk.path / journal.name(1)
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
                assert (disk.path / "damaged" / journal.name(1)).read_bytes() == stroke.on(whole)

    trio.run(run)
