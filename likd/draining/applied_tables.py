"""Records what the store was given, and keeps the batch files for a while, for a store that goes back in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import attrs
import structlog
import trio

from likd.durability import batch_file
from likd.durability.applied_log import AppliedLog, ranges
from likd.durability.batch_file import Batch, DamagedBatch
from likd.durability.disk import Disk
from likd.durability.filenames import BATCH
from likd.model import Counts, total

log = structlog.get_logger(__name__)


@attrs.frozen
class Keep:
    """Which applied batch files are kept: the newest `files`, and those of the last `seconds`, up to `bytes_max`."""

    files: int = 0
    seconds: float = 0.0
    bytes_max: int = 0


@attrs.frozen
class _Kept:
    table_id: int
    applied_at: float
    size: int


@attrs.frozen
class AppliedTablesStatistics:
    """What the store lost and that no longer exists anywhere."""

    missing_tables: tuple[int, ...]
    """The ids of these tables."""
    missing_counts: Mapping[str, int]
    """What they had counted, by the name of the count."""


class AppliedTables:
    """Follows the tables that the store has; `found` are those whose files were found at the start.

    `missing` are the tables, with their sums, that a store lost and that no longer exist anywhere.
    """

    def __init__(
        self,
        disk: Disk,
        applied_log: AppliedLog,
        keep: Keep,
        *,
        found: Iterable[int] = (),
        missing: Mapping[int, Counts] | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._disk = disk
        self._log = applied_log
        self._keep = keep
        self._clock = clock
        self._found = list(found)
        self._kept: deque[_Kept] = deque()
        self._untended: dict[int, Counts] = {}
        self._bytes = 0
        self.missing: dict[int, Counts] = dict(missing or {})

    @property
    def missing_counts(self) -> Counts:
        """The sum of what is missing."""
        return total(self.missing.values())

    def statistics(self) -> AppliedTablesStatistics:
        """What is missing, in numbers."""
        return AppliedTablesStatistics(tuple(self.missing), self.missing_counts)

    def applied(self, tables: Mapping[int, Counts]) -> None:
        """The store has these tables, with these sums. `tend` has to be called afterwards."""
        self._untended |= tables

    @property
    def untended(self) -> bool:
        """Whether there is something to record."""
        return bool(self._untended)

    async def tend(self) -> None:
        """Record what was applied, and remove the files that are not kept. If interrupted, the next call finishes."""
        if self._untended:
            await self._log.note(self._untended)
        for table_id in [*self._found, *self._untended]:
            size = await self._size(table_id) if self._keep.seconds else 0
            self._kept.append(_Kept(table_id, self._clock(), size))
            self._bytes += size
            if table_id in self._untended:
                del self._untended[table_id]
            else:
                self._found.remove(table_id)
        await self._remove_old()

    async def close(self) -> None:
        """Close the log: there is no more."""
        await self._log.close()

    async def after(self, mark: int, waiting: Iterable[int] = ()) -> list[Batch]:
        """The kept tables after `mark`, oldest first; those that no longer exist are missing from now on.

        Tables that are `waiting` are not included.
        """
        tables = [*self._found, *(kept.table_id for kept in self._kept)]
        batches = [
            batch for table_id in tables if table_id > mark and (batch := await self._read(table_id)) is not None
        ]
        had = {*waiting, *(batch.table_id for batch in batches)}
        lost = {table_id: sums for table_id, sums in self._log.after(mark).items() if table_id not in had}
        if lost:
            self.missing |= lost
            log.error("the store lost tables that are not kept any more", **told(lost))
        return batches

    def forget_after(self, mark: int) -> None:
        """The tables after `mark` are waiting for the store again."""
        self._found = [table_id for table_id in self._found if table_id <= mark]
        self._bytes -= sum(kept.size for kept in self._kept if kept.table_id > mark)
        self._kept = deque(kept for kept in self._kept if kept.table_id <= mark)

    async def _read(self, table_id: int) -> Batch | None:
        try:
            return batch_file.decode(await self._disk.read(BATCH.name(table_id)))
        except (OSError, DamagedBatch) as error:
            log.error("can't read a kept batch file", table=table_id, fault=str(error))
            return None

    async def _size(self, table_id: int) -> int:
        try:
            return await self._disk.size(BATCH.name(table_id))
        except OSError:
            return 0

    async def _remove_old(self) -> None:
        keep = self._keep
        while len(self._kept) > keep.files and (
            self._kept[0].applied_at + keep.seconds <= self._clock() or self._bytes > keep.bytes_max
        ):
            oldest = self._kept[0]
            try:
                await self._disk.remove(BATCH.name(oldest.table_id))
            except OSError as error:
                log.error("can't remove applied batch file", table=oldest.table_id, fault=error.strerror)
            self._kept.popleft()
            self._bytes -= oldest.size


def told(missing: Mapping[int, Counts]) -> dict[str, object]:
    """Missing tables and counts, for messages."""
    return {"tables": ranges(missing), "counts": total(missing.values())}
