"""Takes many rows into the embedded store as documents, so that the interpreter stays free meanwhile.

SQLite releases and reacquires the interpreter's lock for each row that it is given. Next to a busy event loop, each
time costs a switch interval, and a transaction takes a hundred times as long as on its own. The encoder holds the lock
while it works, so a document has a slice of the rows, and only one count, which SQLite unpacks without parsing each row
again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from likd.errors import CountTooLarge
from likd.model import Rows

SLICE_ROWS = 4000
"""How many rows a slice has: it is encoded in about a millisecond."""

T = TypeVar("T")

SCHEMA = """
PRAGMA temp_store = MEMORY;
DROP TABLE IF EXISTS temp.incoming;
DROP TABLE IF EXISTS temp.staged;
CREATE TEMPORARY TABLE incoming (url TEXT NOT NULL{incoming});
CREATE TEMPORARY TABLE staged (id INTEGER PRIMARY KEY, url TEXT NOT NULL{staged});
"""

_encode = msgspec.json.Encoder().encode


def open_stage(connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
    """Create the temporary table `staged`, with a column for each of the counts `names`."""
    incoming = "".join(f', "{name}" INTEGER' for name in names)
    staged = "".join(f', "{name}" INTEGER NOT NULL DEFAULT 0' for name in names)
    connection.executescript(SCHEMA.format(incoming=incoming, staged=staged))


def json_array(texts: Iterable[str]) -> str:
    """`texts` as a document that `json_each` unpacks."""
    return _encode(list(texts)).decode()


def stage(connection: sqlite3.Connection, names: tuple[str, ...], rows: Rows) -> tuple[str, ...]:
    """Fill `staged` with just `rows`, by the ids of their URLs. Returns those of `names` that any of them has.

    A URL that is not in `counts` gets the id that it will have there. Raises CountTooLarge.
    """
    connection.execute("DELETE FROM incoming")
    connection.execute("DELETE FROM staged")
    try:
        grown, taken_in = _take_in(connection, names, rows)
    except OverflowError as error:
        raise CountTooLarge(f"sqlite: a count is beyond 64 bits: {error}") from error
    for name in grown:
        # SQLite turns numbers beyond 63 bits into floats.
        if connection.execute(f"""SELECT 1 FROM incoming WHERE typeof("{name}") = 'real'""").fetchone() is not None:
            raise CountTooLarge(f"sqlite: a count is beyond 63 bits: {name}")
    columns = "".join(f', "{name}"' for name in grown)
    if taken_in == len(rows):
        # Each has only one count, the common case: there is nothing to add up.
        given = f"SELECT rowid AS place, url{columns} FROM incoming ORDER BY url"
    else:
        sums = "".join(f', sum("{name}") AS "{name}"' for name in grown)
        given = f"SELECT min(rowid) AS place, url{sums} FROM incoming GROUP BY url"
    values = "".join(f', coalesce(given."{name}", 0)' for name in grown)
    # In order of URLs, and then of ids: neighbours in an index or a table are looked up and written together.
    connection.execute(
        f"INSERT INTO staged (id, url{columns}) SELECT coalesce(id, -place), given.url{values}"
        f" FROM ({given}) AS given LEFT JOIN counts ON counts.url = given.url"
    )
    connection.execute(
        f"INSERT INTO staged (id, url{columns})"
        f" SELECT (SELECT coalesce(max(id), 0) FROM counts) + row_number() OVER (ORDER BY url), url{columns}"
        f" FROM staged WHERE id < 0"
    )
    connection.execute("DELETE FROM staged WHERE id < 0")
    return grown


def _take_in(connection: sqlite3.Connection, names: tuple[str, ...], rows: Rows) -> tuple[tuple[str, ...], int]:
    """Fill `incoming` with `rows`, one for each count of a URL. Returns the `names` they have, and how many rows."""
    grown: set[str] = set()
    known = frozenset(names)
    taken_in = 0
    for some in slices(rows.items()):
        for name in names:
            column = {url: counts[name] for url, counts in some if name in counts}
            if column:
                grown.add(name)
                taken_in += len(column)
                query = f'INSERT INTO incoming (url, "{name}") SELECT key, atom FROM json_each(?)'
                connection.execute(query, (_encode(column).decode(),))
        without = [url for url, counts in some if known.isdisjoint(counts)]
        if without:
            taken_in += len(without)
            connection.execute("INSERT INTO incoming (url) SELECT atom FROM json_each(?)", (json_array(without),))
    return tuple(name for name in names if name in grown), taken_in


def slices(items: Iterable[T]) -> Iterator[list[T]]:
    """`items`, in slices that may be encoded at once."""
    left = iter(items)
    while some := list(islice(left, SLICE_ROWS)):
        yield some
