"""Idempotency keys: a request counts once within the window, over retries in flight, restarts and disk faults."""

from __future__ import annotations

import errno
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from likd.durability import frames, taken_keys
from likd.durability.disk import AppendFile, RealDisk
from likd.durability.idempotency import KEY, KeyLog, KeyReused, KeyWindow
from likd.durability.key_lines import LINE_KEYS
from likd.durability.taken_keys import Taken
from likd.model import Accepted, IdempotencyKey, Refused, Submission
from tests.turns import others_turns


@attrs.define
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def request(key: str, body: bytes = b"body") -> Submission:
    return Submission({"like": {"http://a/": 1}}, 1, IdempotencyKey(key, body))


def key(name: str, size: int = 1) -> tuple[IdempotencyKey, int]:
    return IdempotencyKey(name, b"body"), size


def window_of(clock: Clock, keys_max: int = 100) -> KeyWindow:
    return KeyWindow(window_seconds=60, keys_max=keys_max, wall_clock=clock)


def log_of(disk: RealDisk, clock: Clock, keys_max: int = 100) -> KeyLog:
    return KeyLog(disk, window_seconds=60, keys_max=keys_max, wall_clock=clock)


async def loaded(disk: RealDisk, clock: Clock, keys_max: int = 100) -> tuple[KeyLog, KeyWindow]:
    """What a start reads."""
    window, log = window_of(clock, keys_max), log_of(disk, clock, keys_max)
    await log.load(await disk.names(), window)
    return log, window


def is_known(window: KeyWindow, name: str) -> bool:
    return window.claim(request(name)).outcome is not None


def test_a_new_key_is_claimed_by_its_request(clock: Clock) -> None:
    first = request("k")
    assert window_of(clock).claim(first) is first
    assert first.outcome is None


def test_a_retry_in_flight_waits_for_the_first(clock: Clock) -> None:
    window, first = window_of(clock), request("k")
    window.claim(first)
    assert window.claim(request("k")) is first


def test_a_retry_is_answered_as_the_first_was(clock: Clock) -> None:
    window, first, retry = window_of(clock), request("k"), request("k")
    window.claim(first)
    first.settle(Accepted(3))
    assert window.claim(retry) is retry
    assert retry.outcome == Accepted(3)


def test_a_refused_request_may_be_tried_again(clock: Clock) -> None:
    window, first, retry = window_of(clock), request("k"), request("k")
    window.claim(first)
    first.settle(Refused("full"))
    assert window.claim(retry) is retry
    assert retry.outcome is None
    assert len(window) == 0


@pytest.mark.parametrize("settled", [False, True])
def test_a_key_with_another_body_is_refused(clock: Clock, settled: bool) -> None:
    window, first = window_of(clock), request("k")
    window.claim(first)
    if settled:
        first.settle(Accepted(1))
    with pytest.raises(KeyReused):
        window.claim(request("k", b"another body"))


def test_a_key_is_forgotten_after_the_window(clock: Clock) -> None:
    window = window_of(clock)
    window.remember("k", b"body", 1, clock.now)
    clock.now += 59.9
    assert is_known(window, "k")
    clock.now += 0.1
    late = request("k", b"another body")
    assert window.claim(late) is late
    assert late.outcome is None


def test_a_key_is_not_forgotten_by_a_clock_that_is_not_believed(clock: Clock) -> None:
    window = KeyWindow(window_seconds=60, keys_max=100, wall_clock=clock, settled=Clock())
    window.remember("k", b"body", 1, clock.now)
    clock.now += 1e9
    assert is_known(window, "k")


def test_at_most_so_many_keys_are_remembered_the_newest(clock: Clock) -> None:
    window = window_of(clock, keys_max=3)
    for name in ["a", "b", "c", "a", "d"]:
        window.remember(name, b"body", 1, clock.now)
    assert len(window) == 3
    assert [name for name in "abcd" if is_known(window, name)] == ["a", "c", "d"]


def test_nobodys_keys_push_out_those_of_another(clock: Clock) -> None:
    window = window_of(clock, keys_max=8)
    for number in range(8):
        window.remember(f"token a {number}", b"body", 1, clock.now)
    for number in range(1000):
        window.remember(f"public {number}", b"body", 1, clock.now)
        window.remember(f"token b {number}", b"body", 1, clock.now)
    assert all(is_known(window, f"token a {number}") for number in range(8))
    assert len(window) == 8 + 8 + 2, "public callers have a share of what a token has"


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("other", ["token b k", "public k", "local k"])
def test_the_same_key_of_another_is_another_key(clock: Clock, settled: bool, other: str) -> None:
    window, mine, others = window_of(clock), request("token a k"), request(other, b"another body")
    window.claim(mine)
    if settled:
        mine.settle(Accepted(1))
    assert window.claim(others) is others
    assert others.outcome is None


def test_a_key_without_an_owner_answers_for_all_but_the_public(clock: Clock) -> None:
    window = window_of(clock)
    window.remember("k", b"body", 1, clock.now)
    assert [owner for owner in ("token a", "token b", "local", "public") if is_known(window, f"{owner} k")] == [
        "token a",
        "token b",
        "local",
    ]


def test_a_key_costs_some_sixty_bytes(clock: Clock) -> None:
    window = window_of(clock, keys_max=20_000)
    tracemalloc.start()
    try:
        for number in range(20_000):
            window.remember(f"token a 8e03978e-40d5-43dd-bc93-{number:012}", b"body", 1, clock.now)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 20_000 * 100


@given(
    keys_max=st.integers(1, 12),
    names=st.lists(st.integers(0, 15), max_size=60),
    small=st.sampled_from([1, 2, 256]),
)
def test_what_is_remembered_is_the_newest_of_each_owner(keys_max: int, names: list[int], small: int) -> None:
    with patch.object(taken_keys, "_SMALL", small):
        remembered = Taken(keys_max)
        for at, name in enumerate(names):
            remembered.add(taken_keys.pack(taken_keys.fingerprint(str(name)), b"body", 1, at))
    newest = {name: at for at, name in enumerate(names) if at >= len(names) - keys_max}
    for name in range(16):
        record = remembered.get(taken_keys.fingerprint(str(name)))
        assert (record.at if record else None) == newest.get(name)


@pytest.mark.parametrize("text", ["k", "!~" * 64, "8e03978e-40d5-43dd-bc93-6894a57f9324"])
def test_keys_are_printable_ascii(text: str) -> None:
    assert KEY.fullmatch(text)


@pytest.mark.parametrize("text", ["", "a b", "é", "a\n", "k" * 129, "\x7f"])
def test_other_text_is_no_key(text: str) -> None:
    assert not KEY.fullmatch(text)


async def test_keys_survive_a_restart(disk: RealDisk, clock: Clock) -> None:
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("a", 2), key("b")])
    await log.append(2, [key("c")])
    _, window = await loaded(disk, clock)
    retry = request("a")
    assert window.claim(retry).outcome == Accepted(2)
    assert is_known(window, "b")
    assert is_known(window, "c")


async def test_a_restart_does_not_make_keys_younger(disk: RealDisk, clock: Clock) -> None:
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("a")])
    clock.now += 60
    _, window = await loaded(disk, clock)
    assert not is_known(window, "a")


async def test_a_table_without_keys_writes_nothing(disk: RealDisk, clock: Clock) -> None:
    await log_of(disk, clock).append(1, [])
    assert await disk.names() == []


@pytest.mark.parametrize("cut", [1, 5, 20])
async def test_a_torn_append_costs_only_its_own_keys(disk: RealDisk, clock: Clock, cut: int) -> None:
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("a")])
    await log.append(2, [key("b")])
    path = disk.path / "keys_000000000001"
    path.write_bytes(path.read_bytes()[:-cut])
    log, window = await loaded(disk, clock)
    assert (is_known(window, "a"), is_known(window, "b")) == (True, False)
    await log.append(2, [key("b")])
    _, window = await loaded(disk, clock)
    assert (is_known(window, "a"), is_known(window, "b")) == (True, True)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x92\xcb\0\0\0\0\0\0\0\0\x91\x93\xa1\xff\xc4\0\x01"])
async def test_unreadable_lines_do_not_stop_a_start(disk: RealDisk, clock: Clock, payload: bytes) -> None:
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("a")])
    with (disk.path / "keys_000000000001").open("ab") as file:
        file.write(frames.frame(payload))
    _, window = await loaded(disk, clock)
    assert is_known(window, "a")


async def test_files_are_dropped_when_all_their_keys_expired(disk: RealDisk, clock: Clock) -> None:
    for table in (1, 2, 3):
        log, _ = await loaded(disk, clock)
        await log.append(table, [key(str(table))])
        clock.now += 40
    assert await disk.names() == ["keys_000000000002", "keys_000000000003"]


async def test_files_are_not_dropped_by_a_clock_that_is_not_believed(disk: RealDisk, clock: Clock) -> None:
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("1")])
    clock.now += 1e9
    log = KeyLog(disk, window_seconds=60, keys_max=100, wall_clock=clock, settled=Clock())
    await log.load(await disk.names(), window_of(clock))
    await log.append(2, [key("2")])
    assert await disk.names() == ["keys_000000000001", "keys_000000000002"]


async def test_the_files_hold_all_that_the_window_holds_and_a_bounded_rest(disk: RealDisk, clock: Clock) -> None:
    keys_max = 16
    log, live = await loaded(disk, clock, keys_max)
    for table in range(1, 200):
        await log.append(table, [key(f"k{table}")])
        live.remember(f"k{table}", b"body", 1, clock.now)
        assert len(await disk.names()) <= keys_max // (keys_max // 8) + 1
    _, window = await loaded(disk, clock, keys_max)
    assert len(window) == keys_max
    assert all(is_known(window, f"k{table}") == is_known(live, f"k{table}") for table in range(150, 200))


async def test_files_that_were_written_before_keys_had_owners_are_read(disk: RealDisk, clock: Clock) -> None:
    keys = [(f"k{number}", b"body", 1) for number in range(2 * LINE_KEYS)]
    lines = [(clock.now - 60, [("old", b"body", 1)]), (clock.now, keys)]
    (disk.path / "keys_000000000001").write_bytes(b"".join(frames.frame(msgspec.msgpack.encode(one)) for one in lines))
    _, window = await loaded(disk, clock, keys_max=10_000)
    assert len(window) == 2 * LINE_KEYS, "what expired is not even read"
    assert is_known(window, "k0")
    assert is_known(window, f"token a k{2 * LINE_KEYS - 1}")


async def test_on_disk_too_nobodys_keys_push_out_those_of_another(disk: RealDisk, clock: Clock) -> None:
    keys_max = 16
    log, live = await loaded(disk, clock, keys_max)

    async def accept(table: int, *names: str) -> None:
        await log.append(table, [key(name) for name in names])
        for name in names:
            live.remember(name, b"body", 1, clock.now)

    await accept(1, *(f"token a {number}" for number in range(10)))
    for table in range(2, 300):
        clock.now += 0.01
        rare = [f"token b {table}"] if table % 100 == 0 else []
        await accept(table, f"public {table}", *rare)
        assert len(await disk.names()) <= 2 * keys_max, "the files are bounded"
    assert sum(len((disk.path / name).read_bytes()) for name in await disk.names()) < 4 * keys_max * 100

    _, window = await loaded(disk, clock, keys_max)
    assert len(window) == len(live)
    for name in [f"token a {number}" for number in range(10)] + ["token b 100", "token b 200", "public 299"]:
        assert is_known(window, name), name


async def test_a_start_reads_many_keys_in_steps(disk: RealDisk, clock: Clock, autojump_clock: MockClock) -> None:
    log, _ = await loaded(disk, clock, keys_max=20_000)
    await log.append(1, [key(f"token a {number}") for number in range(10_000)])
    async with others_turns() as turns:
        _, window = await loaded(disk, clock, keys_max=20_000)
    assert len(window) == 10_000
    assert turns.count >= 2 * 10_000 // LINE_KEYS


class FlakyFile:
    def __init__(self, disk: FlakyDisk, file: AppendFile) -> None:
        self._disk = disk
        self._file = file

    async def append(self, data: bytes, *, sync: bool) -> None:
        assert sync, "keys must be durable"
        if self._disk.fails:
            await self._file.append(data[:10], sync=False)
            raise OSError(errno.ENOSPC, "No space left on device")
        await self._file.append(data, sync=sync)

    async def truncate(self, size: int) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        await self._file.close()


class FlakyDisk(RealDisk):
    fails = False

    async def create(self, name: str) -> AppendFile:
        return FlakyFile(self, await super().create(name))


async def test_a_file_of_an_earlier_life_is_never_removed_for_its_name(disk: RealDisk, clock: Clock) -> None:
    log, _ = await loaded(disk, clock)
    for table in (5, 6):
        await log.append(table, [key(f"k{table}")])
    # The batch file of table 5 was damaged, and its segment is replayed.
    log, _ = await loaded(disk, clock)
    await log.append(5, [key("k5")])
    assert await disk.names() == ["keys_000000000005", "keys_000000000006"]
    _, window = await loaded(disk, clock)
    assert is_known(window, "k5")
    assert is_known(window, "k6")


async def test_appends_that_fail_again_and_again_leave_one_file(tmp_path: Path, clock: Clock) -> None:
    disk = FlakyDisk(tmp_path)
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("a")])
    disk.fails = True
    for _ in range(5):
        with pytest.raises(OSError, match="No space left"):
            await log.append(2, [key("b")])
    assert len(await disk.names()) == 2


async def test_damage_in_a_file_is_told_and_a_torn_append_is_none(disk: RealDisk, clock: Clock) -> None:
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("a")])
    path = disk.path / "keys_000000000001"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    log, _ = await loaded(disk, clock)
    assert log.damage == []
    path.write_bytes(whole[:-3] + b"x" + whole[-2:])
    log, _ = await loaded(disk, clock)
    assert log.damage == [f"keys_000000000001: bytes 0 to {len(whole)}: damage, keys are lost"]


async def test_a_failed_append_can_be_repeated(tmp_path: Path, clock: Clock) -> None:
    disk = FlakyDisk(tmp_path)
    log, _ = await loaded(disk, clock)
    await log.append(1, [key("a")])
    for table in (2, 2, 3):
        disk.fails = True
        with pytest.raises(OSError, match="No space left"):
            await log.append(table, [key(f"k{table}")])
        disk.fails = False
        await log.append(table, [key(f"k{table}")])
    _, window = await loaded(disk, clock)
    assert all(is_known(window, name) for name in ("a", "k2", "k3"))
