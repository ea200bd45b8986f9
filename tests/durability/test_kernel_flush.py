"""Flushing without a thread: done when it returns, whoever cancels, and its errors are told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from likd.durability import kernel_flush
from likd.durability.kernel_flush import Flusher

needs_kernel = pytest.mark.skipif(not Flusher().free, reason="the kernel has no asynchronous I/O for us")


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file that something was written to."""
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"data")
    yield fd
    os.close(fd)


class SlowKernel:
    """Stands in for caio's linux_aio: flushes are done when the test says so, with the result it says."""

    def __init__(self) -> None:
        self.fileno = os.eventfd(0, os.EFD_NONBLOCK)
        self.done: list[Callable[[int], None]] = []
        self.submitted: list[Callable[[int], None]] = []
        self.Operation = self

    def Context(self, operations: int) -> SlowKernel:  # noqa: N802
        return self

    def fdsync(self, fd: int) -> SlowKernel:
        return self

    def set_callback(self, callback: Callable[[int], None]) -> None:
        self.done.append(callback)

    def submit(self, operation: SlowKernel) -> None:
        self.submitted.append(self.done[-1])

    def poll(self) -> None:
        os.eventfd_read(self.fileno)

    def process_events(self) -> None:
        pass

    def finish(self, result: int = 0) -> None:
        """Complete the flush that was asked for first."""
        self.submitted.pop(0)(result)
        os.eventfd_write(self.fileno, 1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> SlowKernel:
    """A kernel whose flushes take as long as the test wants."""
    kernel = SlowKernel()
    monkeypatch.setattr(kernel_flush, "linux_aio", kernel)
    return kernel


@needs_kernel
async def test_a_file_is_flushed_again_and_again(fd: int) -> None:
    flusher = Flusher()
    for _ in range(100):
        await flusher.flush(fd)
        assert flusher.free


@needs_kernel
async def test_what_cannot_be_flushed_is_an_error(fd: int) -> None:
    flusher = Flusher()
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        await flusher.flush(writing)
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await flusher.flush(writing)
    await flusher.flush(fd)


async def test_it_returns_when_the_kernel_is_done_and_not_before(kernel: SlowKernel, fd: int) -> None:
    flusher = Flusher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.flush, fd)
        await trio.testing.wait_all_tasks_blocked()
        os.eventfd_write(kernel.fileno, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert not flusher.free
        kernel.finish()
    assert flusher.free


async def test_a_failure_of_the_disk_is_an_error_with_its_number(kernel: SlowKernel, fd: int) -> None:
    flusher = Flusher()
    failed: list[OSError] = []

    async def fail() -> None:
        try:
            await flusher.flush(fd)
        except OSError as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await trio.testing.wait_all_tasks_blocked()
        kernel.finish((1 << 64) - errno.EIO)
    assert [error.errno for error in failed] == [errno.EIO]
    assert flusher.free


async def test_cancellation_waits_until_the_kernel_is_done(kernel: SlowKernel, fd: int) -> None:
    flusher = Flusher()
    ended: list[str] = []

    async def flush_and_tell() -> None:
        await flusher.flush(fd)
        ended.append("flushed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush_and_tell)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            assert ended == []
            kernel.finish()
    assert ended == ["flushed"]


async def test_without_such_a_kernel_it_is_never_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_flush, "linux_aio", None)
    assert not Flusher().free
