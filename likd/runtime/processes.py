"""Processes in numbers, as the operating system counts them."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class ProcessStatistics:
    """What a process has used."""

    name: str
    """Which of the daemon's processes it is."""
    pid: int
    """Its id."""
    cpu_seconds: float
    """Processor time since it was started, its own and the kernel's on its behalf."""
    memory_bytes: int
    """Resident memory, its own and shared."""


def statistics(name: str, pid: int) -> ProcessStatistics | None:
    """The process `pid` in numbers, None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessStatistics(name, pid, (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE_BYTES)


def memory_bytes(pid: int) -> int:
    """The memory of the process `pid`, 0 if there is none."""
    found = statistics("", pid)
    return 0 if found is None else found.memory_bytes
