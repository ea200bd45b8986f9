"""The nodes in PostgreSQL: a row for each data directory, which begins its lives there, beats, and may be retired."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from likd.stores.marks import Chain, Entry
from likd.stores.nodes import Node, find
from likd.stores.postgres import keys
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.counts import upsert
from likd.stores.postgres.history import UNITS, History
from likd.stores.postgres.schema import IMPORTED
from likd.stores.protocol import Retention

_ALL_OVER = 1 << 40
"""The open hour of a node whose hours are all rolled up."""


def entry(connection: Connection, source: str, *, lock: bool = False) -> Entry | None:
    """What is there of `source`; with `lock`, nobody else changes it until the transaction ends."""
    query = "SELECT node, epoch, life, mark, retired FROM likd_nodes WHERE source = %s" + (
        " FOR UPDATE" if lock else ""
    )
    row = connection.execute(query, (source,)).fetchone()
    return Entry(*row) if row is not None else None


def begin(connection: Connection, chain: Chain) -> int:
    """Begin a life in the caller's transaction: the mark. Raises Fenced."""
    mark = chain.begin(entry(connection, chain.source, lock=True))
    row = connection.execute(
        "INSERT INTO likd_nodes (node, source, epoch, life, mark)"
        " SELECT coalesce(max(node), 0) + 1, %(source)s, %(epoch)s, %(life)s, 0 FROM likd_nodes"
        " ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch, life = excluded.life, seen = now()"
        " RETURNING node",
        {"source": chain.source, "epoch": chain.epoch, "life": chain.life},
    ).fetchone()
    assert row is not None
    chain.node = row[0]
    return mark


def beat(connection: Connection, chain: Chain, name: str, lag_seconds: float) -> list[Node]:
    """Note what a node says of itself; all nodes. Raises Behind, Fenced."""
    chain.check(entry(connection, chain.source, lock=True))
    query = "UPDATE likd_nodes SET seen = clock_timestamp(), name = %s, lag = %s WHERE node = %s"
    connection.execute(query, (name, lag_seconds, chain.node))
    return every(connection)


def every(connection: Connection) -> list[Node]:
    """All data directories there are and were."""
    query = (
        "SELECT node, name, epoch, mark, lag, greatest(0, extract(epoch FROM clock_timestamp() - seen))::float8,"
        " retired FROM likd_nodes WHERE node <> %s ORDER BY node"
    )
    return [Node(*row) for row in connection.execute(query, (IMPORTED,))]


def retire(connection: Connection, which: str, names: Sequence[str], *, force: bool) -> Node:
    """Let a node's rows be those of node 0, and its data directory write no more. Raises RetireError."""
    node = find(every(connection), which, force=force)
    # Whoever has the lock has written, and whoever waits for it is fenced.
    connection.execute("SELECT 1 FROM likd_nodes WHERE node = %s FOR UPDATE", (node.node,))
    History(Retention(), node.node, tuple(names)).end(connection)
    connection.execute(
        "INSERT INTO likd_nodes (node, source, epoch, life, mark, hour, horizon, retired)"
        " VALUES (%s, '', 0, '', 0, %s, %s, true) ON CONFLICT DO NOTHING",
        (IMPORTED, _ALL_OVER, _ALL_OVER),
    )
    for table, named, counted in (
        ("likd_counts", ("url",), names),
        ("likd_sites", ("host",), ["urls", *names]),
        *((table, (unit, "url"), names) for table, unit in UNITS),
    ):
        values = [*map(sql.Identifier, named), sql.Literal(IMPORTED)]
        moved = upsert(table, (*named, "node"), values, counted, sql.SQL("FROM gone"))
        fold = sql.SQL("WITH gone AS (DELETE FROM {} WHERE node = {} RETURNING *) {}")
        connection.execute(fold.format(sql.Identifier(table), sql.Literal(node.node), moved))
    keys.release_all(connection, node.node)
    connection.execute("DELETE FROM likd_feed WHERE node = %s", (node.node,))
    query = "UPDATE likd_nodes SET retired = true, epoch = epoch + 1, life = 'retired', hour = NULL WHERE node = %s"
    connection.execute(query, (node.node,))
    return node
