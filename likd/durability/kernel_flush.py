"""Flushes files to disk without a thread."""

from __future__ import annotations

import contextlib
import os

import trio
from caio import linux_aio

_OPERATIONS_MAX = 8


class Flusher:
    """Lets the kernel flush files, one at a time, while the event loop runs: Linux's io_submit(2), since 4.18.

    A thread needs the interpreter's lock before and after its flush, and each time waits for the event loop to release
    it. That takes longer than many a flush.
    """

    def __init__(self) -> None:
        self._context = None
        if linux_aio is not None:
            with contextlib.suppress(SystemError):
                self._context = linux_aio.Context(_OPERATIONS_MAX)
        self._flushing = False

    @property
    def free(self) -> bool:
        """Whether `flush` can be called now: the kernel supports it, and is flushing no other file."""
        return self._context is not None and not self._flushing

    async def flush(self, fd: int) -> None:
        """Flush the data written to `fd`; it is on disk when this returns, as with fdatasync(2). Raises OSError.

        It can't be cancelled half-way: the caller must know what happened to the data.
        """
        context = self._context
        assert context is not None
        results: list[int] = []
        operation = linux_aio.Operation.fdsync(fd)
        operation.set_callback(results.append)
        try:
            context.submit(operation)
        except (OverflowError, SystemError, ValueError):
            # The kernel takes no more now, or not this file: a thread can flush it instead.
            await trio.to_thread.run_sync(os.fdatasync, fd)
            return
        self._flushing = True
        try:
            with trio.CancelScope(shield=True):
                while not results:
                    await trio.lowlevel.wait_readable(context.fileno)
                    with contextlib.suppress(BlockingIOError):
                        context.poll()
                    context.process_events()
        finally:
            self._flushing = False
        if results[0]:
            # A negative error number, passed as an unsigned 64-bit one.
            error = (1 << 64) - results[0]
            raise OSError(error, os.strerror(error))
