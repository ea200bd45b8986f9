"""Flushing: the data of a file on its way to the disk, without a thread."""

from __future__ import annotations

import contextlib
import os

import trio
from caio import linux_aio

_OPERATIONS_MAX = 8


class Flusher:
    """Has the kernel flush files, one at a time, while the event loop goes on: Linux's io_submit(2), since 4.18.

    A thread needs the interpreter's lock before and after it flushes, and waits for each until the event loop
    lets go of it. That takes longer than many a flush.
    """

    def __init__(self) -> None:
        self._context = None
        if linux_aio is not None:
            with contextlib.suppress(SystemError):
                self._context = linux_aio.Context(_OPERATIONS_MAX)
        self._flushing = False

    @property
    def free(self) -> bool:
        """Whether `flush` can be called now: the kernel can do it, and has no other file in hand."""
        return self._context is not None and not self._flushing

    async def flush(self, fd: int) -> None:
        """Have the data written to `fd` on disk when this returns, as fdatasync(2) does. Raises OSError.

        It is not cancelled on its way: whoever asked must know what became of the data.
        """
        context = self._context
        assert context is not None
        results: list[int] = []
        operation = linux_aio.Operation.fdsync(fd)
        operation.set_callback(results.append)
        try:
            context.submit(operation)
        except (OverflowError, SystemError, ValueError):
            # The kernel takes no more just now, or not this file: a thread can tell, too.
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
            # A negative error number, handed over as an unsigned one of 64 bits.
            error = (1 << 64) - results[0]
            raise OSError(error, os.strerror(error))
