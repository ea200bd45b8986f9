"""How far the embedded store is with each data directory, and the version of its schema."""

from __future__ import annotations

import sqlite3

from likd.errors import TooNew
from likd.stores.marks import SCHEMA_VERSION, Chain, Entry

SCHEMA = """
CREATE TABLE IF NOT EXISTS applied (source TEXT PRIMARY KEY, table_id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes (
    node INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, life TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL, readable_from INTEGER NOT NULL);
INSERT INTO schema SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM schema);
"""
"""`applied` is as it was before there were nodes, so that an earlier version can continue."""


def check_version(connection: sqlite3.Connection, where: str) -> None:
    """Raise TooNew if this version can't read the existing tables."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema'").fetchone() is None:
        return
    row = connection.execute("SELECT version, readable_from FROM schema").fetchone()
    if row is not None and row[1] > SCHEMA_VERSION:
        raise TooNew(where, row[0], SCHEMA_VERSION)


def applied(connection: sqlite3.Connection, source: str) -> int:
    """The mark of `source`."""
    row = connection.execute("SELECT table_id FROM applied WHERE source = ?", (source,)).fetchone()
    return row[0] if row else 0


def read(connection: sqlite3.Connection, source: str) -> Entry | None:
    """The entry of `source`."""
    query = "SELECT node, epoch, life FROM nodes WHERE source = ?"
    for node, epoch, life in connection.execute(query, (source,)):
        return Entry(node, epoch, life, applied(connection, source))
    return None


def begin(connection: sqlite3.Connection, chain: Chain) -> int:
    """Begin a life in the caller's transaction. Returns the mark."""
    mark = chain.begin(read(connection, chain.source))
    connection.execute(
        "INSERT INTO nodes (source, epoch, life) VALUES (?, ?, ?)"
        " ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch, life = excluded.life",
        (chain.source, chain.epoch, chain.life),
    )
    (chain.node,) = connection.execute("SELECT node FROM nodes WHERE source = ?", (chain.source,)).fetchone()
    # A mark from before there were nodes.
    chain.known = mark or applied(connection, chain.source)
    return chain.known


def move(connection: sqlite3.Connection, source: str, mark: int) -> None:
    """Set the mark of `source` to `mark`."""
    connection.execute(
        "INSERT INTO applied VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET table_id = excluded.table_id",
        (source, mark),
    )
