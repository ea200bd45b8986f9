"""Dates: when what is in a data directory's files was written, by what the files say."""

from __future__ import annotations

import re

from likd.durability import journal, key_lines
from likd.durability.disk import Disk
from likd.durability.filenames import BATCH, JOURNAL, KEYS
from likd.durability.journal import HEADER_BYTES_MAX, Header
from likd.runtime.cooperative import finish_in_turns

BATCH_HEADER_BYTES = 4096
KEY_FILES = 2
"""So many of the newest files of keys are looked at: older ones have no younger keys but those that were renewed."""

_CLOSED = re.compile(rb"likd-batch [^\n]* closed=(\d{1,12}\.\d{3}) ")


async def newest(disk: Disk) -> float:
    """The latest time that segments, batch files and files of keys tell, seconds since 1970; 0 if none does.

    A file system's dates would be those of the system's clock, which the daemon may not have believed when it wrote.
    What is damaged tells nothing. Raises OSError.
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
