"""Loads finished logs into the history at their own times."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator

import attrs

from likd.cli.client import ClientError, Daemon
from likd.cli.loading import Loading
from likd.cli.sending.batches import Batch, read
from likd.cli.sending.content import CHUNK_BYTES
from likd.cli.sending.inputs import Input
from likd.cli.sending.line_ranges import Cutter
from likd.cli.sending.line_stats import LineStats
from likd.cli.startingcounts import Row

LINES_AT_ONCE = 10_000


@attrs.define
class Past:
    """Loads logs. Each is identified by its content, so loading it again adds nothing."""

    daemon: Daemon
    told: Callable[[Batch], None]
    """Called with each batch once."""
    line_stats: LineStats = attrs.field(factory=LineStats)
    loaded: int = 0
    known: int = 0
    """Rows that an earlier run loaded."""

    def load(self, one: Input) -> None:
        """Load the log. Raises ClientError, OSError."""
        if one.content is None:
            raise ClientError(f"{one.source.name}: --past needs regular files")
        # Two servers may have the same counts in a minute, but their lines differ.
        content = hashlib.sha256()
        for batch in _batches(one):
            content.update(batch.line_range.data)
            self.line_stats.add(batch.line_stats)
            self.line_stats.events += batch.events
            self.told(batch)
        loading = Loading(self.daemon, one.source.name, lambda: _rows(one), content.digest())
        loading.check()
        loading.load()
        self.loaded += loading.loaded
        self.known += loading.known


def _batches(one: Input) -> Iterator[Batch]:
    assert one.content is not None
    cutter = Cutter(one.source, LINES_AT_ONCE)
    begin = 0
    while data := one.content.read(CHUNK_BYTES, begin):
        begin += len(data)
        yield from map(read, cutter.feed(data))
    yield from map(read, cutter.end())


def _rows(one: Input) -> Iterator[Row]:
    """The impressions of each URL in each minute, summed over portions of the log."""
    for batch in _batches(one):
        if not one.source.format.from_log:
            raise ClientError(f"{one.source.name}: --past is for logs, and this file holds events")
        for line, n in sorted(Counter(batch.body.split(b"\n") if batch.body else []).items()):
            yield Row(
                batch.line_range.byte_range.line, line.replace(b'"impressions":1', b'"impressions":%d' % n, 1) + b"\n"
            )
