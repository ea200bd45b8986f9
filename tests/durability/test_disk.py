"""The data directory: atomic writes, files that only grow, and a dry run that changes nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from likd.durability.disk import INLINE_BYTES_MAX, DryRunDisk, RealDisk, write_all
from likd.durability.kernel_flush import Flusher


async def test_a_whole_file_is_written_and_read(disk: RealDisk) -> None:
    await disk.write("one", b"first")
    await disk.write("one", b"second")
    assert await disk.read("one") == b"second"
    assert await disk.read("one", 3) == b"sec"
    assert await disk.names() == ["one"]


async def test_names_are_those_of_files_sorted(disk: RealDisk) -> None:
    for name in ("b", "a", "c"):
        await disk.write(name, b"")
    (disk.path / "folder").mkdir()
    assert await disk.names() == ["a", "b", "c"]


async def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    disk: RealDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disk.write("one", b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            await disk.write("one", b"new")
    assert await disk.read("one") == b"old"
    assert await disk.names() == ["one"]


async def test_a_file_is_synced_before_it_gets_its_name_and_the_name_after(
    disk: RealDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(fd: int) -> None:
        steps.append("sync directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync file")
        fsync(fd)

    def spy_replace(path: Path, target: Path) -> Path:
        steps.append("replace")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    await disk.write("one", b"data")
    assert steps == ["sync file", "replace", "sync directory"]
    steps.clear()
    await disk.rename("one", "two")
    assert steps == ["replace", "sync directory"]
    steps.clear()
    await disk.quarantine("two")
    assert steps == ["replace", "sync directory", "sync directory"]
    steps.clear()
    await (await disk.create("three")).close()
    assert steps == ["sync directory"]


async def test_a_file_grows_by_appends_and_can_be_cut(disk: RealDisk) -> None:
    file = await disk.create("log")
    await file.append(b"one", sync=True)
    await file.append(b"two", sync=False)
    assert await disk.read("log") == b"onetwo"
    await file.truncate(4)
    await file.append(b"x", sync=True)
    assert await disk.read("log") == b"onetx"
    await file.close()


async def test_a_cut_is_on_disk_when_it_returns(disk: RealDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await disk.create("log")
    await file.append(b"onetwo", sync=True)
    synced: list[tuple[int, int]] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: synced.append((os.fstat(fd).st_ino, os.fstat(fd).st_size)))
    await file.truncate(3)
    assert synced == [((disk.path / "log").stat().st_ino, 3)]
    await file.close()


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("size", [4, INLINE_BYTES_MAX + 1])
@pytest.mark.parametrize("kernel", [False, True])
async def test_an_append_is_synced_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool, size: int, kernel: bool
) -> None:
    synced: list[int] = []

    async def flush(flusher: Flusher, fd: int) -> None:
        synced.append(fd)

    monkeypatch.setattr(Flusher, "free", kernel)
    monkeypatch.setattr(Flusher, "flush", flush)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    disk = RealDisk(tmp_path)
    file = await disk.create("log")
    await file.append(b"x" * size, sync=sync)
    assert len(synced) == int(sync)
    assert await disk.read("log") == b"x" * size
    await file.close()


async def test_files_that_grow_at_the_same_moment_are_all_synced(
    disk: RealDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fdatasync, flush = os.fdatasync, Flusher.flush

    def spy_fdatasync(fd: int) -> None:
        fdatasync(fd)
        synced.append(fd)

    async def spy_flush(flusher: Flusher, fd: int) -> None:
        await flush(flusher, fd)
        synced.append(fd)

    monkeypatch.setattr(os, "fdatasync", spy_fdatasync)
    monkeypatch.setattr(Flusher, "flush", spy_flush)
    files = [await disk.create(name) for name in ("one", "two", "three")]
    async with trio.open_nursery() as nursery:
        for file in files:
            nursery.start_soon(partial(file.append, b"data", sync=True))
    assert len(set(synced)) == len(synced) == 3
    for file in files:
        await file.close()


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Syncs of directories fail, as often as the number in the list says."""
    left = [0]
    fsync = os.fsync

    def flaky(fd: int) -> None:
        if left[0] and stat.S_ISDIR(os.fstat(fd).st_mode):
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", flaky)
    return left


async def test_every_change_whose_directory_sync_failed_can_be_repeated(disk: RealDisk, no_sync: list[int]) -> None:
    async def create(name: str) -> None:
        await (await disk.create(name)).close()

    changes: list[tuple[Callable[..., Awaitable[None]], tuple[object, ...]]] = [
        (create, ("new",)),
        (disk.write, ("one", b"data")),
        (disk.rename, ("one", "two")),
        (disk.quarantine, ("two",)),
    ]
    for change, arguments in changes:
        no_sync[0] = 2
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output error"):
                await change(*arguments)
        await change(*arguments)
    assert await disk.names() == ["new"]
    assert await disk.quarantined_names() == ["two"]


async def test_a_file_is_created_only_once(disk: RealDisk) -> None:
    file = await disk.create("log")
    await file.append(b"data", sync=False)
    with pytest.raises(FileExistsError):
        await disk.create("log")
    assert await disk.read("log") == b"data"
    await file.close()


async def test_others_may_not_read_the_files(disk: RealDisk) -> None:
    await disk.write("one", b"")
    await (await disk.create("two")).close()
    for name in ("one", "two"):
        assert (disk.path / name).stat().st_mode & 0o007 == 0


async def test_removing_what_is_not_there_is_fine(disk: RealDisk) -> None:
    await disk.remove("one")
    await disk.write("one", b"")
    await disk.remove("one")
    assert await disk.names() == []


async def test_a_file_set_aside_is_kept_out_of_the_way(disk: RealDisk) -> None:
    await disk.write("one", b"damaged")
    await disk.quarantine("one")
    assert await disk.names() == []
    assert (disk.path / "damaged" / "one").read_bytes() == b"damaged"
    assert await disk.quarantined_names() == ["one"]


async def test_a_file_that_is_not_there_is_an_error(disk: RealDisk) -> None:
    for attempt in (disk.read("one"), disk.rename("one", "two"), disk.quarantine("one")):
        with pytest.raises(FileNotFoundError):
            await attempt


async def test_free_space_is_what_the_file_system_says(disk: RealDisk) -> None:
    assert 0 < await disk.free_bytes() < 1 << 60


async def test_a_dry_run_reads_and_changes_nothing(disk: RealDisk) -> None:
    await disk.write("one", b"data")
    dry = DryRunDisk(disk)
    await dry.write("one", b"other")
    await dry.rename("one", "two")
    await dry.remove("one")
    await dry.quarantine("one")
    file = await dry.create("three")
    await file.append(b"data", sync=True)
    await file.truncate(0)
    await file.close()
    assert await dry.names() == await disk.names() == ["one"]
    assert await dry.read("one") == b"data"
    assert await dry.read("one", 2) == b"da"
    assert await dry.free_bytes() > 0


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    with (tmp_path / "one").open("wb", buffering=0) as file:
        write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "one").read_bytes() == b"0123456789"


def test_a_write_of_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(OSError, match="nothing was written"):
        write_all(0, b"data")
