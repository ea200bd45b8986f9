"""The totals in PostgreSQL: rows of `likd_counts`, added up over all nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

from likd.model import Rows
from likd.stores.postgres import arrays
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.schema import value

SUM_MAX = 2**63 - 1


def growth(name: str) -> sql.Composable:
    """SQL by which a row's count grows by the one that was to be inserted: up to SUM_MAX."""
    return sql.SQL("{0} = CASE WHEN t.{0} <= {1} - excluded.{0} THEN t.{0} + excluded.{0} ELSE {1} END").format(
        sql.Identifier(name), sql.Literal(SUM_MAX)
    )


def summed(name: str) -> sql.Composable:
    """SQL for the sum of a group's counts, up to SUM_MAX."""
    return sql.SQL("least(sum({}), {})::bigint").format(sql.Identifier(name), sql.Literal(SUM_MAX))


def upsert(
    table: str,
    keys: Sequence[str],
    values: Iterable[sql.Composable],
    names: Sequence[str],
    source: sql.Composable,
    *,
    seen: bool = False,
) -> sql.Composable:
    """A statement that adds the counts `names` of `source` to the rows of `table` with these `keys`.

    `values` are the keys' values in `source`. With `seen`, rows that were there are not `fresh` any more.
    """
    identifiers = [sql.Identifier(name) for name in names]
    changes = [*map(growth, names), *([sql.SQL("fresh = false")] if seen else [])]
    update = sql.SQL("UPDATE SET {}").format(sql.SQL(", ").join(changes)) if changes else sql.SQL("NOTHING")
    return sql.SQL("INSERT INTO {} AS t ({}) SELECT {} {} ON CONFLICT ({}) DO {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join([*map(sql.Identifier, keys), *identifiers]),
        sql.SQL(", ").join([*values, *identifiers]),
        source,
        sql.SQL(", ").join(map(sql.Identifier, keys)),
        update,
    )


def given(names: Sequence[str]) -> sql.Composable:
    """The rows in the literals of `sites.literals`, as a table `s` of URLs and these counts.

    URLs are sorted as the indexes sort them, not by the rules of the database's language.
    """
    types = ["%s::text[]", *("%s::bigint[]" for _ in names)]
    columns = sql.SQL(", ").join([sql.SQL('url COLLATE "C" AS url'), *map(sql.Identifier, names)])
    return sql.SQL("s AS MATERIALIZED (SELECT {} FROM unnest({}) AS s({}))").format(
        columns, sql.SQL(", ".join(types)), sql.SQL(", ").join(map(sql.Identifier, ["url", *names]))
    )


def select(names: Sequence[str]) -> sql.Composable:
    """What to select of the totals, so that `as_rows` can read it."""
    return sql.SQL(", ").join([sql.SQL("url"), *map(summed, names)])


def as_rows(names: Sequence[str], found: Iterable[Sequence[Any]]) -> Rows:
    """Totals as counts."""
    return {url: {name: n for name, n in zip(names, counts, strict=True) if n} for url, *counts in found}


def read(connection: Connection, names: Sequence[str], urls: Sequence[str]) -> Rows:
    """The totals of those `urls` that have any."""
    query = sql.SQL("SELECT {} FROM likd_counts WHERE url = ANY(%s::text[]) GROUP BY url").format(select(names))
    return as_rows(names, connection.execute(query, [arrays.texts(urls)]))


def page(connection: Connection, names: Sequence[str], after: str, limit: int) -> Rows:
    """The totals of the next `limit` URLs after `after`."""
    query = sql.SQL(
        "SELECT {} FROM likd_counts WHERE url IN (SELECT DISTINCT url FROM likd_counts WHERE url > %s ORDER BY url"
        " LIMIT %s) GROUP BY url ORDER BY url"
    ).format(select(names))
    return as_rows(names, connection.execute(query, [after, limit]))


def top(connection: Connection, names: Sequence[str], by: str, limit: int) -> Rows:
    """The totals of the `limit` URLs with the most of `by`, highest first; exact by the pigeonhole principle.

    The limit times N largest rows of N nodes are of at least `limit` URLs, whose totals are a lower bound for the last
    on the list. Every URL with as much as that has a row with at least an Nth of it: those are looked up in the index
    and added up.
    """
    query = sql.SQL(
        """
        WITH nodes AS MATERIALIZED (SELECT count(*) + 1 AS n FROM likd_nodes WHERE NOT retired),
        seed AS MATERIALIZED (
            SELECT DISTINCT url FROM (
                SELECT url FROM likd_counts WHERE ({value}) > 0 ORDER BY ({value}) DESC, url
                LIMIT %(limit)s * (SELECT n FROM nodes)
            ) AS largest
        ),
        least AS MATERIALIZED (
            SELECT greatest(1, ceil(coalesce((
                SELECT sum({value}) AS total FROM likd_counts WHERE url IN (SELECT url FROM seed)
                GROUP BY url ORDER BY total DESC OFFSET %(limit)s - 1 LIMIT 1
            ), 1) / (SELECT n FROM nodes)))::bigint AS each
        )
        SELECT {select} FROM likd_counts WHERE url IN (
            SELECT url FROM likd_counts WHERE ({value}) > 0 AND ({value}) >= (SELECT each FROM least)
        )
        GROUP BY url HAVING sum({value}) > 0 ORDER BY sum({value}) DESC, url LIMIT %(limit)s
        """
    ).format(value=value(by), select=select(names))
    return as_rows(names, connection.execute(query, {"limit": limit}))
