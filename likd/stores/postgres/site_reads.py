"""What PostgreSQL tells of sites: their totals and past, and lists of their pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from psycopg import sql

from likd.model import Counts, Rows
from likd.stores.postgres import counts as counts_of
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.history import History, Piece
from likd.stores.postgres.sites import ALL, of_site, site_of
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

LEADERS_MAX = 1500
"""Of a list of more than PAGES_SCANNED_MAX pages so many are looked at for what they have ever."""
ACTIVE_MAX = 500
"""And so many for what they got in the newest hour, and today."""


@attrs.define
class SiteReads:
    """Reads in the transactions of its caller. What it returns is as of the mark that the caller read there."""

    history: History

    def sites(self, connection: Connection, spans: Sequence[Span], hosts: Sequence[str] | None) -> SitesRead:
        """The sites with the most likes, or those of `hosts`, and their past."""
        (total,) = self._row(
            connection, "SELECT count(*) FROM (SELECT 1 FROM likd_sites GROUP BY host HAVING sum(urls) > 0) AS s"
        )
        rows = connection.execute(
            sql.SQL(
                "SELECT host, sum(urls)::bigint, {sums} FROM likd_sites AS t {where} GROUP BY host"
                " ORDER BY sum({likes}) DESC, host LIMIT {limit}"
            ).format(
                sums=self._sums,
                where=sql.SQL("" if hosts is None else "WHERE host = ANY(%s)"),
                likes=self._value("likes"),
                limit=sql.Literal(SITES_MAX),
            ),
            [] if hosts is None else [list(hosts)],
        ).fetchall()
        listed = [(host, urls, self._counts(counts)) for host, urls, *counts in rows if host]
        if hosts is not None and "" in hosts:
            urls, *counts = self._row(connection, sql.SQL("SELECT sum(urls)::bigint, {} FROM likd_sites"), self._sums)
            listed.append(("", urls or 0, self._counts(counts)))
        pasts = [self._pasts(connection, [site_of(host) for host, _, _ in listed], span) for span in spans]
        found = [
            Site(host, urls, counts, [past.get(site_of(host), []) for past in pasts]) for host, urls, counts in listed
        ]
        return SitesRead(0, found, total, 1.0)

    def past(self, connection: Connection, spans: Sequence[Span], url: str, site: str) -> PastRead:
        """The past of a URL, a site, or all."""
        name = url or (site_of(site) if site else ALL)
        return PastRead(0, [self._pasts(connection, [name], span).get(name, []) for span in spans])

    def pages(self, connection: Connection, query: PagesQuery) -> PagesRead:
        """The pages of one part of a list."""
        total, urls = self._listed(connection, query) if query.limit else (0, [])
        of_named = attrs.evolve(query, trend=None) if query.limit else query
        named = self._pages(connection, query.without, of_named)
        return PagesRead(0, self._pages(connection, urls, query), named, total, 1.0)

    def _listed(self, connection: Connection, query: PagesQuery) -> tuple[int, list[str]]:
        """How many pages there are, and which of them are on this part of a list."""
        where, values = _matching(query)
        every: sql.Composable = sql.SQL("SELECT t.url FROM likd_counts AS t WHERE {} GROUP BY t.url").format(where)
        if query.search:
            (total,) = self._row(connection, sql.SQL("SELECT count(*) FROM ({}) AS m"), every, values=values)
        else:
            host = sql.SQL("WHERE host = {}").format(sql.Literal(query.site)) if query.site else sql.SQL("")
            (total,) = self._row(connection, sql.SQL("SELECT coalesce(sum(urls), 0)::bigint FROM likd_sites {}"), host)
        if total > PAGES_SCANNED_MAX and query.by != "all":
            some = self._leading(connection, query, where, values)
            every, values = sql.SQL('SELECT unnest(%s::text[]) COLLATE "C" AS url'), [some]
        return total, self._ranked(connection, query, every, values)

    def _leading(
        self, connection: Connection, query: PagesQuery, where: sql.Composable, values: Sequence[object]
    ) -> list[str]:
        """Pages of a long list that may be the first: those that have the most ever, and those that got most lately."""
        by = self._value("impressions" if query.by in ("views", "rate") else "likes")
        leaders = sql.SQL(
            "SELECT t.url FROM likd_counts AS t WHERE ({by}) > 0 AND {where} ORDER BY ({by}) DESC, t.url LIMIT"
            " {limit} * (SELECT count(*) + 1 FROM likd_nodes WHERE NOT retired)"
        ).format(by=by, where=where, limit=sql.Literal(LEADERS_MAX))
        found = {url for (url,) in connection.execute(leaders, values)}
        for table, unit, units in (("likd_minutes", "minute", 60), ("likd_hours", "hour", 24)):
            active = sql.SQL(
                "SELECT t.url FROM {table} AS t WHERE t.{unit} > (SELECT max({unit}) FROM {table}) - {units}"
                " AND t.url NOT LIKE '//%%' AND {where} GROUP BY t.url ORDER BY sum({by}) DESC LIMIT {limit}"
            ).format(
                table=sql.Identifier(table),
                unit=sql.Identifier(unit),
                units=sql.Literal(units),
                where=where,
                by=by,
                limit=sql.Literal(ACTIVE_MAX),
            )
            found.update(url for (url,) in connection.execute(active, values))
        return sorted(found)

    def _ranked(
        self, connection: Connection, query: PagesQuery, source: sql.Composable, values: Sequence[object]
    ) -> list[str]:
        """Those pages among `source` that are on this part of the list, in their order."""
        likes, views, zero = self._value("likes"), self._value("impressions"), sql.SQL("0::bigint")
        parts: list[sql.Composable] = [
            sql.SQL("SELECT url, 0::bigint AS likes, 0::bigint AS views, 0::bigint AS before FROM listed WHERE false")
        ]
        if query.by != "all":
            parts += [_piece(each, likes, views, zero) for each in self.history.pieces(*query.period)]
        if query.by == "change":
            parts += [_piece(each, zero, zero, likes) for each in self.history.pieces(*query.before)]
        value = {
            "likes": "coalesce(sums.likes, 0)::bigint",
            "change": "coalesce(sums.likes - sums.before, 0)::bigint",
            "views": "coalesce(sums.views, 0)::bigint",
            "rate": "coalesce(sums.likes::float8 / nullif(sums.views, 0)::float8, 0)",
            "all": "net",
        }[query.by]
        after, last = _after(query)
        rows = connection.execute(
            sql.SQL(
                "WITH listed AS MATERIALIZED ({source}), pieces AS ({pieces}), sums AS MATERIALIZED (SELECT url,"
                " sum(likes) AS likes, sum(views) AS views, sum(before) AS before FROM pieces GROUP BY url), totals AS"
                " (SELECT t.url, sum({net})::bigint AS net FROM listed JOIN likd_counts AS t USING (url)"
                " WHERE t.url <> ALL(%s::text[]) GROUP BY t.url),"
                " ranked AS (SELECT url, net, {sign}({value}) AS value FROM totals LEFT JOIN sums USING (url))"
                " SELECT url FROM ranked WHERE {after} ORDER BY value DESC, net DESC, url LIMIT {limit}"
            ).format(
                source=source,
                pieces=sql.SQL(" UNION ALL ").join(parts),
                net=sql.SQL("{} - {}").format(self._value("likes"), self._value("unlikes")),
                sign=sql.SQL("-" if query.ascending else ""),
                value=sql.SQL(value),
                after=after,
                limit=sql.Literal(query.limit),
            ),
            [*values, list(query.without), *last],
        )
        return [url for (url,) in rows]

    def _pages(self, connection: Connection, urls: Sequence[str], query: PagesQuery) -> list[Page]:
        """All that is told of these pages, in their order."""
        if not urls:
            return []
        totals = counts_of.read(connection, self.history.names, urls)
        period = self._in(connection, urls, query.period)
        before = self._in(connection, urls, query.before)
        trends = self._pasts(connection, urls, query.trend) if query.trend is not None else {}
        return [
            Page(url, totals[url], period.get(url, {}), before.get(url, {}), trends.get(url, []))
            for url in urls
            if url in totals
        ]

    def _in(self, connection: Connection, urls: Sequence[str], stretch: tuple[int, int]) -> Rows:
        """What each of these pages got from the first until before the second time."""
        found: Rows = {}
        for table, where in self.history.pieces(*stretch):
            query = sql.SQL(
                "SELECT t.url, {} FROM {} AS t JOIN likd_nodes AS nodes USING (node)"
                " WHERE t.url = ANY(%s) AND {} GROUP BY t.url"
            ).format(self._sums, sql.Identifier(table), where)
            for url, *counts in connection.execute(query, [list(urls)]):
                mine = found.setdefault(url, {})
                for name, n in self._counts(counts).items():
                    mine[name] = mine.get(name, 0) + n
        return found

    def _pasts(self, connection: Connection, urls: Sequence[str], span: Span) -> dict[str, Past]:
        return self.history.read_all(connection, urls, span.unit, span.begin, span.end)

    @property
    def _sums(self) -> sql.Composable:
        return sql.SQL(", ").join(map(counts_of.summed, self.history.names))

    def _value(self, name: str) -> sql.Composable:
        return sql.SQL("t.{}").format(sql.Identifier(name)) if name in self.history.names else sql.SQL("0::bigint")

    def _counts(self, counts: Sequence[Any]) -> Counts:
        return {name: n for name, n in zip(self.history.names, counts, strict=True) if n}

    def _row(
        self, connection: Connection, query: Any, *parts: sql.Composable, values: Sequence[object] = ()
    ) -> Sequence[Any]:
        row: Sequence[Any] | None = connection.execute(query.format(*parts) if parts else query, values).fetchone()
        assert row is not None
        return row


def _piece(piece: Piece, likes: sql.Composable, views: sql.Composable, before: sql.Composable) -> sql.Composable:
    table, where = piece
    return sql.SQL(
        "SELECT t.url, {}, {}, {} FROM listed JOIN {} AS t USING (url) JOIN likd_nodes AS nodes USING (node) WHERE {}"
    ).format(likes, views, before, sql.Identifier(table), where)


def _matching(query: PagesQuery) -> tuple[sql.Composable, list[object]]:
    """Which rows are of the pages that are asked for, and the values for that."""
    where, values = of_site(query.site) if query.site else (sql.SQL("true"), [])
    if not query.search:
        return where, list(values)
    literal = query.search.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return sql.SQL("{} AND t.url ILIKE %s").format(where), [*values, f"%{literal}%"]


def _after(query: PagesQuery) -> tuple[sql.Composable, tuple[object, ...]]:
    """The condition to come after where the list goes on, and its values."""
    if query.after is None:
        return sql.SQL("true"), ()
    n, net, url = query.after
    if query.ascending:
        n = -n
    return sql.SQL("(value < %s OR (value = %s AND (net < %s OR (net = %s AND url > %s))))"), (n, n, net, net, url)
