"""Replay: what the entries of a journal segment add up to."""

from __future__ import annotations

import attrs
import structlog

from likd.durability import dead_letters, journal
from likd.durability.dead_letters import DeadLetters
from likd.durability.disk import Disk
from likd.durability.filenames import JOURNAL
from likd.durability.journal import Entry, SegmentDamage
from likd.model import DeadLetter, Events, Fold, IdempotencyKey, Likings, Rows, add_columns, add_likings
from likd.plugins.handlers import ANY, Handlers

log = structlog.get_logger(__name__)


@attrs.define
class Replayed:
    """What one segment adds up to."""

    events: Events = attrs.field(factory=dict)
    rows: Rows = attrs.field(factory=dict)
    dead_letters: DeadLetters = attrs.field(factory=dict)
    keys: list[tuple[IdempotencyKey, int]] = attrs.field(factory=list)
    actors: Likings = attrs.field(factory=dict)
    merge: Fold | None = None

    def count(self, entry: Entry) -> None:
        """Add the events of `entry`; there are many entries with few events, so the loop is written out."""
        for kind, urls in entry.events.items():
            mine = self.events.setdefault(kind, {})
            for url, n in urls.items():
                mine[url] = mine.get(url, 0) + n
        if entry.actors:
            add_likings(self.actors, entry.likings)
        self.merge = entry.merge or self.merge
        if entry.keys:
            self.keys += [(IdempotencyKey(key, digest), size) for key, digest, size in entry.keys]

    def settle(self, handlers: Handlers) -> None:
        """Ask the handlers what all the events add up to."""
        columns, kept = handlers.increments(self.events)
        add_columns(self.rows, columns)
        dead_letters.add(self.dead_letters, kept)
        for kind in self.events.keys() - set(handlers.kinds):
            # Its handler was uninstalled: the events wait until there is one that wants them.
            dead_letters.add(self.dead_letters, [DeadLetter(ANY, kind, url, n) for url, n in self.events[kind].items()])
        self.events = {}


async def replay_segment(disk: Disk, table_id: int, length: int, handlers: Handlers) -> Replayed | None:
    """The counts in the first `length` bytes of a segment, after the handlers; None if it can't be read."""
    try:
        data = await disk.read(JOURNAL.name(table_id), length)
    except OSError as error:
        log.error("can't read journal segment", table=table_id, fault=error.strerror)
        return None
    replayed = Replayed()
    for record in journal.read(data):
        if isinstance(record, SegmentDamage):
            log.error("damage in journal segment", table=table_id, begin=record.begin, end=record.end)
        elif isinstance(record[1], Entry):
            replayed.count(record[1])
    replayed.settle(handlers)
    return replayed
