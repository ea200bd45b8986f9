"""What the store does not have yet, by site and by URL, for sums that are exact at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import attrs
import trio

from likd.counting.table import Table
from likd.model import Counts, Rows, add, host_of
from likd.queries.totals import Totals

SLICE_ROWS = 2000
"""How many rows a step handles: about a millisecond's worth."""


@attrs.frozen
class Growth:
    """What tables up to `last` add that the store may not have, all of one minute (since 1970), by site or by URL."""

    last: int
    minute: int
    sums: Mapping[str, Counts]


class Unapplied:
    """Adds up, in steps and on demand, what tables have that the store does not have yet.

    A table's final rows are added up by site once. The caller reads the store afterwards, and takes the parts after the
    table that its answer is as of, so nothing that was acknowledged before is missing or counted twice.
    """

    def __init__(self, totals: Totals, wall_clock: Callable[[], float] = time.time) -> None:
        self._totals = totals
        self._wall_clock = wall_clock
        self._by_site: dict[tuple[int, int], Growth] = {}

    async def by_site(self) -> list[Growth]:
        """The sums by site."""
        known, self._by_site = self._by_site, {}
        found: list[Growth] = []
        for first, last, minute, rows in self._parts():
            growth = known.get((first, last)) if not isinstance(rows, Table) else None
            if growth is None or growth.minute != minute:
                sums: dict[str, Counts] = {}
                for some in _slices(rows):
                    self._add_sites(sums, some)
                    await trio.lowlevel.checkpoint()
                growth = Growth(last, minute, sums)
            if not isinstance(rows, Table):
                self._by_site[first, last] = growth
            found.append(growth)
        return found

    async def by_url(self, wanted: Callable[[str], bool]) -> list[Growth]:
        """The rows of the URLs that are `wanted`."""
        found: list[Growth] = []
        aliases = self._totals.ledger.aliases
        for _, last, minute, rows in self._parts():
            sums: Rows = {}
            for some in _slices(rows):
                for name, counts in some.items():
                    url = aliases(name)
                    if wanted(url):
                        add(sums.setdefault(url, {}), counts)
                await trio.lowlevel.checkpoint()
            if sums:
                found.append(Growth(last, minute, sums))
        return found

    def _parts(self) -> list[tuple[int, int, int, Table | Rows]]:
        """Everything that the store may not have: the first and last table, the minute, and what they have."""
        now = int(self._wall_clock() // 60)
        parts: list[tuple[int, int, int, Table | Rows]] = []
        for first, last, minute, rows in self._totals.ledger.unapplied_parts():
            parts.append((first, last, now if minute is None else minute, rows))
        parts += [
            (table.id, table.id, int(table.closed_at // 60) or now, table) for table in self._totals.ledger.tables
        ]
        return parts

    def _add_sites(self, sums: dict[str, Counts], rows: Mapping[str, Counts]) -> None:
        aliases = self._totals.ledger.aliases
        hosts: dict[str, str] = {}
        for name, counts in rows.items():
            url = aliases(name)
            prefix = url[: url.find("/", 8)]
            host = hosts.get(prefix)
            if host is None:
                host = hosts[prefix] = host_of(prefix)
            add(sums.setdefault(host, {}), counts)


def _slices(rows: Table | Rows) -> Iterator[Rows]:
    urls = list(rows.urls if isinstance(rows, Table) else rows)
    for begin in range(0, len(urls), SLICE_ROWS):
        some = urls[begin : begin + SLICE_ROWS]
        if isinstance(rows, Table):
            yield {url: counts for url in some if (counts := rows.counts(url))}
        else:
            yield {url: rows[url] for url in some}


def beyond(parts: list[Growth], applied: int) -> list[Growth]:
    """Those of `parts` that a store at table `applied` does not have."""
    return [part for part in parts if part.last > applied]
