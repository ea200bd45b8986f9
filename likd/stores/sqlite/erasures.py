"""What the embedded store erases: a URL, or a site with all its URLs, which may be very many.

Many are erased in parts, each in a transaction of its own, before the one that applies what came before the erasure and
ends it. How far they are is noted: a store that was stopped goes on from there when it is given the same again. Until
the last of these transactions sums by site are as if nothing had been erased.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from likd.model import Fold
from likd.stores.sites import prefixes_of
from likd.stores.sqlite import actors
from likd.stores.sqlite.counts import CountsTable
from likd.stores.sqlite.history import History
from likd.stores.sqlite.sites import Sites

URLS_AT_ONCE = 500
ACTORS_AT_ONCE = 20_000
"""Of so many one transaction removes all there is: a tenth of a second or two."""

_SCHEMA = """
PRAGMA temp_store = MEMORY;
CREATE TABLE IF NOT EXISTS erasures (last INTEGER PRIMARY KEY, url TEXT NOT NULL);
CREATE TEMPORARY TABLE IF NOT EXISTS erasing (id INTEGER PRIMARY KEY);
"""


class Erasures:
    """Erases in the database of `connection`'s caller, who owns the transactions."""

    def __init__(
        self, counts: CountsTable, history: History, sites: Sites, url_key: Callable[[str], bytes] | None = None
    ) -> None:
        self._counts = counts
        self._history = history
        self._sites = sites
        self._url_key = url_key

    def open(self, connection: sqlite3.Connection) -> None:
        """Make the tables."""
        connection.executescript(_SCHEMA)

    def part(self, connection: sqlite3.Connection, fold: Fold, last: int) -> bool:
        """Erase a part of what `fold` erases after table `last`; False if what is left is little enough for `end`."""
        if not fold.host:
            return actors.remove(connection, fold.old_key, ACTORS_AT_ONCE) == ACTORS_AT_ONCE
        since = self._since(connection, last)
        found = self._urls(connection, fold, since, URLS_AT_ONCE)
        left = ACTORS_AT_ONCE
        done: list[int] = []
        for row_id, url in found:
            left -= actors.remove(connection, self._key(fold, url), left)
            if not left:
                break
            since = url
            done.append(row_id)
        self._remove(connection, done, keep=bool(fold.new))
        connection.execute("INSERT OR REPLACE INTO erasures VALUES (?, ?)", (last, since))
        return not left or len(found) == URLS_AT_ONCE

    def end(self, connection: sqlite3.Connection, fold: Fold, last: int) -> None:
        """Erase what is left, and what was counted meanwhile."""
        since = self._since(connection, last)
        left = self._urls(connection, fold, since, -1)
        if since:
            counted = " OR ".join(f'"{name}" <> 0' for name in self._counts.names) or "false"
            left += self._urls(connection, fold, "", -1, f"url <= '{_quoted(since)}' AND ({counted})")
        for key in {fold.old_key, *(self._key(fold, url) for _, url in left)}:
            while actors.remove(connection, key, ACTORS_AT_ONCE):
                pass
        ids = [row_id for row_id, _ in left]
        if not fold.host:
            self._sites.leave(connection, [(row_id, None) for row_id in ids])
        self._remove(connection, ids, keep=bool(fold.new))
        if fold.host:
            self._sites.erase(connection, fold.host)
        elif fold.new and ids:
            self._sites.count(connection, fold.old)
        connection.execute("DELETE FROM erasures")

    def _since(self, connection: sqlite3.Connection, last: int) -> str:
        row = connection.execute("SELECT url FROM erasures WHERE last = ?", (last,)).fetchone()
        return "" if row is None else str(row[0])

    def _key(self, fold: Fold, url: str) -> bytes:
        return self._url_key(url) if self._url_key is not None else fold.old_key

    def _urls(
        self, connection: sqlite3.Connection, fold: Fold, since: str, limit: int, where: str = "true"
    ) -> list[tuple[int, str]]:
        """The ids of the first URLs after `since` that are erased, and these; all with a `limit` of -1."""
        found: list[tuple[int, str]] = []
        for low, high in prefixes_of(fold.host) if fold.host else [(fold.old, fold.old + "\0")]:
            # SQLite heeds one bound on each side.
            begin, low = (">", since) if since >= low else (">=", low)
            query = f"SELECT id, url FROM counts WHERE url {begin} ? AND url < ? AND {where} ORDER BY url LIMIT ?"
            (text,) = connection.execute(
                f"SELECT json_group_array(json_array(id, url)) FROM ({query})",
                (low, high, -1 if limit < 0 else limit - len(found)),
            ).fetchone()
            found += msgspec.json.decode(text, type=list[tuple[int, str]])
        return found

    def _remove(self, connection: sqlite3.Connection, ids: Sequence[int], *, keep: bool) -> None:
        """Remove the history and the counts of URLs; these are there still, without counts, if they are to `keep`."""
        connection.execute("DELETE FROM erasing")
        connection.execute("INSERT INTO erasing SELECT value FROM json_each(?)", (msgspec.json.encode(ids).decode(),))
        some = "SELECT id FROM erasing"
        self._history.forget(connection, some)
        if keep:
            zeros = ", ".join(f'"{name}" = 0' for name in self._counts.names)
            connection.execute(f"UPDATE counts SET {zeros} WHERE id IN ({some})")
        else:
            connection.execute(f"DELETE FROM counts WHERE id IN ({some})")


def _quoted(text: str) -> str:
    return text.replace("'", "''")
