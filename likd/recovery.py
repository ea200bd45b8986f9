"""Recovery: what a start makes of the files that it finds in the data directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import attrs
import msgspec
import structlog

from likd import aside, batchfile, journal
from likd.batchfile import Batch, DamagedBatch
from likd.disk import TEMPORARY, Disk
from likd.events import IdempotencyKey, Rows, add_columns
from likd.handlers import ANY, Aside, Handlers, columns
from likd.journal import Entry, Header, SegmentDamage
from likd.keys import KeyLog, KeyWindow

HEADER_BYTES_MAX = 1 << 20

log = structlog.get_logger(__name__)


@attrs.define
class Recovered:
    """What was found: the id for the next table, the batches that wait for the store, and the steps taken."""

    next_table: int
    batches: list[Batch] = attrs.field(factory=list)
    steps: list[str] = attrs.field(factory=list)
    journal_bytes: int = 0
    events: int = 0

    def step(self, what: str) -> None:
        """Note one step for the report."""
        self.steps.append(what)
        log.info("recovery", step=what)


@attrs.define
class Replayed:
    """What one segment adds up to."""

    rows: Rows = attrs.field(factory=dict)
    aside: list[Aside] = attrs.field(factory=list)
    keys: list[tuple[IdempotencyKey, int]] = attrs.field(factory=list)
    actors: dict[bytes, bool] = attrs.field(factory=dict)

    def count(self, entry: Entry, handlers: Handlers) -> None:
        """Add the events of `entry`."""
        columns, aside = handlers.increments(entry.events)
        add_columns(self.rows, columns)
        self.aside += aside
        for kind in entry.events.keys() - set(handlers.kinds):
            # Its handler was uninstalled: the events wait until one comes that wants them.
            self.aside += [Aside(ANY, kind, url, n) for url, n in entry.events[kind].items()]
        self.actors.update(entry.actors)
        self.keys += [(IdempotencyKey(key, digest), size) for key, digest, size in entry.keys]


async def replay_segment(disk: Disk, table: int, length: int, handlers: Handlers) -> Replayed | None:
    """The counts in the first `length` bytes of a segment, all of them dispatched; None if it can't be read."""
    try:
        data = await disk.read(journal.name(table), length)
    except OSError as error:
        log.error("can't read journal segment", table=table, fault=error.strerror)
        return None
    replayed = Replayed()
    for record in journal.read(data):
        if isinstance(record, SegmentDamage):
            log.error("damage in journal segment", table=table, begin=record.begin, end=record.end)
        elif isinstance(record[1], Entry):
            replayed.count(record[1], handlers)
    return replayed


@attrs.define
class _Segment:
    """A segment that is being recovered, and groups of it whose last part is still to come."""

    table: int
    replayed: Replayed
    held: list[Entry]
    damaged: bool = False
    opened: float = 0.0


class Recovery:
    """Turns a data directory into what the daemon starts from. Its steps can be cut off at any point and begun again.

    Half-written files are dropped, damaged ones are moved aside, files whose table is applied are removed but
    for the newest `keep_batches`, and orphan segments become batch files under their own ids. Raises OSError.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        applied: int,
        handlers: Handlers,
        keys: KeyLog,
        window: KeyWindow,
        keep_batches: int = 0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._disk = disk
        self._applied = applied
        self._handlers = handlers
        self._keys = keys
        self._window = window
        self._keep = keep_batches
        self._wall_clock = wall_clock
        self._found = Recovered(applied + 1)

    async def run(self) -> Recovered:
        """Do it, and say what there is to start from."""
        found = self._found
        names = await self._disk.names()
        for name in names:
            if name.endswith(TEMPORARY):
                found.step(f"{name}: half-written, dropped")
                await self._disk.remove(name)
        await self._keys.load(names, self._window)
        ids = [table for name in names if (table := _table_of(name)) is not None]
        found.next_table = max([self._applied, *ids]) + 1
        await self._load_batches(names)
        await self._replay_journal(names)
        await self._replay_aside(names)
        found.batches.sort(key=lambda batch: batch.table)
        return found

    async def _load_batches(self, names: list[str]) -> None:
        tables = [table for name in names if (table := batchfile.table_of(name)) is not None]
        applied = [table for table in tables if table <= self._applied]
        for table in applied[: max(0, len(applied) - self._keep)]:
            self._found.step(f"{batchfile.name(table)}: applied already, removed")
            await self._disk.remove(batchfile.name(table))
        for table in tables:
            if table <= self._applied:
                continue
            name = batchfile.name(table)
            try:
                batch = batchfile.decode(await self._disk.read(name))
                if batch.table != table:
                    raise DamagedBatch(f"it holds table {batch.table}")
            except DamagedBatch as error:
                log.error("damaged batch file set aside", file=name, fault=str(error))
                self._found.step(f"{name}: damaged ({error}), set aside")
                await self._disk.set_aside(name)
            else:
                self._found.step(f"{name}: {len(batch.rows)} URLs wait for the store")
                self._found.batches.append(batch)

    async def _replay_journal(self, names: list[str]) -> None:
        batched = {batch.table for batch in self._found.batches}
        orphans: list[int] = []
        for table in filter(None, map(journal.table_of, names)):
            if table <= self._applied or table in batched:
                await self._discard(journal.name(table))
            else:
                orphans.append(table)
        sealed = await self._sealed(orphans)
        unresolved: list[_Segment] = []
        for table in orphans:
            segment = await self._read_segment(table, sealed.get(table), unresolved)
            unresolved.append(segment)
            if not segment.held:
                for earlier in unresolved:
                    await self._batch(earlier)
                unresolved = []
        for segment in unresolved:
            # A group without its last part was cut off by the crash and never acknowledged.
            await self._batch(segment)

    async def _discard(self, name: str) -> None:
        """Remove a segment that is batched, or set it aside if it is damaged: a crash came before that was done."""
        records = journal.read(await self._disk.read(name))
        if any(isinstance(record, SegmentDamage) and not record.torn for record in records):
            self._found.step(f"{name}: batched already, damaged, set aside")
            await self._disk.set_aside(name)
        else:
            self._found.step(f"{name}: batched already, removed")
            await self._disk.remove(name)

    async def _sealed(self, tables: list[int]) -> Mapping[int, int]:
        """Good lengths of segments that ended in a failed write, as the segments after them say."""
        sealed: dict[int, int] = {}
        for table in tables:
            head = await self._disk.read(journal.name(table), HEADER_BYTES_MAX)
            for record in journal.read(head):
                if isinstance(record, tuple) and isinstance(record[1], Header):
                    sealed.update(record[1].sealed)
                break
        return sealed

    async def _read_segment(self, table: int, length: int | None, earlier: list[_Segment]) -> _Segment:
        name = journal.name(table)
        data = await self._disk.read(name, -1 if length is None else length)
        self._found.journal_bytes += len(data)
        segment = _Segment(table, Replayed(), [], opened=self._wall_clock())
        for record in journal.read(data):
            if isinstance(record, SegmentDamage):
                segment.damaged |= not record.torn
                kind = "torn last frame, cut off" if record.torn else "damage, set aside"
                self._found.step(f"{name}: bytes {record.begin} to {record.end}: {kind}")
            elif isinstance(entry := record[1], Entry):
                if entry.part < entry.parts - 1:
                    segment.held.append(entry)
                    continue
                for holder in [*earlier, segment]:
                    for part in holder.held:
                        if part.group == entry.group:
                            holder.replayed.count(part, self._handlers)
                    holder.held = [part for part in holder.held if part.group != entry.group]
                segment.replayed.count(entry, self._handlers)
        return segment

    async def _batch(self, segment: _Segment) -> None:
        replayed = segment.replayed
        table = segment.table
        await self._keys.append(table, replayed.keys)
        for key, size in replayed.keys:
            self._window.remember(key.key, key.digest, size, self._wall_clock())
        await aside.write(self._disk, table, replayed.aside)
        if replayed.rows or replayed.actors:
            await self._write_batch(table, replayed.rows, segment.opened, replayed.actors)
        self._found.step(f"{journal.name(table)}: replayed, {len(replayed.rows)} URLs")
        if segment.damaged:
            await self._disk.set_aside(journal.name(table))
        else:
            await self._disk.remove(journal.name(table))

    async def _write_batch(
        self, table: int, rows: Rows, opened: float, actors: dict[bytes, bool] | None = None
    ) -> None:
        names = columns(rows.values(), self._handlers.counts)
        batch = Batch(table, opened, self._wall_clock(), names, rows, actors or {})
        await self._disk.write(batchfile.name(table), batchfile.encode(batch))
        self._found.batches.append(batch)

    async def _replay_aside(self, names: list[str]) -> None:
        """Offer events set aside to their handlers again: exactly once, because the target table is named first."""
        batched = {batch.table for batch in self._found.batches}
        for name in names:
            match = aside.NAME.fullmatch(name)
            if match is None:
                continue
            target = int(match[2]) if match[2] else 0
            if target and (target <= self._applied or target in batched):
                await self._disk.remove(name)
                continue
            try:
                events = aside.decode(await self._disk.read(name))
            except msgspec.DecodeError as error:
                self._found.step(f"{name}: damaged ({error}), set aside")
                await self._disk.set_aside(name)
                continue
            rows, still_aside = self._handlers.replay(events)
            if not rows and not target:
                continue
            if not target:
                target = self._found.next_table
                self._found.next_table += 1
                renamed = f"{name}.{batchfile.name(target)}"
                await self._disk.rename(name, renamed)
                name = renamed
            await aside.write(self._disk, target, still_aside)
            if rows:
                await self._write_batch(target, rows, self._wall_clock())
            await self._disk.remove(name)
            self._found.step(f"{name}: {len(events) - len(still_aside)} events replayed into table {target}")


def _table_of(name: str) -> int | None:
    for pattern in (journal.NAME, batchfile.NAME):
        if match := pattern.fullmatch(name):
            return int(match[1])
    if match := aside.NAME.fullmatch(name):
        return max(int(match[1]), int(match[2] or 0))
    return None
