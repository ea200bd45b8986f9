"""Recovery: whatever a crash left, a start counts what was acknowledged once, and says what it did."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from likd import aside, batchfile, journal
from likd.disk import RealDisk
from likd.events import IdempotencyKey, Submission
from likd.handlers import Aside, Handlers, Likes
from likd.journal import Entry, Journal
from likd.keys import KeyLog, KeyWindow
from likd.recovery import Recovery
from tests.directory import by_table, damaged, likes, new_window, recover, write_batch, write_segment

A, B, C = "http://a/", "http://b/", "http://c/"


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
        window = new_window()
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


async def test_events_of_a_handler_that_is_gone_wait_for_it(disk: RealDisk) -> None:
    await write_segment(disk, 5, Entry(1, 0, 1, [], {"like": {A: 1}, "heart": {A: 4}}))
    assert by_table(await recover(disk)) == {5: {A: 1}}
    assert aside.decode(await disk.read("aside_000000000005")) == [Aside("", "heart", A, 4)]

    class Hearts:
        kinds: tuple[str, ...] = ("heart",)
        counts: tuple[str, ...] = ("hearts",)

        def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
            return {"hearts": times}

    handlers = Handlers({"likes": Likes(), "hearts": Hearts()})
    window = KeyWindow(window_seconds=60, keys_max=100)
    keys = KeyLog(disk, window_seconds=60, keys_max=100)
    found = await Recovery(disk, applied=5, handlers=handlers, keys=keys, window=window).run()
    assert [batch.rows for batch in found.batches] == [{A: {"hearts": 4}}]


async def test_a_second_damaged_file_of_a_name_does_not_take_the_place_of_the_first(disk: RealDisk) -> None:
    for data in (b"one", b"two"):
        (disk.path / "tab_000000000001").write_bytes(data)
        await disk.set_aside("tab_000000000001")
    assert damaged(disk) == ["tab_000000000001", "tab_000000000001+"]
