"""Lists of pages out of the embedded store, by what they got in a period.

Of a list of few pages all are looked at. Of one of many first those that may lead are, and then the others, in the
order of their addresses, part by part: so no part costs more than another, however many there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import attrs
import msgspec

from likd.model import Counts
from likd.stores.sites import PAGES_SCANNED_MAX, Page, PagesQuery, PagesRead, prefixes_of
from likd.stores.sqlite.history import History
from likd.stores.sqlite.leaders import Leaders
from likd.stores.sqlite.sites import Sites
from likd.stores.sqlite.staging import json_array
from likd.stores.sqlite.sums import summed

LEADERS_MAX = 800
"""Of many pages those may lead that have the most ever, so many,"""
ACTIVE_MAX = 200
"""those that got the most in the newest hour, and today, so many of each,"""
BEGINNINGS_MAX = 100
"""and those whose address begins with what is searched."""
PART_URLS = 50_000
"""So many addresses are searched for one part of a list: some twenty milliseconds,"""
PART_PAGES = 2000
"""or as many as it takes to find so many."""
_NET = '"likes" - "unlikes"'
_END = chr(0x10FFFF)


class PageLists:
    """Reads from the connection of its caller, who owns the snapshot."""

    def __init__(self, history: History, sites: Sites, leaders: Leaders) -> None:
        self._history = history
        self._sites = sites
        self._leaders = leaders
        self._names: tuple[str, ...] = ()

    def open(self, names: tuple[str, ...]) -> None:
        """There are these counts."""
        self._names = names

    def pages(self, connection: sqlite3.Connection, applied: int, query: PagesQuery) -> PagesRead:
        """The pages of one part of a list."""
        total: int | None = 0
        ids: list[int] = []
        goes_on: str | None = None
        if query.limit:
            total = self._total(connection, query.site)
            if total <= PAGES_SCANNED_MAX:
                ids = self._all(connection, query)
                total = len(ids) if query.search else total
                ids = self._ranked(connection, query, ids)
            elif query.by == "all" and not query.ascending and not query.search:
                ids = self._leading(connection, query)
            else:
                total = None if query.search else total
                ids, goes_on = self._of_many(connection, query)
        named = []
        if query.without:
            listed = "SELECT counts.id FROM counts JOIN json_each(?) ON url = value"
            named = [row[0] for row in connection.execute(listed, (json_array(query.without),))]
        of_named = attrs.evolve(query, trend=None) if query.limit else query
        return PagesRead(
            applied,
            self._pages(connection, ids, query),
            self._pages(connection, named, of_named),
            total,
            self._sites.share(connection),
            goes_on,
        )

    def _total(self, connection: sqlite3.Connection, site: str) -> int:
        """How many pages there are."""
        if self._sites.share(connection) < 1:
            where, values = _matching(site, "")
            (total,) = connection.execute(f"SELECT count(*) FROM counts WHERE {where}", values).fetchone()
            return int(total)
        where, host = ("WHERE host = ?", [site]) if site else ("", [])
        (total,) = connection.execute(f"SELECT coalesce(sum(urls), 0) FROM sites {where}", host).fetchone()
        return int(total)

    def _all(self, connection: sqlite3.Connection, query: PagesQuery) -> list[int]:
        where, values = _matching(query.site, query.search)
        return _read_ids(connection, f"SELECT id FROM counts WHERE {where}", values)

    def _of_many(self, connection: sqlite3.Connection, query: PagesQuery) -> tuple[list[int], str | None]:
        """The ids on this part of a list of many, and where the addresses of the next part come after, if any do.

        None has more of a count in a period than ever: so those that have the most ever come first in most lists.
        """
        first = self._may_lead(connection, query)
        if query.since is None and not query.search:
            return self._ranked(connection, query, first), ""
        part, goes_on = self._part(connection, query)
        some = {*part, *first} if query.since is None else set(part).difference(first)
        return self._ranked(connection, query, sorted(some)), goes_on

    def _may_lead(self, connection: sqlite3.Connection, query: PagesQuery) -> list[int]:
        """The ids of those that may have more than all others."""
        by = "impressions" if query.by in ("views", "rate") and "impressions" in self._names else "likes"
        found = {row_id for row_id, _ in self._leaders.first(connection, by, LEADERS_MAX)}
        for table, span in (("minutes", "hour"), ("hours", "day")):
            newest = f"SELECT url, {self._value(by)} AS n FROM {table} WHERE {span} = (SELECT max({span}) FROM {table})"
            some = f"SELECT url AS id FROM ({newest} AND url > 0 LIMIT {10 * ACTIVE_MAX})"
            found.update(_read_ids(connection, f"{some} ORDER BY n DESC LIMIT {ACTIVE_MAX}", ()))
        if query.search:
            for begin in (query.search, f"https://{query.search}", f"http://{query.search}"):
                some = f"SELECT id FROM counts WHERE url >= ? AND url < ? LIMIT {BEGINNINGS_MAX}"
                found.update(_read_ids(connection, some, (begin, begin + _END)))
        if not query.site and not query.search:
            return sorted(found)
        where, values = _matching(query.site, query.search)
        chosen = f"SELECT counts.id FROM json_each(?) CROSS JOIN counts ON counts.id = value WHERE {where}"
        return _read_ids(connection, chosen, (_encode(sorted(found)), *values))

    def _part(self, connection: sqlite3.Connection, query: PagesQuery) -> tuple[list[int], str | None]:
        """The ids that match among the next addresses, and the last of these; None if they are the last of all."""
        where, values = _matching("", query.search)
        found: list[int] = []
        for low, high in prefixes_of(query.site) if query.site else [("", _END)]:
            # SQLite heeds one bound on each side.
            begin, low = (">", query.since) if query.since is not None and query.since >= low else (">=", low)
            last = connection.execute(
                f"SELECT url FROM counts WHERE url {begin} ? AND url < ? ORDER BY url LIMIT 1 OFFSET ?",
                (low, high, PART_URLS - 1),
            ).fetchone()
            end = last[0] if last else high
            some = f"url {begin} ? AND url <= ? AND {where} ORDER BY url LIMIT {PART_PAGES}"
            (text,) = connection.execute(
                f"SELECT json_group_array(json_array(id, url)) FROM (SELECT id, url FROM counts WHERE {some})",
                (low, end, *values),
            ).fetchone()
            rows = msgspec.json.decode(text, type=list[tuple[int, str]])
            found += [row_id for row_id, _ in rows]
            if len(rows) == PART_PAGES:
                return found, rows[-1][1]
            if last is not None:
                return found, end
        return found, None

    def _leading(self, connection: sqlite3.Connection, query: PagesQuery) -> list[int]:
        """The ids of the pages with the most likes less unlikes ever, from where the list goes on."""
        matching, values = _matching(query.site, "")
        after, last = _after(query)
        columns = f"id, url, {_NET} AS value, {_NET} AS net"
        order = f"ORDER BY value DESC, url LIMIT {query.limit}"
        left_out = "url NOT IN (SELECT value FROM json_each(?))"
        among = self._leaders.among(connection, "net") if self._leaders.has("net") else "true"
        for condition in dict.fromkeys([among, "true"]):
            hint = ' INDEXED BY "top_net"' if condition != "true" else ""
            rows = connection.execute(
                f"SELECT id FROM (SELECT {columns} FROM counts{hint} WHERE {condition}) WHERE {matching}"
                f" AND {left_out} AND {after} {order}",
                (*values, json_array(query.without), *last),
            ).fetchall()
            if len(rows) == query.limit:
                break
        return [row_id for (row_id,) in rows]

    def _ranked(self, connection: sqlite3.Connection, query: PagesQuery, ids: Sequence[int]) -> list[int]:
        """The ids of those pages among `ids` that are on this part of the list, in its order."""
        net = f"{self._value('likes')} - {self._value('unlikes')}"
        sign = "-" if query.ascending else ""
        after, last = _after(query)
        return _read_ids(
            connection,
            "WITH ranked AS MATERIALIZED"
            f" (SELECT counts.id, url, {net} AS net, {sign}({self._rank(connection, query, net)}) AS value"
            " FROM json_each(?) AS listed CROSS JOIN counts ON counts.id = listed.value"
            " WHERE url NOT IN (SELECT value FROM json_each(?)))"
            f" SELECT id FROM ranked WHERE {after} ORDER BY value DESC, net DESC, url LIMIT {query.limit}",
            (_encode(ids), json_array(query.without), *last),
        )

    def _rank(self, connection: sqlite3.Connection, query: PagesQuery, net: str) -> str:
        """The expression for what a row of `counts` is ranked by. A sum is a float, which can't overflow."""
        likes, views = self._value("likes"), self._value("impressions")
        columns, value = {
            "likes": (f"{likes} AS n", "total(n)"),
            "change": (f"{likes} AS n", "total(n)"),
            "views": (f"{views} AS n", "total(n)"),
            "rate": (f"{likes} AS n, {views} AS views", "coalesce(total(n) / nullif(total(views), 0), 0.0)"),
            "all": ("", net),
        }[query.by]
        if query.by == "all":
            return value
        pieces = [(columns, *piece) for piece in self._history.pieces(connection, *query.period)]
        if query.by == "change":
            pieces += [(f"-{likes}", *piece) for piece in self._history.pieces(connection, *query.before)]
        rows = " UNION ALL ".join(
            f"SELECT {columns} FROM {table} WHERE url = counts.id AND {where}" for columns, table, where in pieces
        )
        return f"(SELECT {value} FROM ({rows}))"

    def _pages(self, connection: sqlite3.Connection, ids: Sequence[int], query: PagesQuery) -> list[Page]:
        """All that is told of the pages with these `ids`, in their order."""
        if not ids:
            return []
        listed = _encode(ids)
        trends = {}
        if query.trend is not None:
            trends = self._history.read_all(connection, ids, query.trend.unit, query.trend.begin, query.trend.end)
        period = self._sums(connection, listed, query.period)
        before = self._sums(connection, listed, query.before)
        columns = "".join(f', "{name}"' for name in self._names)
        rows = connection.execute(
            f"SELECT counts.id, url{columns} FROM json_each(?) CROSS JOIN counts ON counts.id = value",
            (listed,),
        )
        pages = {
            row_id: Page(
                url,
                {name: n for name, n in zip(self._names, counts, strict=True) if n},
                period.get(row_id, {}),
                before.get(row_id, {}),
                trends.get(row_id, []),
            )
            for row_id, url, *counts in rows.fetchall()
        }
        return [pages[row_id] for row_id in ids if row_id in pages]

    def _sums(self, connection: sqlite3.Connection, listed: str, stretch: tuple[int, int]) -> dict[int, Counts]:
        """What each of these pages got from the first until before the second time."""
        found: dict[int, Counts] = {}
        sums = "".join(f", {summed(name)}" for name in self._names)
        for table, where in self._history.pieces(connection, *stretch):
            query = f"SELECT url{sums} FROM json_each(?) CROSS JOIN {table} ON url = value WHERE {where} GROUP BY url"
            for row_id, *counts in connection.execute(query, (listed,)):
                mine = found.setdefault(row_id, {})
                for name, n in zip(self._names, counts, strict=True):
                    if n:
                        mine[name] = mine.get(name, 0) + n
        return found

    def _value(self, name: str) -> str:
        return f'"{name}"' if name in self._names else "0"


def _matching(site: str, search: str) -> tuple[str, list[str]]:
    """The condition to be a page of `site`, "" for all, with `search` in its address, and its values."""
    values: list[str] = []
    where = "true"
    if site:
        where = "(" + " OR ".join("(url >= ? AND url < ?)" for _ in prefixes_of(site)) + ")"
        values += [bound for pair in prefixes_of(site) for bound in pair]
    if search:
        where += " AND url LIKE ? ESCAPE '\\'"
        values.append(f"%{_literal(search)}%")
    return where, values


def _after(query: PagesQuery) -> tuple[str, tuple[object, ...]]:
    """The condition to come after where the list goes on, and its values."""
    if query.after is None:
        return "true", ()
    n, net, url = query.after
    if query.ascending:
        n = -n
    return "(value < ? OR (value = ? AND (net < ? OR (net = ? AND url > ?))))", (n, n, net, net, url)


def _literal(text: str) -> str:
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _read_ids(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> list[int]:
    """The ids that `query` finds, as one row, which the interpreter is given up for once."""
    (text,) = connection.execute(f"SELECT json_group_array(id) FROM ({query})", values).fetchone()
    return msgspec.json.decode(text, type=list[int])


def _encode(row_ids: Iterable[int]) -> str:
    return msgspec.json.encode(list(row_ids)).decode()
