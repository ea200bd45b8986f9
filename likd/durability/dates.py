"""Dates: when the contents of a data directory were written, according to its files."""

from __future__ import annotations

import re

from likd.durability import journal, key_lines
from likd.durability.disk import Disk
from likd.durability.filenames import BATCH, JOURNAL, KEYS
from likd.durability.journal import HEADER_BYTES_MAX, Header
from likd.runtime.cooperative import finish_in_turns

BATCH_HEADER_BYTES = 4096
KEY_FILES = 2
"""How many of the newest key files are read: older ones have no newer keys, except those that were rewritten."""

_CLOSED = re.compile(rb"likd-batch [^\n]* closed=(\d{1,12}\.\d{3}) ")


async def newest(disk: Disk) -> float:
    """The latest time in segments, batch files and key files, in seconds since 1970; 0 if there is none.

    The file system's dates come from the system's clock, which the daemon may not have trusted when it wrote. Damaged
    files are ignored. Raises OSError.
    """
    names = await disk.names()
    times = [0.0]
    for name in names:
        if JOURNAL.id_of(name) is not None:
            record = next(journal.read(await disk.read(name, HEADER_BYTES_MAX)), None)
            if isinstance(record, tuple) and isinstance(header := record[1], Header):
                times.append(header.opened)
        elif BATCH.id_of(name) is not None:
            match = _CLOSED.match(await disk.read(name, BATCH_HEADER_BYTES))
            if match is not None:
                times.append(float(match[1]))
    for name in sorted(KEYS.among(names))[-KEY_FILES:]:
        data = await disk.read(name)
        times += [line.at for line in await finish_in_turns(key_lines.read(data, name, [], expired=float("inf")))]
    return max(times)
