"""The way of many rows into the embedded store: as one document, so that the interpreter stays free meanwhile.

SQLite gives up and takes back the interpreter's lock for each row that it is handed. Beside a busy event loop
each time costs a switch interval, and a transaction takes a hundred times as long as on its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from likd.model import Rows
from likd.stores.protocol import CountTooLarge

SCHEMA = """
PRAGMA temp_store = MEMORY;
DROP TABLE IF EXISTS temp.staged;
CREATE TEMPORARY TABLE staged (url TEXT NOT NULL{columns});
"""

_encode = msgspec.json.Encoder().encode


def open_stage(connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
    """Make the temporary table `staged`, with a column for each of the counts `names`."""
    columns = "".join(f""", "{name}" INTEGER CHECK (typeof("{name}") = 'integer')""" for name in names)
    connection.executescript(SCHEMA.format(columns=columns))


def json_array(texts: Iterable[str]) -> str:
    """`texts` as a document that `json_each` takes apart."""
    return _encode(list(texts)).decode()


def stage(connection: sqlite3.Connection, names: tuple[str, ...], rows: Rows) -> None:
    """Let `staged` hold just `rows`, sorted by URL: neighbours in an index are then written together.

    Raises CountTooLarge.
    """
    values = "".join(f""", coalesce(json_extract(value, '$."{name}"'), 0)""" for name in names)
    connection.execute("DELETE FROM staged")
    try:
        connection.execute(
            f"INSERT INTO staged SELECT key{values} FROM json_each(?) ORDER BY key", (_encode(rows).decode(),)
        )
    except (sqlite3.IntegrityError, OverflowError) as error:
        raise CountTooLarge(f"sqlite: a count is beyond 63 bits: {error}") from error
