"""All fronts of an engine, as one part of it."""

from __future__ import annotations

import attrs
import trio

from likd.runtime.supervisor import Supervisor
from likd.web.fronts.process import FrontProcess, FrontStatistics

RESTARTS_MAX = 30
"""The most restarts of all fronts in a minute; beyond that, something is wrong that a restart does not fix."""


class Fronts:
    """Runs fronts, and restarts each one that ends."""

    def __init__(self, fronts: list[FrontProcess]) -> None:
        self._fronts = {f"front {number}": front for number, front in enumerate(fronts, start=1)}
        self.supervisor = Supervisor("fronts", intensity=RESTARTS_MAX)
        for name, front in self._fronts.items():
            self.supervisor.add(name, front.run)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until all have ended after `stop`. Raises RestartIntensityExceeded."""
        await self.supervisor.run(task_status=task_status)

    def stop(self) -> None:
        """Let all fronts answer their requests, and end."""
        self.supervisor.drain()
        for front in self._fronts.values():
            front.stop()

    async def wait_stopped(self) -> None:
        """Wait until none of them hands over a connection any more after `stop`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_ended, nursery.cancel_scope)
            for front in self._fronts.values():
                await front.stopped.wait()
            nursery.cancel_scope.cancel()

    async def wait_ended(self) -> None:
        """Wait until the last one has ended after `stop`."""
        await self.supervisor.ended.wait()

    async def _wait_ended(self, scope: trio.CancelScope) -> None:
        await self.wait_ended()
        scope.cancel()

    @property
    def faults(self) -> int:
        """Requests and connections that ended because of a fault in likd."""
        return sum(front.faults for front in self._fronts.values())

    def statistics(self) -> list[FrontStatistics]:
        """The running fronts, in numbers."""
        found = [front.statistics(name) for name, front in self._fronts.items()]
        return [each for each in found if each is not None]


@attrs.frozen
class Shares:
    """How the memory for request bodies is divided, so that the total stays within the setting."""

    engine: int
    front: int

    @classmethod
    def of(cls, bodies_bytes_max: int, body_bytes_max: int, fronts: int) -> Shares:
        """The fronts get a quarter, because their bodies are small; but the engine can take the largest body."""
        shared = min(bodies_bytes_max // 4, max(0, bodies_bytes_max - body_bytes_max)) if fronts else 0
        return cls(bodies_bytes_max - shared, shared // fronts if fronts else 0)
