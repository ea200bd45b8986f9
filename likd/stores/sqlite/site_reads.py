"""Reads about sites from the embedded store: their totals and past."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from likd.model import Counts
from likd.stores.sites import SITES_MAX, Past, PastRead, Site, SitesRead, Span
from likd.stores.sqlite.history import History
from likd.stores.sqlite.sites import ALL, Sites
from likd.stores.sqlite.staging import json_array


class SiteReads:
    """Reads from the connection of its caller, who owns the snapshot."""

    def __init__(self, history: History, sites: Sites) -> None:
        self._history = history
        self._sites = sites
        self._names: tuple[str, ...] = ()

    def open(self, names: tuple[str, ...]) -> None:
        """Set the names of the counts."""
        self._names = names

    def sites(
        self, connection: sqlite3.Connection, applied: int, spans: Sequence[Span], hosts: Sequence[str] | None
    ) -> SitesRead:
        """The sites with the most likes, or those in `hosts`, and their past."""
        (total,) = connection.execute("SELECT count(*) FROM sites WHERE urls > 0").fetchone()
        order = f"ORDER BY {self._value('likes')} DESC, host LIMIT {SITES_MAX}"
        select = f"SELECT -sites.id, host, urls, {self._columns} FROM sites"
        if hosts is None:
            rows = connection.execute(f"{select} WHERE urls > 0 {order}")
        else:
            rows = connection.execute(f"{select} JOIN json_each(?) ON host = value {order}", (json_array(hosts),))
        listed = rows.fetchall()
        pasts = [self._pasts(connection, [row[0] for row in listed], span) for span in spans]
        found = [
            Site(host, urls, self._counts(counts), [past[row_id] for past in pasts])
            for row_id, host, urls, *counts in listed
        ]
        if hosts is not None and "" in hosts:
            sums = ", ".join(f'sum("{name}")' for name in self._names) or "NULL"
            urls, *counts = connection.execute(f"SELECT sum(urls), {sums} FROM sites").fetchone()
            past = [self._past(connection, ALL, span) for span in spans]
            found.append(Site("", urls or 0, self._counts(counts), past))
        return SitesRead(applied, found, total, self._sites.share(connection))

    def past(
        self, connection: sqlite3.Connection, applied: int, spans: Sequence[Span], url: str, site: str
    ) -> PastRead:
        """The past of a URL, a site or all sites."""
        if url:
            row = connection.execute("SELECT id FROM counts WHERE url = ?", (url,)).fetchone()
            row_id = None if row is None else int(row[0])
        else:
            row_id = self._sites.id_of(connection, site) if site else ALL
        past = [[] if row_id is None else self._past(connection, row_id, span) for span in spans]
        return PastRead(applied, past, 1.0 if url else self._sites.share(connection))

    def _pasts(self, connection: sqlite3.Connection, row_ids: Sequence[int], span: Span) -> dict[int, Past]:
        return self._history.read_all(connection, row_ids, span.unit, span.begin, span.end)

    def _past(self, connection: sqlite3.Connection, row_id: int, span: Span) -> Past:
        return self._history.read(connection, row_id, span.unit, span.begin, span.end)

    @property
    def _columns(self) -> str:
        return ", ".join(f'"{name}"' for name in self._names) or "NULL"

    def _value(self, name: str) -> str:
        return f'"{name}"' if name in self._names else "0"

    def _counts(self, counts: Iterable[Any]) -> Counts:
        return {name: n for name, n in zip(self._names, counts, strict=False) if n}
