"""The tables in PostgreSQL, and how they get from one version to the next.

Plain SQL that wire-compatible databases take, too: no temporary tables, advisory locks, MERGE or LISTEN. All rows of
counts are per URL and node: a node writes only its own, so that no node waits for another, and a read adds them up.
"""

from __future__ import annotations

from psycopg import sql

from likd.errors import TooNew
from likd.stores.marks import SCHEMA_VERSION
from likd.stores.postgres.connection import Connection

IMPORTED = 0
"""The node of starting counts, which belong to no data directory, and of what retired ones had counted."""
COUNTED = ("likd_counts", "likd_sites", "likd_minutes", "likd_hours", "likd_days")
"""The tables that have a column for each count."""

_TABLES = """
CREATE TABLE IF NOT EXISTS likd_nodes (
    node smallint PRIMARY KEY, source text NOT NULL UNIQUE, name text NOT NULL DEFAULT '', epoch bigint NOT NULL,
    life text NOT NULL, mark bigint NOT NULL, hour bigint, horizon bigint,
    seen timestamptz NOT NULL DEFAULT now(), lag double precision NOT NULL DEFAULT 0,
    retired boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS likd_counts (
    url text COLLATE "C" NOT NULL, node smallint NOT NULL, fresh boolean NOT NULL DEFAULT true, PRIMARY KEY (url, node)
) WITH (fillfactor = 80);
CREATE TABLE IF NOT EXISTS likd_sites (
    host text COLLATE "C" NOT NULL, node smallint NOT NULL, urls bigint NOT NULL DEFAULT 0, PRIMARY KEY (host, node)
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS likd_minutes (
    minute bigint NOT NULL, url text COLLATE "C" NOT NULL, node smallint NOT NULL, PRIMARY KEY (minute, url, node)
) WITH (fillfactor = 80);
CREATE TABLE IF NOT EXISTS likd_hours (
    hour bigint NOT NULL, url text COLLATE "C" NOT NULL, node smallint NOT NULL, PRIMARY KEY (hour, url, node)
);
CREATE TABLE IF NOT EXISTS likd_days (
    day bigint NOT NULL, url text COLLATE "C" NOT NULL, node smallint NOT NULL, PRIMARY KEY (url, day, node)
);
CREATE TABLE IF NOT EXISTS likd_actors (key bytea PRIMARY KEY);
CREATE TABLE IF NOT EXISTS likd_unliked (key bytea PRIMARY KEY);
CREATE TABLE IF NOT EXISTS likd_aliases (
    old text COLLATE "C" PRIMARY KEY, new text COLLATE "C" NOT NULL, old_key bytea NOT NULL, new_key bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS likd_alias_keys ON likd_aliases (old_key);
CREATE INDEX IF NOT EXISTS likd_parted ON likd_aliases (old) WHERE new = old;
CREATE TABLE IF NOT EXISTS likd_keys (
    key text COLLATE "C" PRIMARY KEY, node smallint NOT NULL, epoch bigint NOT NULL, digest bytea NOT NULL,
    events bigint NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT false, at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS likd_keys_at ON likd_keys (at);
CREATE TABLE IF NOT EXISTS likd_loads (name text COLLATE "C" PRIMARY KEY);
CREATE TABLE IF NOT EXISTS likd_settings (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS likd_feed (
    node smallint NOT NULL, last bigint NOT NULL, first bigint NOT NULL, minute bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(), body bytea NOT NULL, PRIMARY KEY (node, last)
);
ALTER TABLE likd_feed ALTER body SET STORAGE EXTERNAL;
"""


def check_version(connection: Connection) -> bool:
    """Whether the tables exist, in a version that this one can read. Raises TooNew."""
    (there,) = connection.execute("SELECT to_regclass('likd_schema') IS NOT NULL").fetchone() or (False,)
    if not there:
        return False
    row = connection.execute("SELECT version, readable_from FROM likd_schema").fetchone()
    if row is not None and row[1] > SCHEMA_VERSION:
        raise TooNew("the postgresql store", row[0], SCHEMA_VERSION)
    return row is not None


def make(connection: Connection) -> None:
    """Create all tables. Other nodes that do so at the same time wait or fail, and find the tables when they retry."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS likd_schema"
        " (one boolean PRIMARY KEY, version int NOT NULL, readable_from int NOT NULL)"
    )
    connection.execute("INSERT INTO likd_schema VALUES (true, 1, 1) ON CONFLICT DO NOTHING")
    lock(connection)
    connection.execute(_TABLES)


def lock(connection: Connection) -> None:
    """Lock, so that only one node at a time changes tables or gets its number."""
    connection.execute("SELECT 1 FROM likd_schema FOR UPDATE")


def names_there(connection: Connection) -> set[str]:
    """The counts there are columns for."""
    query = (
        "SELECT attname FROM pg_attribute WHERE attrelid = 'likd_counts'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    return {name for (name,) in connection.execute(query)} - {"url", "node", "fresh"}


def add_names(connection: Connection, names: tuple[str, ...]) -> None:
    """Create a column for each of the counts `names`, and the view for people."""
    there = names_there(connection)
    new = [name for name in names if name not in there]
    if not new:
        return
    for name in new:
        for table in COUNTED:
            statement = "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} bigint NOT NULL DEFAULT 0"
            connection.execute(sql.SQL(statement).format(sql.Identifier(table), sql.Identifier(name)))
    every = sorted(there | set(new))
    sums = sql.SQL(", ").join(sql.SQL("sum({0}) AS {0}").format(sql.Identifier(name)) for name in every)
    connection.execute("DROP VIEW IF EXISTS likd_totals")
    connection.execute(sql.SQL("CREATE VIEW likd_totals AS SELECT url, {} FROM likd_counts GROUP BY url").format(sums))


def index_top(connection: Connection, names: tuple[str, ...], *, wanted: bool) -> None:
    """Create an index for top lists by each of the counts `names` and by likes minus unlikes; none unless `wanted`."""
    there = {row[0] for row in connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'likd_counts'")}
    for by in [*names, *(["net"] if {"likes", "unlikes"} <= set(names) else [])]:
        name = sql.Identifier(f"likd_top_{by}")
        if wanted and f"likd_top_{by}" not in there:
            statement = "CREATE INDEX IF NOT EXISTS {} ON likd_counts (({}) DESC, url) WHERE ({}) > 0"
            connection.execute(sql.SQL(statement).format(name, value(by), value(by)))
        elif not wanted and f"likd_top_{by}" in there:
            connection.execute(sql.SQL("DROP INDEX {}").format(name))


def value(by: str) -> sql.Composable:
    """SQL for what a row of counts is ranked by."""
    return sql.SQL("likes - unlikes") if by == "net" else sql.Identifier(by)
