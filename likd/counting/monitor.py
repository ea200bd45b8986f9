"""The monitor: samples what can only be known by polling: rates, free disk space."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import structlog
import trio

from likd.durability.disk import Disk

SAMPLE_SECONDS = 1.0
RATE_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Rate:
    """How fast a number has grown per second recently (time constant 10 s)."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._last = read()
        self.per_second = 0.0

    def sample(self, elapsed: float) -> None:
        """Sample the number, `elapsed` seconds after the last sample."""
        now = self._read()
        keep = math.exp(-elapsed / RATE_SECONDS)
        self.per_second = self.per_second * keep + (now - self._last) / elapsed * (1 - keep)
        self._last = now


@attrs.frozen
class MonitorStatistics:
    """What the monitor last sampled."""

    uptime_seconds: float
    """How long the engine has been running."""
    rates: Mapping[str, float]
    """How fast some numbers grow, per second."""
    disk_free_bytes: int | None
    """Free space on the data directory's disk; None if unknown so far."""
    damaged_files: int
    """Files that were set aside as damaged and are still there."""


class Monitor:
    """Keeps `rates`, `disk_free` and `damaged_files` up to date, once a second."""

    def __init__(self, *, disk: Disk, disk_free_min: int, rates: dict[str, Callable[[], int]]) -> None:
        self._disk = disk
        self._disk_free_min = disk_free_min
        self.rates = {name: Rate(read) for name, read in rates.items()}
        self.disk_free: int | None = None
        self.damaged_files = 0
        """How many files that were set aside as damaged are still there."""
        self.started_at = trio.current_time()

    @property
    def disk_full(self) -> bool:
        """Whether there is less free space than required."""
        return self.disk_free is not None and self.disk_free < self._disk_free_min

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.started_at

    def statistics(self) -> MonitorStatistics:
        """The last samples."""
        return MonitorStatistics(
            uptime_seconds=self.uptime,
            rates={name: rate.per_second for name, rate in self.rates.items()},
            disk_free_bytes=self.disk_free,
            damaged_files=self.damaged_files,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sample until cancelled."""
        await self._look_at_disk()
        task_status.started()
        last = trio.current_time()
        while True:
            await trio.sleep(SAMPLE_SECONDS)
            now = trio.current_time()
            for rate in self.rates.values():
                rate.sample(now - last)
            last = now
            await self._look_at_disk()

    async def _look_at_disk(self) -> None:
        was_full = self.disk_full
        try:
            self.disk_free = await self._disk.free_bytes()
            self.damaged_files = len(await self._disk.quarantined_names())
        except OSError as error:
            log.error("can't check the disk", fault=error.strerror)
            return
        if self.disk_full != was_full:
            log.warning("disk is full" if self.disk_full else "disk has space again", free_bytes=self.disk_free)
