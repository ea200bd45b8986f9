"""The journal: what `append` returned for is there, damage costs only what it touches, a failed write never counts."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.durability import frames, journal
from likd.durability.disk import AppendFile, RealDisk
from likd.durability.filenames import JOURNAL
from likd.durability.frames import SECTOR_BYTES
from likd.durability.journal import Entry, Header, Journal, JournalError, SegmentDamage
from likd.model import Fold, Liking
from tests.damage import strokes

ENTRIES = st.lists(
    st.builds(
        Entry,
        group=st.integers(0, 1 << 40),
        part=st.just(0),
        parts=st.just(1),
        keys=st.lists(st.tuples(st.text("abc", min_size=1), st.binary(max_size=32), st.integers(0, 9)), max_size=2),
        events=st.dictionaries(
            st.sampled_from(["like", "unlike"]),
            st.dictionaries(st.sampled_from(["http://a/", "http://b/é"]), st.integers(1, 1 << 40), min_size=1),
        ),
    ),
    max_size=6,
)


def entry(group: int, likes: int = 1) -> Entry:
    return Entry(group, 0, 1, [], {"like": {"http://a/": likes}})


def entries(data: bytes) -> list[Entry]:
    records = [record[1] for record in journal.read(data) if isinstance(record, tuple)]
    return [record for record in records if isinstance(record, Entry)]


def sealed_by(data: bytes) -> dict[int, int]:
    record = next(journal.read(data))
    assert isinstance(record, tuple)
    assert isinstance(record[1], Header)
    return record[1].sealed


def damage(data: bytes) -> list[SegmentDamage]:
    return [record for record in journal.read(data) if isinstance(record, SegmentDamage)]


def segment(written: list[Entry]) -> tuple[bytes, list[int]]:
    """A segment as the journal writes it, and where each entry ends in it (first of all, the header)."""
    edges: list[int] = []

    async def write() -> bytes:
        with tempfile.TemporaryDirectory() as path:
            disk = RealDisk(Path(path))
            keeper = Journal(disk, "os")
            await keeper.append(1, entry(0))
            for one in written:
                edges.append(keeper.length(1))
                await keeper.append(1, one)
            edges.append(keeper.length(1))
            return await disk.read(JOURNAL.name(1))

    return trio.run(write), edges


class FlakyFile:
    """An AppendFile that leaves half of a failed append behind, and may not be able to cut it off."""

    def __init__(self, disk: FlakyDisk, file: AppendFile) -> None:
        self._disk = disk
        self._file = file

    async def append(self, data: bytes, *, sync: bool) -> None:
        self._disk.synced.append(sync)
        if self._disk.append_fails:
            await self._file.append(data[: len(data) if self._disk.wrote_all else len(data) // 2], sync=False)
            raise OSError(errno.ENOSPC, "No space left on device")
        await self._file.append(data, sync=sync)

    async def truncate(self, size: int) -> None:
        if self._disk.truncate_fails:
            raise OSError(errno.EIO, "Input/output error")
        await self._file.truncate(size)

    async def close(self) -> None:
        await self._file.close()


class FlakyDisk(RealDisk):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.append_fails = self.truncate_fails = self.create_fails = self.wrote_all = False
        self.synced: list[bool] = []

    async def create(self, name: str) -> AppendFile:
        if self.create_fails:
            raise OSError(errno.EMFILE, "Too many open files")
        return FlakyFile(self, await super().create(name))


@pytest.fixture
def flaky(tmp_path: Path) -> FlakyDisk:
    return FlakyDisk(tmp_path)


async def test_an_entry_is_in_the_file_when_append_returns(disk: RealDisk) -> None:
    keeper = Journal(disk)
    await keeper.append(7, entry(1))
    assert entries((disk.path / "journal_000000000007").read_bytes()) == [entry(1)]
    await keeper.append(7, entry(2))
    assert entries((disk.path / "journal_000000000007").read_bytes()) == [entry(1), entry(2)]
    await keeper.finish(7)


async def test_each_table_has_a_segment_that_begins_with_its_header(disk: RealDisk) -> None:
    keeper = Journal(disk, wall_clock=lambda: 5.25)
    for table in (1, 2):
        await keeper.append(table, entry(table))
        offset, header = next(iter(journal.read(await disk.read(JOURNAL.name(table)))))  # type: ignore[misc]
        assert (offset, header) == (0, Header(1, table, {}, 5.25))
        assert keeper.length(table) == (disk.path / JOURNAL.name(table)).stat().st_size
        await keeper.drop(table)
    assert await disk.names() == []


@pytest.mark.parametrize(("durability", "synced"), [("fsync", True), ("os", False)])
async def test_entries_are_synced_as_durability_says(flaky: FlakyDisk, durability: str, synced: bool) -> None:
    keeper = Journal(flaky, durability)  # type: ignore[arg-type]
    await keeper.append(1, entry(1))
    await keeper.finish(1)
    assert flaky.synced[-1] is synced


async def test_durability_none_writes_nothing(disk: RealDisk) -> None:
    keeper = Journal(disk, "none")
    await keeper.append(1, entry(1))
    await keeper.drop(1)
    assert await disk.names() == []


async def test_finish_keeps_the_segment_and_drop_removes_it(disk: RealDisk) -> None:
    keeper = Journal(disk)
    await keeper.append(1, entry(1))
    await keeper.finish(1)
    assert await disk.names() == [JOURNAL.name(1)]
    await keeper.drop(1)
    assert await disk.names() == []
    await keeper.drop(1)


async def test_a_failed_append_is_cut_off_and_ends_the_segment(flaky: FlakyDisk) -> None:
    keeper = Journal(flaky)
    await keeper.append(1, entry(1))
    flaky.append_fails = True
    with pytest.raises(JournalError, match="No space left") as caught:
        await keeper.append(1, entry(2))
    assert caught.value.certain
    assert (entries(await flaky.read(JOURNAL.name(1))), damage(await flaky.read(JOURNAL.name(1)))) == ([entry(1)], [])
    flaky.append_fails = False
    with pytest.raises(JournalError, match="closed"):
        await keeper.append(1, entry(3))
    assert entries(await flaky.read(JOURNAL.name(1))) == [entry(1)]
    await keeper.finish(1)


async def test_what_cannot_be_cut_off_is_declared_void_by_the_next_segment(flaky: FlakyDisk) -> None:
    keeper = Journal(flaky, "os")
    await keeper.append(1, entry(1))
    good = keeper.length(1)
    flaky.append_fails = flaky.truncate_fails = flaky.wrote_all = True
    with pytest.raises(JournalError) as caught:
        await keeper.append(1, entry(2))
    assert not caught.value.certain
    flaky.append_fails = False
    await keeper.append(2, entry(3))
    assert sealed_by(await flaky.read(JOURNAL.name(2))) == {1: good}
    await keeper.append(3, entry(4))
    assert sealed_by(await flaky.read(JOURNAL.name(3))) == {1: good}, "one header may be damaged"
    await keeper.drop(1)
    await keeper.append(4, entry(5))
    assert sealed_by(await flaky.read(JOURNAL.name(4))) == {}
    for table in (2, 3, 4):
        await keeper.finish(table)


async def test_a_void_declaration_is_synced_before_anything_is_acknowledged(flaky: FlakyDisk) -> None:
    keeper = Journal(flaky)
    await keeper.append(1, entry(1))
    flaky.append_fails = flaky.truncate_fails = True
    with pytest.raises(JournalError):
        await keeper.append(1, entry(2))
    with pytest.raises(JournalError, match="can't open"):
        await keeper.append(2, entry(3))
    assert JOURNAL.name(2) not in await flaky.names()
    flaky.append_fails = False
    flaky.synced.clear()
    await keeper.append(3, entry(4))
    assert flaky.synced == [True, True]
    await keeper.finish(1)
    await keeper.finish(3)


async def test_a_segment_that_cannot_be_opened_is_an_error_and_leaves_nothing(flaky: FlakyDisk) -> None:
    keeper = Journal(flaky)
    flaky.create_fails = True
    with pytest.raises(JournalError, match="can't open the journal segment: Too many open files"):
        await keeper.append(1, entry(1))
    assert keeper.failures == 1
    assert await flaky.names() == []


async def test_what_is_withdrawn_stays_until_the_next_segment_says_that_it_is_void(disk: RealDisk) -> None:
    keeper = Journal(disk)
    await keeper.append(1, entry(1))
    before = keeper.length(1)
    await keeper.append(1, entry(2))
    keeper.withdraw(1, before)
    # The last part of the group may be on the disk after all: then a crash brings it back, and it needs this one.
    assert entries(await disk.read(JOURNAL.name(1))) == [entry(1), entry(2)]
    with pytest.raises(JournalError, match="closed"):
        await keeper.append(1, entry(3))
    await keeper.append(2, entry(4))
    assert sealed_by(await disk.read(JOURNAL.name(2))) == {1: before}
    await keeper.finish(1)
    await keeper.finish(2)


@given(ENTRIES)
@settings(max_examples=30)
def test_what_is_written_is_read_back(written: list[Entry]) -> None:
    data, _ = segment(written)
    assert entries(data) == [entry(0), *written]
    assert damage(data) == []


@given(ENTRIES, st.data())
@settings(max_examples=60)
def test_damage_costs_only_the_entries_it_touches(written: list[Entry], data: st.DataObject) -> None:
    whole, edges = segment(written)
    for _ in range(5):
        stroke = data.draw(strokes(len(whole)))
        found = entries(stroke.on(whole))
        spared = [one for one, begin, end in zip(written, edges, edges[1:], strict=False) if stroke.spares(begin, end)]
        remaining = iter(found)
        assert all(one in remaining for one in spared)
        assert all(one in [entry(0), *written] for one in found)


def test_damage_in_the_middle_is_reported_with_its_offsets() -> None:
    whole, edges = segment([entry(1), entry(2), entry(3)])
    broken = bytearray(whole)
    broken[edges[1] + 20] ^= 1
    assert entries(bytes(broken)) == [entry(0), entry(1), entry(3)]
    assert damage(bytes(broken)) == [SegmentDamage(edges[1], edges[2], torn=False)]


@pytest.mark.parametrize("entry_bytes", [1, 3000])
def test_every_cut_of_the_last_frame_is_a_torn_append_with_or_without_zeros(entry_bytes: int) -> None:
    """File systems make a file longer before its data arrives."""
    last = Entry(2, 0, 1, [], {"like": {f"http://a/{'x' * entry_bytes}": 1}})
    whole, edges = segment([entry(1), last])
    for size in range(edges[1] + 1, len(whole), 1 + entry_bytes // 50):
        assert damage(whole[:size]) == [SegmentDamage(edges[1], size, torn=True)]
        arrived = whole[edges[1] : size // SECTOR_BYTES * SECTOR_BYTES]
        zeros = (whole[: edges[1]] + arrived).ljust(len(whole), b"\0")
        assert damage(zeros) == ([SegmentDamage(edges[1], len(whole), torn=True)] if arrived else [])


def test_a_sector_that_did_not_arrive_is_a_torn_append() -> None:
    whole, edges = segment([entry(1), Entry(2, 0, 1, [], {"like": {f"http://a/{'x' * 3000}": 1}})])
    broken = whole[:1024] + bytes(512) + whole[1536:]
    assert damage(broken) == [SegmentDamage(edges[1], len(whole), torn=True)]


def test_any_flipped_bit_in_the_last_frame_is_damage_and_no_torn_append() -> None:
    whole, edges = segment([entry(1), entry(2)])
    for offset in range(edges[1], len(whole)):
        for bit in range(8):
            broken = bytearray(whole)
            broken[offset] ^= 1 << bit
            assert damage(bytes(broken)) == [SegmentDamage(edges[1], len(whole), torn=False)], (offset, bit)


def test_what_ends_a_segment_that_is_known_to_be_whole_is_damage() -> None:
    whole, edges = segment([entry(1), entry(2)])
    for broken in (whole[:-3], whole[: edges[1]] + bytes(len(whole) - edges[1])):
        assert list(journal.read(broken, whole=True))[-1] == SegmentDamage(edges[1], len(broken), torn=False)


def test_zeros_in_the_middle_are_damage_too() -> None:
    """A lost block reads as zeros."""
    whole, edges = segment([entry(1), entry(2), entry(3)])
    broken = whole[: edges[1]] + bytes(edges[2] - edges[1]) + whole[edges[2] :]
    assert entries(broken) == [entry(0), entry(1), entry(3)]
    assert damage(broken) == [SegmentDamage(edges[1], edges[2], torn=False)]


def test_zeros_at_the_end_are_none() -> None:
    """File systems make a file longer before its data arrives."""
    whole, _ = segment([entry(1)])
    assert entries(whole + bytes(100)) == [entry(0), entry(1)]
    assert damage(whole + bytes(100)) == []


@given(st.binary(max_size=60))
def test_a_frame_that_holds_something_unknown_is_damage(payload: bytes) -> None:
    whole, _ = segment([])
    data = whole + frames.frame(payload) + frames.frame(b"\xff")
    assert entries(data)[:1] == [entry(0)]
    assert damage(data)[-1].end == len(data)


def test_actors_of_earlier_versions_are_read() -> None:
    old = msgspec.msgpack.encode(["events", 1, 0, 1, [], {"like": {"http://a/": 1}}, {b"key": True, b"other": False}])
    (found,) = journal.read(frames.frame(old))
    assert not isinstance(found, SegmentDamage)
    entry = found[1]
    assert isinstance(entry, Entry)
    assert entry.likings == {b"key": Liking(True, None), b"other": Liking(False, None)}
    assert entry.merge is None


def test_actors_and_a_merge_are_read_as_they_were_written() -> None:
    likings, merge = {b"key": Liking(True, 1)}, Fold("http://a/", "http://b/", b"a", b"b")
    written = Entry(1, 0, 1, [], {}, likings, merge)
    (found,) = journal.read(frames.frame(msgspec.msgpack.encode(written)))
    assert not isinstance(found, SegmentDamage)
    entry = found[1]
    assert isinstance(entry, Entry)
    assert (entry.likings, entry.merge) == (likings, merge)


@pytest.mark.parametrize("beyond", [0, 1, 15, 16, 9000])
def test_many_actors_are_encoded_in_slices(beyond: int) -> None:
    actors = {n.to_bytes(16, "big"): Liking(n % 2 == 0, n % 3 - 1) for n in range(journal.ACTORS_AT_ONCE + beyond)}
    merge = Fold("http://b/", "http://a/", b"b" * 8, b"a" * 8)
    large = Entry(7, 1, 2, [("key", b"digest", 3)], {"like": {"http://a/": 5}}, actors, merge)
    steps = journal.encode(large)
    turns = 0
    try:
        while True:
            next(steps)
            turns += 1
    except StopIteration as done:
        payload = done.value

    assert msgspec.msgpack.decode(payload, type=Entry) == large
    assert turns == (-(-len(actors) // journal.ACTORS_AT_ONCE) if beyond else 0)
