"""Sums by site in PostgreSQL, written in each transaction: totals, and a history as URLs have one.

In the history a site is the URL "//" and its host, and all together are "//": so they are rolled up, removed and
retired as all else there is, by each node for itself. No URL that is counted begins so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from psycopg import sql

from likd.model import Rows, host_of
from likd.stores.postgres import arrays
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.counts import SUM_MAX, given, growth, upsert
from likd.stores.postgres.history import UNITS, spans
from likd.stores.sites import prefixes_of

ALL = "//"
_HOST = r"substring(url FROM '^[a-z]+://(?:[^/@]*@)?(\[[^]]*\]|[^/:]*)')"
"""As `host_of` has it."""


def site_of(host: str) -> str:
    """What the history has the site `host` as; "" is all."""
    return ALL + host


def literals(names: Sequence[str], rows: Rows) -> tuple[tuple[str, ...], list[str]]:
    """Those of `names` that any of `rows` has; and literals of the URLs and of these counts.

    Behind the rows are the sums of their sites and of all.
    """
    columns = arrays.columns(names, rows)
    # What comes before the path stands for the host: to look at it once for each is what takes time.
    prefixes = [url[: url.find("/", 8)] for url in rows]
    hosts = {prefix: host_of(prefix) for prefix in dict.fromkeys(prefixes)}
    sites = list(dict.fromkeys(hosts.values()))
    for column in columns.values():
        by_prefix: defaultdict[str, int] = defaultdict(int)
        for prefix, n in zip(prefixes, column, strict=True):
            by_prefix[prefix] += n
        by_host = dict.fromkeys(sites, 0)
        for prefix, n in by_prefix.items():
            by_host[hosts[prefix]] += n
        # A sum may be more than a row can hold, which stops there.
        column += [min(n, SUM_MAX) for n in by_host.values()]
        column.append(min(sum(by_prefix.values()), SUM_MAX))
    urls = [*rows, *map(site_of, sites), ALL]
    return tuple(columns), [arrays.texts(urls), *map(arrays.numbers, columns.values())]


def totals(node: int, names: Sequence[str]) -> list[sql.Composable]:
    """Parts of a statement that add the table `s`, of URLs and of sums, to the totals of a `node`; the last ends it.

    A URL is new to its site if no node had it: two that see it for the first time in one moment both count it.
    """
    columns = sql.SQL(", ").join([sql.Identifier("urls"), *map(sql.Identifier, names)])
    grown = upsert("likd_counts", ("url", "node"), [sql.SQL("url"), sql.Literal(node)], names, _URLS, seen=True)
    grow = sql.SQL(", ").join([growth("urls"), *map(growth, names)])
    return [
        sql.SQL("made AS ({} RETURNING url, fresh)").format(grown),
        sql.SQL(
            "new AS (SELECT {host} AS host, count(*) AS urls FROM made WHERE fresh AND NOT EXISTS"
            " (SELECT 1 FROM likd_counts AS t WHERE t.url = made.url AND t.node <> {node}) GROUP BY 1)"
        ).format(host=sql.SQL(_HOST), node=sql.Literal(node)),
        sql.SQL(
            "INSERT INTO likd_sites AS t (host, node, {columns}) SELECT s.host, {node}, coalesce(new.urls, 0){names}"
            " FROM (SELECT substr(url, 3) AS host, * FROM s WHERE url LIKE '//_%%') AS s LEFT JOIN new USING (host)"
            " ORDER BY s.host ON CONFLICT (host, node) DO UPDATE SET {grow}"
        ).format(
            columns=columns,
            node=sql.Literal(node),
            names=sql.SQL("").join(sql.SQL(", s.{}").format(sql.Identifier(name)) for name in names),
            grow=grow,
        ),
    ]


def add_totals(connection: Connection, names: Sequence[str], node: int, rows: Rows) -> None:
    """Add `rows` to the totals of `node`, of URLs and of sites."""
    if rows:
        grown, values = literals(names, rows)
        *parts, last = totals(node, grown)
        connection.execute(sql.SQL("WITH {} {}").format(sql.SQL(", ").join([given(grown), *parts]), last), values)


_URLS = sql.SQL("FROM s WHERE url NOT LIKE '//%%' ORDER BY url")


def of_url(url: str) -> tuple[sql.Composable, list[str]]:
    """Which rows are of `url`, and the values for that."""
    return sql.SQL("t.url = %s"), [url]


def of_site(host: str) -> tuple[sql.Composable, list[str]]:
    """Which rows are of URLs of a site, and the values for that."""
    ranges = list(prefixes_of(host))
    where = sql.SQL("({})").format(sql.SQL(" OR ").join([sql.SQL("(t.url >= %s AND t.url < %s)")] * len(ranges)))
    return where, [bound for bounds in ranges for bound in bounds]


def move(connection: Connection, names: Sequence[str], old: str, new: str | None) -> None:
    """What the URL `old` has is of the site of the URL `new` from now on, or of none. Both are as they were."""
    site, target = site_of(host_of(old)), site_of(host_of(new)) if new is not None else None
    if site == target:
        return
    there, values = of_url(old)
    leave(connection, names, there, values, [site] if target else [site, ALL])
    _count(connection, names, there, values, site, sign=-1)
    if target is not None:
        _arrive(connection, names, there, values, target)
        _count(connection, names, there, values, target, sign=1)


def leave(
    connection: Connection, names: Sequence[str], which: sql.Composable, values: Sequence[str], sites: Sequence[str]
) -> None:
    """Take off `sites` what the history has of the URLs of `which`."""
    for table, unit in UNITS:
        less = sql.SQL(", ").join(
            sql.SQL("{0} = greatest(0, a.{0} - gone.{0})").format(sql.Identifier(name)) for name in names
        )
        query = sql.SQL(
            "{spans}, gone AS (SELECT t.{unit}, t.node, {sums} FROM {table} AS t JOIN spans ON t.{unit} = spans.at"
            " WHERE {which} GROUP BY 1, 2) UPDATE {table} AS a SET {less} FROM gone"
            " WHERE a.{unit} = gone.{unit} AND a.node = gone.node AND a.url = ANY(%s)"
        ).format(
            spans=spans(table, unit),
            unit=sql.Identifier(unit),
            table=sql.Identifier(table),
            sums=_sums(names),
            which=which,
            less=less,
        )
        connection.execute(query, [*values, list(sites)])


def count_urls(connection: Connection, node: int, urls: Sequence[str], sign: int) -> None:
    """So many URLs more, or less, are of their sites."""
    connection.execute(
        sql.SQL(
            "INSERT INTO likd_sites AS t (host, node, urls) SELECT {host}, %s, %s * count(*) FROM unnest(%s::text[])"
            " AS u (url) GROUP BY 1 ON CONFLICT (host, node) DO UPDATE SET urls = t.urls + excluded.urls"
        ).format(host=sql.SQL(_HOST)),
        (node, sign, list(urls)),
    )


def _arrive(
    connection: Connection, names: Sequence[str], which: sql.Composable, values: Sequence[str], site: str
) -> None:
    for table, unit in UNITS:
        source = sql.SQL("FROM come")
        keys = [sql.Identifier(unit), sql.Literal(site), sql.SQL("node")]
        query = sql.SQL(
            "{spans}, come AS (SELECT t.{unit}, t.node, {sums} FROM {table} AS t JOIN spans ON t.{unit} = spans.at"
            " WHERE {which} GROUP BY 1, 2) {add}"
        ).format(
            spans=spans(table, unit),
            unit=sql.Identifier(unit),
            table=sql.Identifier(table),
            sums=_sums(names),
            which=which,
            add=upsert(table, (unit, "url", "node"), keys, names, source),
        )
        connection.execute(query, values)


def _count(
    connection: Connection, names: Sequence[str], which: sql.Composable, values: Sequence[str], site: str, *, sign: int
) -> None:
    """Add the counts of the URLs of `which` to the totals of a site, or take them off."""
    if sign > 0:
        columns = [sql.Literal(site[2:]), sql.SQL("node")]
        source = sql.SQL("FROM likd_counts AS t WHERE {}").format(which)
        added = upsert("likd_sites", ("host", "node"), columns, names, source)
        connection.execute(sql.SQL("{}").format(added), values)
        return
    less = sql.SQL(", ").join(sql.SQL("{0} = a.{0} - t.{0}").format(sql.Identifier(name)) for name in names)
    query = sql.SQL("UPDATE likd_sites AS a SET {} FROM likd_counts AS t WHERE a.host = {} AND a.node = t.node AND {}")
    connection.execute(query.format(less, sql.Literal(site[2:]), which), values)


def _sums(names: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL("sum(t.{0})::bigint AS {0}").format(sql.Identifier(name)) for name in names)
