"""A front as the engine sees it: a process that is started, pinged, and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import attrs
import trio

from likd.errors import LikdError
from likd.runtime.processes import ProcessStatistics, memory_bytes, statistics
from likd.web.fronts.desk import Caller, Desk
from likd.web.fronts.link import Link
from likd.web.fronts.messages import Hello, Message, Ping, Stop, Stopped, Welcome

PING_SECONDS = 1.0
START_SECONDS = 60.0
MEMORY_BYTES_MAX = 1 << 30
"""A front with more memory than this leaks: about 50 MB are usual, plus 10 KB for each connection."""
BACKLOG_BYTES_MAX = 1 << 26
"""How many bytes of messages a front may leave untaken; with more, it is as good as hung."""


class FrontEnded(LikdError):
    """A front has ended, or had to be ended; the message says why."""


@attrs.frozen
class FrontStatistics(ProcessStatistics):
    """What a front uses, and what it does."""

    connections: int
    """Open connections."""
    messages: int
    """How many messages with events or requests the engine got from it since it was started."""
    backlog_bytes: int
    """How many bytes of the engine's answers it has not taken yet."""


@attrs.define(eq=False)
class FrontProcess:
    """Keeps one front: each `run` is one life of it. The listeners stay open across all of them."""

    desk: Desk
    listeners: list[socket.socket]
    welcome: Welcome
    log_format: str
    hung_seconds: float
    caller: Caller | None = None
    pid: int | None = None
    earlier_faults: int = 0
    """Requests and connections in earlier lives that ended because of a fault in likd."""
    stopped: trio.Event = attrs.field(factory=trio.Event)
    """It hands over no connection any more after `stop`, though some that it did may end with it."""
    _stopping: bool = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the process and serve it until it has ended after `stop`. Raises FrontEnded, WireError."""
        if self._stopping:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            process = await self._start(theirs)
        self.caller = caller = self.desk.begin(Link(ours, Hello))
        self.pid = process.pid
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, caller, process.pid)
                nursery.start_soon(caller.watches.run)

                def take(message: Message, connection: socket.socket | None) -> None:
                    if isinstance(message, Hello):
                        caller.link.send(self.welcome)
                        task_status.started()
                    elif isinstance(message, Stopped):
                        self.stopped.set()
                    else:
                        self.desk.take(caller, message, connection)

                await caller.link.run(take, self.desk.submit)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._end(process, caller)
        if not self._stopping:
            raise FrontEnded(f"process {process.pid} ended with status {process.returncode}")

    @property
    def faults(self) -> int:
        """Requests and connections that ended because of a fault in likd."""
        return self.earlier_faults + (self.caller.faults if self.caller is not None else 0)

    def statistics(self, name: str) -> FrontStatistics | None:
        """What it uses and does; None while it is being started."""
        process = None if self.pid is None else statistics(name, self.pid)
        if process is None or self.caller is None:
            return None
        return FrontStatistics(
            **attrs.asdict(process),
            connections=len(self.caller.seats),
            messages=self.caller.asked,
            backlog_bytes=self.caller.link.backlog,
        )

    def stop(self) -> None:
        """Let it answer its requests, and end. It is not started again."""
        self._stopping = True
        if self.caller is not None:
            self.caller.send(Stop())

    async def _start(self, wire: socket.socket) -> trio.Process:
        descriptors = [wire.fileno(), *(listener.fileno() for listener in self.listeners)]
        paths = os.pathsep.join(filter(None, sys.path))
        return await trio.lowlevel.open_process(
            [sys.executable, "-m", "likd.web.fronts", self.log_format, *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=descriptors,
            env={**os.environ, "PYTHONPATH": paths},
        )

    async def _end(self, process: trio.Process, caller: Caller) -> None:
        process.kill()
        await process.wait()
        self.earlier_faults += caller.faults
        caller.leave()
        caller.link.close()
        self.caller = self.pid = None

    async def _watch(self, caller: Caller, pid: int) -> None:
        """Raise FrontEnded if it does not answer, does not take its messages, or has too much memory.

        Time is counted in pings that were sent: while this process itself was stopped, none were.
        """
        interval = min(PING_SECONDS, self.hung_seconds)
        number = waited = 0
        while True:
            await trio.sleep(interval)
            if caller.link.backlog > BACKLOG_BYTES_MAX:
                raise FrontEnded(f"process {pid} does not take its answers")
            if (memory := memory_bytes(pid)) > MEMORY_BYTES_MAX:
                raise FrontEnded(f"process {pid} takes {memory} bytes of memory")
            if caller.pinged == number and caller.link.messages_received:
                waited = 0
                number += 1
                caller.send(Ping(number))
                continue
            waited += 1
            if waited * interval > (self.hung_seconds if number else START_SECONDS):
                raise FrontEnded(f"process {pid} does not answer")
