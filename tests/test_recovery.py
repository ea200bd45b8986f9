"""Recovery: whatever a crash left, a start counts what was acknowledged once, and says what it did."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
import trio

from likd.durability import batch_file, dead_letters, frames
from likd.durability.disk import DryRunDisk, RealDisk
from likd.durability.filenames import BATCH, JOURNAL
from likd.durability.idempotency import KeyLog, KeyWindow
from likd.durability.journal import Entry, Journal
from likd.model import DeadLetter, Fold, IdempotencyKey, Liking, Submission
from likd.plugins.handlers import Handlers, Likes
from likd.recovery import SLICE_BYTES, Recovery
from tests.directory import by_table, damaged, likes, new_window, recover, write_batch, write_segment

A, B, C = "http://a/", "http://b/", "http://c/"


async def test_an_empty_directory_starts_with_table_1(disk: RealDisk) -> None:
    assert (await recover(disk)).next_table == 1
    assert await disk.names() == []


async def test_an_orphan_segment_becomes_a_batch_file_under_its_own_id(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 2}), likes(2, {A: 1, B: 1}))
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 3, B: 1}}
    assert await disk.names() == [BATCH.name(5)]
    assert batch_file.decode(await disk.read(BATCH.name(5))) == found.batches[0]
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
    assert await disk.names() == [BATCH.name(5)]


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
    assert await disk.names() == [BATCH.name(table) for table in kept]


async def test_ids_go_on_growing(disk: RealDisk) -> None:
    assert (await recover(disk, applied=9)).next_table == 10
    await write_batch(disk, 11, {A: 1})
    assert (await recover(disk, applied=9)).next_table == 12
    await write_segment(disk, 13, likes(1, {A: 1}))
    assert (await recover(disk, applied=9)).next_table == 14
    await disk.write("aside_000000000020", dead_letters.encode([DeadLetter("gone", "like", A, 1)]))
    assert (await recover(disk, applied=9)).next_table == 21
    (disk.path / BATCH.name(22)).write_bytes(b"damaged")
    assert (await recover(disk, applied=9)).next_table == 23


@pytest.mark.parametrize("name", ["keys_{}", "aside_000000000001.tab_{}", "damaged/tab_{}", "damaged/journal_{}++"])
async def test_an_id_is_never_used_again_whatever_is_left_of_its_table(disk: RealDisk, name: str) -> None:
    (disk.path / "damaged").mkdir()
    (disk.path / name.format("000000000030")).write_bytes(b"")
    assert (await recover(disk, applied=9)).next_table > 30


async def test_half_written_files_are_dropped(disk: RealDisk) -> None:
    (disk.path / "tab_000000000005.tmp").write_bytes(b"likd-batch 1 ta")
    found = await recover(disk)
    assert await disk.names() == []
    assert found.steps == ["tab_000000000005.tmp: half-written, dropped"]


async def test_a_torn_last_frame_is_cut_off(disk: RealDisk) -> None:
    edges = await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}))
    path = disk.path / JOURNAL.name(5)
    path.write_bytes(path.read_bytes()[:-3])
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1}}
    assert f"journal_000000000005: bytes {edges[0]} to {edges[1] - 3}: torn last frame, cut off" in found.steps
    assert damaged(disk) == []


async def test_damage_in_the_middle_costs_only_itself_is_reported_and_kept(disk: RealDisk) -> None:
    edges = await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}), likes(3, {C: 1}))
    path = disk.path / JOURNAL.name(5)
    broken = bytearray(path.read_bytes())
    broken[edges[0] + 15] ^= 0x40
    path.write_bytes(broken)
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1, C: 1}}
    assert f"journal_000000000005: bytes {edges[0]} to {edges[1]}: damage, set aside" in found.steps
    assert (disk.path / "damaged" / JOURNAL.name(5)).read_bytes() == broken
    assert await disk.names() == [BATCH.name(5)]


async def test_a_damaged_batch_file_is_kept_aside_and_its_journal_counts(disk: RealDisk) -> None:
    await write_batch(disk, 5, {A: 1})
    path = disk.path / BATCH.name(5)
    broken = path.read_bytes().replace(b"http://a/", b"http://x/")
    path.write_bytes(broken)
    await write_segment(disk, 5, likes(1, {A: 1}))
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1}}
    assert (disk.path / "damaged" / BATCH.name(5)).read_bytes() == broken
    assert "tab_000000000005: damaged (the checksum does not match), set aside" in found.steps


async def test_a_batch_file_under_a_wrong_name_is_damaged(disk: RealDisk) -> None:
    await write_batch(disk, 5, {A: 1})
    await disk.rename(BATCH.name(5), BATCH.name(6))
    assert (await recover(disk, applied=4)).batches == []
    assert damaged(disk) == [BATCH.name(6)]


async def test_a_merge_and_what_actors_like_are_found_again(disk: RealDisk) -> None:
    merge = Fold(A, B, b"a", b"b")
    first = Entry(1, 0, 1, [], {"like": {A: 1}}, {b"key": Liking(True, 1)})
    second = Entry(2, 0, 1, [], {"unlike": {A: 1}}, {b"key": Liking(False, -1)}, merge)
    await write_segment(disk, 5, first, second)
    await write_segment(disk, 6, Entry(3, 0, 1, [], {}, {}, merge))
    for _ in range(2):
        found = (await recover(disk, applied=4)).batches
        assert [(batch.table_id, batch.actors, batch.merge) for batch in found] == [
            (5, {b"key": Liking(False, 0)}, merge),
            (6, {}, merge),
        ]


async def test_a_group_over_two_segments_counts_whole(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}, part=0, parts=2))
    await write_segment(disk, 6, likes(2, {C: 1}, part=1, parts=2))
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1, B: 1}, 6: {C: 1}}


async def test_a_group_without_its_last_part_was_never_acknowledged(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}, part=0, parts=3))
    await write_segment(disk, 6, likes(2, {C: 1}, part=1, parts=3))
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}}


def flip_in(disk: RealDisk, table: int, offset: int) -> None:
    path = disk.path / JOURNAL.name(table)
    broken = bytearray(path.read_bytes())
    broken[offset] ^= 0x10
    path.write_bytes(broken)


@pytest.mark.parametrize("behind", [False, True])
async def test_a_flipped_bit_in_the_last_part_of_a_group_costs_only_that_part(disk: RealDisk, behind: bool) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}, part=0, parts=3))
    await write_segment(disk, 6, likes(2, {B: 2}, part=1, parts=3))
    more = [likes(3, {A: 8})] if behind else []
    edges = await write_segment(disk, 7, likes(2, {C: 1}, part=2, parts=3), *more)
    broken = disk.path / JOURNAL.name(7)
    flip_in(disk, 7, edges[0] - 4)
    data = broken.read_bytes()
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1, B: 1}, 6: {B: 2}} | ({7: {A: 8}} if behind else {})
    assert (disk.path / "damaged" / JOURNAL.name(7)).read_bytes() == data
    lost = [f"journal_00000000000{n}: a group's last part is lost in journal_000000000007, counted" for n in (5, 6)]
    assert set(lost) < set(found.damage)


async def test_a_damaged_middle_part_of_a_group_costs_only_that_part(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(2, {A: 1}, part=0, parts=3))
    edges = await write_segment(disk, 6, likes(2, {B: 2}, part=1, parts=3))
    await write_segment(disk, 7, likes(2, {C: 1}, part=2, parts=3))
    flip_in(disk, 6, edges[0] - 4)
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}, 7: {C: 1}}
    assert damaged(disk) == [JOURNAL.name(6)]


async def test_a_group_whose_last_segment_is_gone_while_later_ones_are_there_was_acknowledged(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(2, {A: 1}, part=0, parts=2))
    await write_segment(disk, 7, likes(3, {C: 1}))
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}, 7: {C: 1}}


async def test_a_group_whose_last_part_is_batched_was_acknowledged(disk: RealDisk) -> None:
    """Its table's batch file is damaged, and the segment of the last part was removed already."""
    await write_segment(disk, 5, likes(2, {A: 1}, part=0, parts=2))
    (disk.path / BATCH.name(5)).write_bytes(b"damaged")
    await write_batch(disk, 6, {B: 1})
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}, 6: {B: 1}}


async def test_a_group_whose_last_part_is_torn_was_never_acknowledged(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}, part=0, parts=2))
    await write_segment(disk, 6, likes(2, {C: 1}, part=1, parts=2))
    path = disk.path / JOURNAL.name(6)
    path.write_bytes(path.read_bytes()[:-3])
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}}
    assert damaged(disk) == []


async def test_a_segment_that_ends_early_although_later_ones_came_is_damaged(disk: RealDisk) -> None:
    await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}))
    await write_segment(disk, 6, likes(3, {C: 1}))
    path = disk.path / JOURNAL.name(5)
    path.write_bytes(path.read_bytes()[:-3])
    found = await recover(disk, applied=4)
    assert by_table(found) == {5: {A: 1}, 6: {C: 1}}
    assert damaged(disk) == [JOURNAL.name(5)]
    assert len(found.damage) == 1


async def test_a_segment_shorter_than_what_was_noted_of_it_is_damaged(disk: RealDisk) -> None:
    edges = await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}))
    later = Journal(disk)
    later._unsealed[5] = edges[1]
    await later.append(6, likes(3, {C: 1}))
    await later.finish(6)
    path = disk.path / JOURNAL.name(5)
    path.write_bytes(path.read_bytes()[: edges[0]])
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}, 6: {C: 1}}
    assert damaged(disk) == [JOURNAL.name(5)]


async def test_what_is_void_stays_so_if_the_header_that_says_it_is_damaged_and_a_later_one_is_not(
    disk: RealDisk,
) -> None:
    edges = await write_segment(disk, 5, likes(1, {A: 1}), likes(2, {B: 1}))
    later = Journal(disk)
    later._unsealed[5] = edges[0]
    await later.append(6, likes(3, {C: 1}))
    await later.append(7, likes(4, {C: 1}))
    for table in (6, 7):
        await later.finish(table)
    flip_in(disk, 6, 14)
    assert by_table(await recover(disk, applied=4)) == {5: {A: 1}, 6: {C: 1}, 7: {C: 1}}


async def test_what_is_replayed_belongs_to_the_time_when_its_segment_was_opened(disk: RealDisk) -> None:
    keeper = Journal(disk, wall_clock=lambda: 1_000_000.5)
    await keeper.append(5, likes(1, {A: 1}))
    await keeper.finish(5)
    [batch] = (await recover(disk, applied=4)).batches
    assert batch.closed == 1_000_000.5


async def test_a_segment_without_a_readable_header_belongs_to_the_time_of_its_neighbour(disk: RealDisk) -> None:
    for table in (5, 6, 7):
        keeper = Journal(disk, wall_clock=lambda: 1_000_000.0 + table)  # noqa: B023
        await keeper.append(table, likes(table, {A: 1}))
        await keeper.finish(table)
    for table in (5, 7):
        flip_in(disk, table, 14)
    found = await recover(disk, applied=4)
    assert [batch.closed for batch in found.batches] == [1_000_006.0] * 3


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
    kept = [DeadLetter("likes", "like", A, 2), DeadLetter("gone", "x", B, 1)]
    await disk.write("aside_000000000003", dead_letters.encode(kept))
    found = await recover(disk, applied=7)
    assert by_table(found) == {8: {A: 2}}
    assert found.next_table == 9
    assert await disk.names() == ["aside_000000000008", BATCH.name(8)]
    assert dead_letters.decode(await disk.read("aside_000000000008")).events == [DeadLetter("gone", "x", B, 1)]
    assert by_table(await recover(disk, applied=7)) == {8: {A: 2}}
    assert (await recover(disk, applied=8)).batches == []


async def test_events_that_an_earlier_try_set_aside_do_not_count_beside_their_replayed_segment(disk: RealDisk) -> None:
    """A crash came between the file of what the table could not count and its batch file."""
    await write_segment(disk, 5, likes(1, {A: 3}))
    await dead_letters.write(disk, 5, [DeadLetter("likes", "like", A, 3)])
    for _ in range(3):
        assert by_table(await recover(disk, applied=4)) == {5: {A: 3}}
    assert await disk.names() == [BATCH.name(5)]


async def test_events_still_aside_do_not_count_beside_the_file_that_they_came_from(disk: RealDisk) -> None:
    """A crash came between what was still set aside and the batch file of the target; since then the handler works."""
    await disk.write("aside_000000000003.tab_000000000008", dead_letters.encode([DeadLetter("likes", "like", A, 2)]))
    await dead_letters.write(disk, 8, [DeadLetter("likes", "like", A, 2)])
    for _ in range(3):
        assert by_table(await recover(disk, applied=7)) == {8: {A: 2}}


async def test_a_table_of_which_all_is_set_aside_is_batched_and_its_segment_may_come_back(disk: RealDisk) -> None:
    entry = Entry(1, 0, 1, [], {"heart": {A: 4}})
    await write_segment(disk, 5, entry)
    await recover(disk, applied=4)
    assert await disk.names() == ["aside_000000000005", BATCH.name(5)]
    await write_segment(disk, 5, entry)
    found = await recover(disk, applied=5)
    assert dead_letters.decode(await disk.read("aside_000000000005")).events == [DeadLetter("", "heart", A, 4)]
    assert found.dead_letter_bytes == dead_letters.BLOCK_BYTES


async def test_events_set_aside_belong_to_the_time_when_they_were_taken(disk: RealDisk) -> None:
    await dead_letters.write(disk, 3, [DeadLetter("likes", "like", A, 2)], 1_000_000.5)
    [batch] = (await recover(disk, applied=7)).batches
    assert batch.closed == 1_000_000.5


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
    assert dead_letters.decode(await disk.read("aside_000000000005")).events == [DeadLetter("", "heart", A, 4)]

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


async def test_a_start_that_is_given_up_in_the_middle_of_a_segment_is_taken_up_again(disk: RealDisk) -> None:
    """A segment is read in slices, between which a signal is obeyed."""
    frame = frames.frame(msgspec.msgpack.encode(likes(1, {A: 1})))
    (disk.path / JOURNAL.name(5)).write_bytes(frame * 40_000)
    looks = 0

    async def look() -> None:
        nonlocal looks
        while True:
            looks += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await recover(DryRunDisk(disk), applied=4)
        nursery.cancel_scope.cancel()
    assert looks >= len(frame) * 40_000 // SLICE_BYTES - 1

    with trio.CancelScope() as start:
        start.cancel()
        await recover(disk, applied=4)
    assert start.cancelled_caught
    assert by_table(await recover(disk, applied=4)) == {5: {A: 40_000}}


async def test_a_second_damaged_file_of_a_name_does_not_take_the_place_of_the_first(disk: RealDisk) -> None:
    for data in (b"one", b"two"):
        (disk.path / "tab_000000000001").write_bytes(data)
        await disk.quarantine("tab_000000000001")
    assert damaged(disk) == ["tab_000000000001", "tab_000000000001+"]


@pytest.mark.parametrize("applied", [7, 8])
async def test_events_that_were_replayed_into_a_table_are_not_replayed_again(disk: RealDisk, applied: int) -> None:
    """A crash came before their file was removed: the table has its batch file, or is applied."""
    await disk.write("aside_000000000003.tab_000000000008", dead_letters.encode([DeadLetter("likes", "like", A, 2)]))
    await write_batch(disk, 8, {A: 2})
    found = await recover(disk, applied=applied)
    assert by_table(found) == ({8: {A: 2}} if applied == 7 else {})
    assert len(found.batches) == 8 - applied
    assert not [name for name in await disk.names() if name.startswith("aside")]
