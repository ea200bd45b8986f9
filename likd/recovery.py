"""Recovery: what a start does with the files that it finds in the data directory."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import attrs
import msgspec
import structlog
import trio

from likd.durability import batch_file, dead_letters, filenames, journal
from likd.durability.applied_log import AppliedLog, ranges
from likd.durability.batch_file import Batch, DamagedBatch
from likd.durability.disk import Disk
from likd.durability.filenames import BATCH, DEAD_LETTERS, JOURNAL, TEMPORARY
from likd.durability.idempotency import KeyLog, KeyWindow
from likd.durability.journal import HEADER_BYTES_MAX, Entry, Header, SegmentDamage
from likd.durability.replay import Replayed
from likd.model import Counts, DeadLetter, Fold, Likings, Rows, total
from likd.plugins.handlers import Handlers, columns

SLICE_BYTES = 1 << 17
"""How much of a segment is read at once, some milliseconds' worth, because a start obeys signals."""

log = structlog.get_logger(__name__)


@attrs.define
class Recovered:
    """What was found: the next table's id, the batches that are waiting for the store, and the steps taken.

    `damage` has the steps that a person must know about: something that had been written could not be read.
    """

    next_table: int
    batches: list[Batch] = attrs.field(factory=list)
    steps: list[str] = attrs.field(factory=list)
    damage: list[str] = attrs.field(factory=list)
    kept: list[int] = attrs.field(factory=list)
    """Applied tables whose batch files are kept."""
    missing: dict[int, Counts] = attrs.field(factory=dict)
    """Tables, with their sums, that the store had lost and that no longer exist anywhere."""
    journal_bytes: int = 0
    dead_letter_bytes: int = 0

    def step(self, what: str, *, damage: bool = False) -> None:
        """Note one step for the report."""
        self.steps.append(what)
        if damage:
            self.damage.append(what)
            log.error("damage found at the start", step=what)
        else:
            log.info("recovery", step=what)


@attrs.define
class _Segment:
    """A segment that is being recovered, and its groups whose last part is still to come."""

    table_id: int
    opened: float
    replayed: Replayed = attrs.field(factory=Replayed)
    held: list[Entry] = attrs.field(factory=list)
    damaged: bool = False

    def last_table(self, part: Entry) -> int:
        """The table with the last part of the group of which `part` is in this segment: each table has one part."""
        return self.table_id + part.parts - 1 - part.part


@attrs.frozen
class _Headers:
    """What the headers of all segments say together, and the newest table whose beginning was durable."""

    sealed: Mapping[int, int]
    opened: list[tuple[int, float]]
    newest: int

    def is_whole(self, table_id: int) -> bool:
        """Whether the segment of `table_id` can't end in a torn frame: later tables exist, or its length is known."""
        return table_id < self.newest or table_id in self.sealed

    def opened_at(self, table_id: int, default: float) -> float:
        """When the segment of `table_id` was opened or, if that can't be read, its nearest neighbour."""
        at = bisect_right(self.opened, table_id, key=lambda each: each[0])
        known = self.opened[max(0, at - 1) :]
        return known[0][1] if known else default


class Recovery:
    """Turns a data directory into what the daemon starts from. It can be interrupted at any point and begun again.

    Half-written files are dropped; damaged ones are moved aside; files of applied tables are removed except the newest
    `keep_batches` (or all kept, with `keep_applied`); orphaned segments become batch files under their own ids. If the
    store went back in time, `applied_log` shows which tables it lost; those no longer kept are reported. While the
    store is unavailable, `applied` is unknown, and every file waits for it. Raises OSError.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        applied: int | None,
        handlers: Handlers,
        keys: KeyLog,
        window: KeyWindow,
        applied_log: AppliedLog | None = None,
        keep_batches: int = 0,
        keep_applied: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._disk = disk
        self._applied = applied or 0
        self._is_known = applied is not None
        self._handlers = handlers
        self._keys = keys
        self._window = window
        self._applied_log = applied_log or AppliedLog(disk)
        self._keep = keep_batches
        self._keep_applied = keep_applied
        self._wall_clock = wall_clock
        self._found = Recovered(self._applied + 1)
        self._names: frozenset[str] = frozenset()
        self._dead_letter_bytes: dict[str, int] = {}

    async def run(self) -> Recovered:
        """Recover. Returns what there is to start from."""
        found = self._found
        names = await self._disk.names()
        self._names = frozenset(names)
        for name in names:
            if name.endswith(TEMPORARY):
                found.step(f"{name}: half-written, dropped")
                await self._disk.remove(name)
        await self._keys.load(names, self._window)
        for what in self._keys.damage:
            found.step(what, damage=True)
        await self._applied_log.load(names)
        # A used id is never used again, whatever is left of its table.
        used = filenames.newest_id([*names, *await self._disk.quarantined_names()])
        found.next_table = max(self._applied, self._applied_log.newest, used) + 1
        await self._load_batches(names)
        self._name_missing()
        await self._replay_journal(names)
        await self._replay_dead_letters(names)
        found.batches.sort(key=lambda batch: batch.table_id)
        found.dead_letter_bytes = sum(self._dead_letter_bytes.values())
        return found

    async def _load_batches(self, names: list[str]) -> None:
        tables = BATCH.ids(names)
        applied = [table_id for table_id in tables if table_id <= self._applied]
        old = 0 if self._keep_applied else max(0, len(applied) - self._keep)
        self._found.kept = applied[old:]
        for table_id in applied[:old]:
            self._found.step(f"{BATCH.name(table_id)}: already applied, removed")
            await self._disk.remove(BATCH.name(table_id))
        for table_id in tables:
            if table_id <= self._applied:
                continue
            name = BATCH.name(table_id)
            try:
                batch = batch_file.decode(await self._disk.read(name))
                if batch.table_id != table_id:
                    raise DamagedBatch(f"it holds table {batch.table_id}")
            except DamagedBatch as error:
                self._found.step(f"{name}: damaged ({error}), set aside", damage=True)
                await self._disk.quarantine(name)
            else:
                self._found.step(f"{name}: {len(batch.rows)} URLs are waiting for the store")
                self._found.batches.append(batch)

    def _name_missing(self) -> None:
        """A store that was restored from an older copy gets what is kept; report what is not."""
        if not self._is_known:
            return
        had = {batch.table_id for batch in self._found.batches}
        missing = {
            table_id: sums for table_id, sums in self._applied_log.after(self._applied).items() if table_id not in had
        }
        if missing:
            self._found.missing = missing
            counts = ", ".join(f"{n} {name}" for name, n in total(missing.values()).items()) or "nothing"
            what = f"the store has the tables up to {self._applied}, and lost tables {ranges(missing)}: {counts}"
            self._found.step(what, damage=True)

    async def _replay_journal(self, names: list[str]) -> None:
        batched = {batch.table_id for batch in self._found.batches}
        tables = JOURNAL.ids(names)
        headers = await self._headers(tables, names)
        orphans: list[int] = []
        for table_id in tables:
            if table_id <= self._applied or table_id in batched:
                await self._discard(table_id, headers)
            else:
                orphans.append(table_id)
        damaged = dict.fromkeys(orphans, False)
        waiting: deque[_Segment] = deque()
        for table_id in orphans:
            segment = await self._read_segment(table_id, headers, waiting)
            damaged[table_id] = segment.damaged
            waiting.append(segment)
            while waiting and all(waiting[0].last_table(part) <= table_id for part in waiting[0].held):
                await self._finish(waiting.popleft(), damaged, headers)
        for segment in waiting:
            await self._finish(segment, damaged, headers)

    async def _headers(self, tables: Iterable[int], names: Iterable[str]) -> _Headers:
        """What the segments of `tables` say about themselves and those before them."""
        sealed: dict[int, int] = {}
        opened: list[tuple[int, float]] = []
        newest = max([self._applied, *BATCH.ids(names)])
        for table_id in tables:
            head = await self._disk.read(JOURNAL.name(table_id), HEADER_BYTES_MAX)
            record = next(journal.read(head), None)
            if isinstance(record, tuple) and isinstance(header := record[1], Header):
                sealed.update(header.sealed)
                newest = max(newest, table_id)
                if header.opened:
                    opened.append((table_id, header.opened))
        return _Headers(sealed, opened, newest)

    async def _discard(self, table_id: int, headers: _Headers) -> None:
        """Remove a segment that is already batched, or set it aside if it is damaged: a crash prevented that before."""
        name = JOURNAL.name(table_id)
        data = await self._disk.read(name, headers.sealed.get(table_id, -1))
        records = journal.read(data, whole=headers.is_whole(table_id))
        if any(isinstance(record, SegmentDamage) and not record.torn for record in records):
            self._found.step(f"{name}: already batched, damaged, set aside", damage=True)
            await self._disk.quarantine(name)
        else:
            self._found.step(f"{name}: already batched, removed")
            await self._disk.remove(name)

    async def _read_segment(self, table_id: int, headers: _Headers, earlier: Iterable[_Segment]) -> _Segment:
        name = JOURNAL.name(table_id)
        length = headers.sealed.get(table_id, -1)
        data = await self._disk.read(name, length)
        self._found.journal_bytes += len(data)
        segment = _Segment(table_id, headers.opened_at(table_id, self._wall_clock()))
        paused = 0
        for record in journal.read(data, whole=headers.is_whole(table_id)):
            if isinstance(record, SegmentDamage):
                segment.damaged |= not record.torn
                kind = "torn last frame, cut off" if record.torn else "damage, set aside"
                self._found.step(f"{name}: bytes {record.begin} to {record.end}: {kind}", damage=not record.torn)
                continue
            begin, entry = record
            if isinstance(entry, Entry):
                if entry.part < entry.parts - 1:
                    segment.held.append(entry)
                else:
                    if entry.parts > 1:
                        _complete(entry.group, [*earlier, segment])
                    segment.replayed.count(entry)
            if begin - paused > SLICE_BYTES:
                paused = begin
                await trio.lowlevel.checkpoint()
            if begin == 0 and len(data) < length:
                # A header alone is not synced, but everything acknowledged after it is.
                segment.damaged = True
                self._found.step(f"{name}: bytes {len(data)} to {length}: missing", damage=True)
        return segment

    async def _finish(self, segment: _Segment, damaged: Mapping[int, bool], headers: _Headers) -> None:
        """Decide about groups whose last part did not come, and batch the segment.

        If a crash prevented the last part, the group was never acknowledged. If it was there and is damaged or gone,
        the group was acknowledged, and what is left of it counts.
        """
        for part in segment.held:
            last = segment.last_table(part)
            if damaged.get(last, last <= headers.newest):
                what = f"{JOURNAL.name(segment.table_id)}: a group's last part is lost in {JOURNAL.name(last)}, counted"
                self._found.step(what, damage=True)
                segment.replayed.count(part)
        segment.replayed.settle(self._handlers)
        await self._batch(segment)

    async def _batch(self, segment: _Segment) -> None:
        replayed = segment.replayed
        table_id = segment.table_id
        await self._keys.append(table_id, replayed.keys)
        for key, size in replayed.keys:
            self._window.remember(key.key, key.digest, size, self._wall_clock())
        await self._keep_dead_letters(table_id, dead_letters.listed(replayed.dead_letters), segment.opened)
        if replayed.rows or replayed.dead_letters or replayed.keys or replayed.actors or replayed.merge:
            await self._write_batch(table_id, replayed.rows, segment.opened, replayed.actors, replayed.merge)
        self._found.step(f"{JOURNAL.name(table_id)}: replayed, {len(replayed.rows)} URLs")
        if segment.damaged:
            await self._disk.quarantine(JOURNAL.name(table_id))
        else:
            await self._disk.remove(JOURNAL.name(table_id))

    async def _keep_dead_letters(self, table_id: int, events: list[DeadLetter], at: float) -> None:
        """Keep the events that `table_id` can't count, replacing what an earlier attempt kept."""
        name = DEAD_LETTERS.name(table_id)
        self._dead_letter_bytes[name] = await dead_letters.write(
            self._disk, table_id, events, at, replaces=name in self._names
        )

    async def _write_batch(
        self, table_id: int, rows: Rows, taken_at: float, actors: Likings | None = None, merge: Fold | None = None
    ) -> None:
        names = columns(rows.values(), self._handlers.counts)
        batch = Batch(table_id, taken_at, taken_at, names, rows, actors or {}, merge)
        await self._disk.write(BATCH.name(table_id), batch_file.encode(batch))
        self._found.batches.append(batch)

    async def _replay_dead_letters(self, names: list[str]) -> None:
        """Offer events set aside to their handlers again: exactly once, as the target table is recorded first."""
        batched = {batch.table_id for batch in self._found.batches}
        for name, target in filenames.dead_letters(names):
            if target is not None and (target <= self._applied or target in batched):
                await self._disk.remove(name)
                continue
            data = await self._disk.read(name)
            try:
                kept = dead_letters.decode(data)
            except msgspec.DecodeError as error:
                self._found.step(f"{name}: damaged ({error}), set aside", damage=True)
                await self._disk.quarantine(name)
                continue
            rows, still_dead = self._handlers.replay(kept.events)
            if not rows and target is None:
                self._dead_letter_bytes[name] = dead_letters.space(len(data))
                if not kept.events:
                    await self._disk.remove(name)
                    del self._dead_letter_bytes[name]
                continue
            if target is None:
                target = self._found.next_table
                self._found.next_table += 1
                renamed = filenames.replayed_into(name, target)
                await self._disk.rename(name, renamed)
                self._dead_letter_bytes.pop(name, None)
                name = renamed
            taken_at = kept.at or self._wall_clock()
            await self._keep_dead_letters(target, still_dead, taken_at)
            # Even without rows: the table's batch says that its part of the events is settled.
            await self._write_batch(target, rows, taken_at)
            await self._disk.remove(name)
            self._found.step(f"{name}: {len(kept.events) - len(still_dead)} events replayed into table {target}")


def _complete(group: int, segments: Iterable[_Segment]) -> None:
    """The last part of `group` exists, so its other parts count."""
    for segment in segments:
        for part in segment.held:
            if part.group == group:
                segment.replayed.count(part)
        segment.held = [part for part in segment.held if part.group != group]
