"""A process's processor time and memory, from /proc."""

from __future__ import annotations

import contextlib
import os
import re
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import MAIN, OTHERS, PROCESSOR, Figures

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Processor:
    """Seconds of processor time, in user and system mode, of the main thread and of everything else."""

    main: float
    others: float

    def __sub__(self, before: Processor) -> Processor:
        # Both are read one after the other: the main thread can be a tick ahead of the whole.
        return Processor(self.main - before.main, max(0.0, self.others - before.others))

    def __add__(self, more: Processor) -> Processor:
        return Processor(self.main + more.main, self.others + more.others)

    @property
    def total(self) -> float:
        return self.main + self.others

    def per(self, units: float) -> Figures:
        """Microseconds for each of `units`."""
        return {
            PROCESSOR: self.total / units * 1e6,
            MAIN: self.main / units * 1e6,
            OTHERS: self.others / units * 1e6,
        }


def _ticks(stat: Path, fields: slice) -> int:
    # The program's name may contain spaces, and ends at the last bracket.
    return sum(map(int, stat.read_text().rpartition(")")[2].split()[fields]))


def processor(pid: int) -> Processor:
    """The processor time of the process `pid`, including threads that have ended."""
    main = _ticks(Path(f"/proc/{pid}/task/{pid}/stat"), slice(11, 13))
    return Processor(main * TICK_SECONDS, (_ticks(Path(f"/proc/{pid}/stat"), slice(11, 13)) - main) * TICK_SECONDS)


def family(pid: int) -> Processor:
    """The processor time of `pid` and all its children, including those that have ended."""
    had = Processor(0.0, _ticks(Path(f"/proc/{pid}/stat"), slice(13, 15)) * TICK_SECONDS) + processor(pid)
    for child in _children(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            some = family(child)
            had += Processor(0.0, some.total)
    return had


def _children(pid: int) -> Iterable[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def memory_mib(pid: int, kind: str = "VmRSS") -> float:
    """The memory of `pid`: current (VmRSS), or peak (VmHWM)."""
    found = re.search(rf"{kind}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def family_memory_mib(pid: int) -> float:
    """The memory of `pid` and all its children."""
    return memory_mib(pid) + sum(map(family_memory_mib, _children(pid)))


def raise_descriptors() -> None:
    """Let this process and its children have as many sockets as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
