"""The log of applied tables: those that the store had, with their sums, so that lost ones can be named.

    17 impressions=40 likes=3

The files `applied_<id>` consist of such lines. They are not flushed to the disk, and a torn or lost one does no harm:
the store itself says how far it is, and the log only names what came after that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

import structlog

from likd.durability.disk import AppendFile, Disk
from likd.durability.filenames import APPLIED
from likd.model import Counts

TABLES_MAX = 4096
"""How many of the newest tables are remembered."""

_LINE = re.compile(rb"(\d{1,12})((?: [a-z][a-z0-9_]{0,31}=\d{1,20})*)")

log = structlog.get_logger(__name__)


class AppliedLog:
    """Remembers the newest applied tables and their sums across restarts."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._sums: dict[int, Counts] = {}
        self._names: list[str] = []
        self._file: AppendFile | None = None
        self._lines = 0

    @property
    def newest(self) -> int:
        """The newest table in the log, 0 if it is empty."""
        return max(self._sums, default=0)

    def after(self, mark: int) -> dict[int, Counts]:
        """The tables after `mark` and their sums, oldest first."""
        return {table_id: self._sums[table_id] for table_id in sorted(self._sums) if table_id > mark}

    async def load(self, names: Iterable[str]) -> None:
        """Load the files of the log among `names`. Raises OSError."""
        self._names = APPLIED.among(names)
        for name in self._names:
            for line in (await self._disk.read(name)).split(b"\n")[:-1]:
                match = _LINE.fullmatch(line)
                if match is not None:
                    counts = (each.split("=") for each in match[2].decode().split())
                    self._sums[int(match[1])] = {name: int(n) for name, n in counts}
        self._forget_old()

    async def note(self, tables: Mapping[int, Counts]) -> None:
        """Record that the store has these tables. If the disk fails, the log is lost and begins again later."""
        self._sums |= tables
        self._lines += len(tables)
        try:
            if self._file is None or self._lines > TABLES_MAX:
                await self._begin(max(tables))
            assert self._file is not None
            await self._file.append(_encode(tables), sync=False)
        except OSError as error:
            log.warning("can't record what is applied", fault=error.strerror)
            await self.close()

    async def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                await file.close()

    async def _begin(self, table_id: int) -> None:
        """Continue in a new file, which begins with everything that is remembered."""
        await self.close()
        self._forget_old()
        name = APPLIED.name(table_id)
        file = await self._disk.create(name)
        # What is behind the last is appended by who noted it.
        await file.append(_encode({t: sums for t, sums in self._sums.items() if t < table_id}), sync=True)
        for old in self._names:
            if old != name:
                await self._disk.remove(old)
        self._names = [name]
        self._file, self._lines = file, 0

    def _forget_old(self) -> None:
        self._sums = dict(sorted(self._sums.items())[-TABLES_MAX:])


def _encode(tables: Mapping[int, Counts]) -> bytes:
    lines = [
        " ".join([str(table_id), *(f"{name}={n}" for name, n in sums.items() if n)]) + "\n"
        for table_id, sums in sorted(tables.items())
    ]
    return "".join(lines).encode()


def ranges(tables: Iterable[int]) -> str:
    """Table numbers as people write them: 3-5,9."""
    spans: list[tuple[int, int]] = []
    for table_id in sorted(tables):
        if spans and spans[-1][1] == table_id - 1:
            spans[-1] = spans[-1][0], table_id
        else:
            spans.append((table_id, table_id))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
