"""URLs and sites in PostgreSQL that begin anew, in the caller's transaction, who holds the lock of all nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from likd.model import Fold
from likd.stores.postgres import actors, sites
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.history import UNITS, spans


def erase(connection: Connection, names: Sequence[str], node: int, fold: Fold, url_key: Callable[[str], bytes]) -> None:
    """Remove counts, history and actors of a URL or a site."""
    which, values = sites.of_site(fold.host) if fold.host else sites.of_url(fold.old)
    query = sql.SQL("SELECT DISTINCT t.url FROM likd_counts AS t WHERE {}").format(which)
    urls = [url for (url,) in connection.execute(query, values)]
    if fold.host:
        site, values_of_site = sites.of_url(sites.site_of(fold.host))
        sites.leave(connection, names, site, values_of_site, [sites.ALL])
        _forget(connection, site, values_of_site)
        kept = len(urls) if fold.new else 0
        connection.execute("DELETE FROM likd_sites WHERE host = %s", (fold.host,))
        if kept:
            sites.count_urls(connection, node, urls, 1)
    else:
        sites.move(connection, names, fold.old, None)
        if not fold.new:
            sites.count_urls(connection, node, urls, -1)
    _forget(connection, which, values)
    if fold.new:
        zeros = sql.SQL(", ").join(sql.SQL("{} = 0").format(sql.Identifier(name)) for name in names)
        connection.execute(sql.SQL("UPDATE likd_counts AS t SET {} WHERE {}").format(zeros, which), values)
    else:
        connection.execute(sql.SQL("DELETE FROM likd_counts AS t WHERE {}").format(which), values)
    actors.remove(connection, [*map(url_key, urls), *([fold.old_key] if fold.old_key else [])])


def _forget(connection: Connection, which: sql.Composable, values: Sequence[str]) -> None:
    for table, unit in UNITS:
        query = sql.SQL("{} DELETE FROM {} AS t USING spans WHERE t.{} = spans.at AND {}")
        form = query.format(spans(table, unit), sql.Identifier(table), sql.Identifier(unit), which)
        connection.execute(form, values)
