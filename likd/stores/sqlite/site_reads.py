"""Reads about sites from the embedded store: their totals and past, and lists of their pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import msgspec

from likd.model import Counts
from likd.stores.sites import (
    PAGES_SCANNED_MAX,
    SITES_MAX,
    Page,
    PagesQuery,
    PagesRead,
    Past,
    PastRead,
    Site,
    SitesRead,
    Span,
)
from likd.stores.sqlite.history import History
from likd.stores.sqlite.leaders import Leaders
from likd.stores.sqlite.sites import ALL, Sites, prefixes_of

LEADERS_FIRST = 500
LEADERS_MAX = 1500
"""If more than PAGES_SCANNED_MAX pages are listed, how many of the all-time leaders are examined first."""
ACTIVE_MAX = 500
"""And how many of those that got the most in the newest hour and today."""
_NET = '"likes" - "unlikes"'


class SiteReads:
    """Reads from the connection of its caller, who owns the snapshot."""

    def __init__(self, history: History, sites: Sites, leaders: Leaders) -> None:
        self._history = history
        self._sites = sites
        self._leaders = leaders
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
            rows = connection.execute(f"{select} JOIN json_each(?) ON host = value {order}", (_array(hosts),))
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

    def pages(self, connection: sqlite3.Connection, applied: int, query: PagesQuery) -> PagesRead:
        """The pages of one part of a list."""
        matching, values = _matching(query)
        total, ids = 0, []
        if query.limit and query.search:
            # This reads all addresses, so do it only once.
            (found,) = connection.execute(f"SELECT json_group_array(id) FROM ({matching})", values).fetchone()
            some = msgspec.json.decode(found, type=list[int])
            total = len(some)
            chosen = "SELECT value AS id FROM json_each(?)"
            ids = [row_id for row_id, _ in self._ranked(connection, query, chosen, [_ids(some[:PAGES_SCANNED_MAX])])]
        elif query.limit:
            total, ids = self._listed(connection, query, matching, values)
        named = []
        if query.without:
            listed = "SELECT counts.id FROM counts JOIN json_each(?) ON url = value"
            named = [row[0] for row in connection.execute(listed, (_array(query.without),))]
        share = self._sites.share(connection)
        of_named = attrs.evolve(query, trend=None) if query.limit else query
        return PagesRead(
            applied, self._pages(connection, ids, query), self._pages(connection, named, of_named), total, share
        )

    def _listed(
        self, connection: sqlite3.Connection, query: PagesQuery, matching: str, values: Sequence[str]
    ) -> tuple[int, list[int]]:
        """How many pages there are, and which of them are on this part of a list."""
        total = self._total(connection, query, matching, values)
        if total > PAGES_SCANNED_MAX and query.by == "all" and not query.ascending:
            return total, self._leading(connection, query, matching, values)
        return total, self._ranked_of_all(connection, query, total, matching, values)

    def _total(self, connection: sqlite3.Connection, query: PagesQuery, matching: str, values: Sequence[str]) -> int:
        if self._sites.share(connection) < 1:
            (total,) = connection.execute(f"SELECT count(*) FROM ({matching})", values).fetchone()
            return int(total)
        where, host = ("WHERE host = ?", [query.site]) if query.site else ("", [])
        (total,) = connection.execute(f"SELECT coalesce(sum(urls), 0) FROM sites {where}", host).fetchone()
        return int(total)

    def _ranked_of_all(
        self, connection: sqlite3.Connection, query: PagesQuery, total: int, matching: str, values: Sequence[str]
    ) -> list[int]:
        """The ids of the pages on this part of a list, even if there are too many to examine all.

        No page has more of a count in a period than in all time. So it is enough to examine the leaders, if the last
        page on this part has more than the last leader has in all time.
        """
        if total <= PAGES_SCANNED_MAX:
            return [row_id for row_id, _ in self._ranked(connection, query, matching, values)]
        by = "impressions" if query.by in ("views", "rate") and "impressions" in self._names else "likes"
        leaders = self._leaders.first(connection, by, LEADERS_MAX)
        chosen = f"SELECT counts.id FROM json_each(?) CROSS JOIN counts ON counts.id = value {_where(matching)}"
        first = leaders[:LEADERS_FIRST]
        if query.by in ("likes", "views", "change") and not query.ascending and len(first) == LEADERS_FIRST:
            ranked = self._ranked(connection, query, chosen, [_ids(row_id for row_id, _ in first), *values])
            if len(ranked) == query.limit and ranked[-1][1] > first[-1][1]:
                return [row_id for row_id, _ in ranked]
        some_ids = {row_id for row_id, _ in leaders}.union(self._active(connection, by))
        return [row_id for row_id, _ in self._ranked(connection, query, chosen, [_ids(sorted(some_ids)), *values])]

    def _active(self, connection: sqlite3.Connection, by: str) -> list[int]:
        """Those that got the most of `by` in the newest hours."""
        found: list[int] = []
        for table, span in (("minutes", "hour"), ("hours", "day")):
            query = f"SELECT url, {self._value(by)} AS n FROM {table} WHERE {span} = (SELECT max({span}) FROM {table})"
            some = connection.execute(
                f"SELECT url FROM ({query} AND url > 0 LIMIT {10 * ACTIVE_MAX}) ORDER BY n DESC LIMIT {ACTIVE_MAX}"
            )
            found += [row_id for (row_id,) in some]
        return found

    def _leading(
        self, connection: sqlite3.Connection, query: PagesQuery, matching: str, values: Sequence[str]
    ) -> list[int]:
        """The ids of the pages with the most likes minus unlikes of all time, from where the list continues."""
        after, last = _after(query, "value")
        columns = f"id, url, {_NET} AS value, {_NET} AS net"
        order = f"ORDER BY value DESC, url LIMIT {query.limit}"
        left_out = "url NOT IN (SELECT value FROM json_each(?))"
        among = self._leaders.among(connection, "net") if self._leaders.has("net") else "true"
        for condition in dict.fromkeys([among, "true"]):
            hint = ' INDEXED BY "top_net"' if condition != "true" else ""
            rows = connection.execute(
                f"SELECT id FROM (SELECT {columns} FROM counts{hint} WHERE {condition}) {_where(matching)}"
                f" AND {left_out} AND {after} {order}",
                (*values, _array(query.without), *last),
            ).fetchall()
            if len(rows) == query.limit:
                break
        return [row_id for (row_id,) in rows]

    def _ranked(
        self, connection: sqlite3.Connection, query: PagesQuery, source: str, values: Sequence[object]
    ) -> list[tuple[int, float]]:
        """The ids of the pages in `source` that are on this part of the list, and what they are ranked by."""
        likes, views = self._value("likes"), self._value("impressions")
        net = f"{likes} - {self._value('unlikes')}"
        sums = ["SELECT id, 0 AS likes, 0 AS views, 0 AS before FROM listed WHERE false"]
        if query.by != "all":
            for table, where in self._history.pieces(connection, *query.period):
                joined = f"FROM listed CROSS JOIN {table} ON url = listed.id WHERE {where}"
                sums.append(f"SELECT listed.id, {likes}, {views}, 0 {joined}")
        if query.by == "change":
            for table, where in self._history.pieces(connection, *query.before):
                joined = f"FROM listed CROSS JOIN {table} ON url = listed.id WHERE {where}"
                sums.append(f"SELECT listed.id, 0, 0, {likes} {joined}")
        value = {
            "likes": "coalesce(sums.likes, 0)",
            "change": "coalesce(sums.likes - sums.before, 0)",
            "views": "coalesce(sums.views, 0)",
            "rate": "coalesce(sums.likes * 1.0 / nullif(sums.views, 0), 0.0)",
            "all": "net",
        }[query.by]
        sign = "-" if query.ascending else ""
        after, last = _after(query, "value")
        rows = connection.execute(
            f"WITH listed AS MATERIALIZED ({source}), pieces AS ({' UNION ALL '.join(sums)}),"
            " sums AS MATERIALIZED"
            " (SELECT id, sum(likes) AS likes, sum(views) AS views, sum(before) AS before FROM pieces GROUP BY id),"
            f" totals AS (SELECT id, url, {net} AS net FROM listed CROSS JOIN counts USING (id)"
            " WHERE url NOT IN (SELECT value FROM json_each(?))),"
            f" ranked AS (SELECT id, url, net, {sign}({value}) AS value FROM totals LEFT JOIN sums USING (id))"
            f" SELECT id, value FROM ranked WHERE {after} ORDER BY value DESC, net DESC, url LIMIT {query.limit}",
            (*values, _array(query.without), *last),
        )
        return rows.fetchall()

    def _pages(self, connection: sqlite3.Connection, ids: Sequence[int], query: PagesQuery) -> list[Page]:
        """The complete rows of the pages with these `ids`, in order."""
        if not ids:
            return []
        listed = msgspec.json.encode(list(ids)).decode()
        trends = self._pasts(connection, ids, query.trend) if query.trend is not None else {}
        period = self._sums(connection, listed, query.period)
        before = self._sums(connection, listed, query.before)
        rows = connection.execute(
            f"SELECT counts.id, url, {self._columns} FROM json_each(?) CROSS JOIN counts ON counts.id = value",
            (listed,),
        )
        pages = {
            row_id: Page(
                url,
                self._counts(counts),
                period.get(row_id, {}),
                before.get(row_id, {}),
                trends.get(row_id, []),
            )
            for row_id, url, *counts in rows.fetchall()
        }
        return [pages[row_id] for row_id in ids if row_id in pages]

    def _sums(self, connection: sqlite3.Connection, listed: str, stretch: tuple[int, int]) -> dict[int, Counts]:
        """What each of these pages got from the first time up to the second."""
        found: dict[int, Counts] = {}
        for table, where in self._history.pieces(connection, *stretch):
            query = f"SELECT url, {self._columns} FROM json_each(?) CROSS JOIN {table} ON url = value WHERE {where}"
            for row_id, *counts in connection.execute(query, (listed,)):
                mine = found.setdefault(row_id, {})
                for name, n in zip(self._names, counts, strict=True):
                    if n:
                        mine[name] = mine.get(name, 0) + n
        return found

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


def _matching(query: PagesQuery) -> tuple[str, list[str]]:
    """A query for the ids of the requested pages."""
    values: list[str] = []
    where = "true"
    if query.site:
        where = "(" + " OR ".join("(url >= ? AND url < ?)" for _ in prefixes_of(query.site)) + ")"
        values += [bound for pair in prefixes_of(query.site) for bound in pair]
    if query.search:
        where += " AND url LIKE ? ESCAPE '\\'"
        values.append(f"%{_literal(query.search)}%")
    return f"SELECT id FROM counts WHERE {where}", values


def _where(matching: str) -> str:
    """The condition of a query for pages."""
    return f"WHERE {matching.partition(' WHERE ')[2]}"


def _after(query: PagesQuery, value: str) -> tuple[str, tuple[object, ...]]:
    """The condition for coming after the point where the list continues, and its values."""
    if query.after is None:
        return "true", ()
    n, net, url = query.after
    if query.ascending:
        n = -n
    return f"({value} < ? OR ({value} = ? AND (net < ? OR (net = ? AND url > ?))))", (n, n, net, net, url)


def _literal(text: str) -> str:
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _ids(row_ids: Iterable[int]) -> str:
    return msgspec.json.encode(list(row_ids)).decode()


def _array(texts: Sequence[str]) -> str:
    return msgspec.json.encode(list(texts)).decode()
