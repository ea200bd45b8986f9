"""Makes URLs of the embedded store parts of others: by merges, which are recorded as aliases, and by new rules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from likd.model import LIKE, Fold, count_of, undo_of
from likd.stores.protocol import Folding
from likd.stores.sqlite import actors
from likd.stores.sqlite.counts import CountsTable
from likd.stores.sqlite.history import History
from likd.stores.sqlite.sites import Sites
from likd.stores.sqlite.staging import json_array, slices

SCHEMA = """
CREATE TABLE IF NOT EXISTS aliases (old TEXT PRIMARY KEY, new TEXT NOT NULL, old_key BLOB, new_key BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alias_keys ON aliases (old_key, new_key);
CREATE TABLE IF NOT EXISTS rules (rules TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS folding (rules TEXT NOT NULL, url TEXT NOT NULL);
"""


class Merges:
    """Merges and folds in the caller's database; the caller owns the transactions."""

    def __init__(self, counts: CountsTable, history: History, sites: Sites) -> None:
        self._counts = counts
        self._history = history
        self._sites = sites

    def merge(self, connection: sqlite3.Connection, merge: Fold) -> int:
        """Fold, and record the alias. Returns how many actors had liked both.

        Merges by other directories a moment ago are followed for both URLs. Does nothing if both are one already.
        """
        query = "SELECT new, new_key FROM aliases WHERE old = ?"
        old, old_key = connection.execute(query, (merge.old,)).fetchone() or (merge.old, merge.old_key)
        new, new_key = connection.execute(query, (merge.new,)).fetchone() or (merge.new, merge.new_key)
        if old == new:
            return 0
        merge = Fold(old, new, old_key, new_key)
        both = self._fold(connection, [merge], heed_unliked=False)
        connection.execute("UPDATE aliases SET new = ?, new_key = ? WHERE new = ?", (new, new_key, old))
        connection.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?, ?)", (old, new, old_key, new_key))
        return both

    def fold_by_rules(
        self, connection: sqlite3.Connection, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]
    ) -> None:
        """Fold like a merge, without aliases, and record how far that is; keys that are `changing` stay as they are."""
        actors.note_unliked(connection, changing)
        # A URL that was merged a moment ago no longer exists to be folded into.
        query = "SELECT new, new_key FROM aliases WHERE old = ?"
        merged = [(fold, connection.execute(query, (fold.new,)).fetchone()) for fold in folds]
        targets = [fold._replace(new=row[0], new_key=row[1]) if row else fold for fold, row in merged]
        self._fold(connection, [fold for fold in targets if fold.old != fold.new], heed_unliked=True)
        connection.execute("DELETE FROM folding")
        if folding.to is not None:
            connection.execute("INSERT INTO folding VALUES (?, ?)", (folding.to, folding.after))
            return
        connection.execute("DELETE FROM unliked")
        connection.execute("DELETE FROM rules")
        connection.execute("INSERT INTO rules VALUES (?)", (folding.rules,))

    def _fold(self, connection: sqlite3.Connection, folds: Sequence[Fold], *, heed_unliked: bool) -> int:
        """Make each old URL part of its new one. Returns how many likes by actors were duplicates."""
        liked_both = 0
        ids: list[tuple[int, int]] = []
        for old, new, old_key, new_key in folds:
            both = actors.merge(connection, old_key, new_key, heed_unliked=heed_unliked)
            rows = self._counts.read(connection, [old])
            self._counts.add(connection, {new: rows.get(old, {})})
            if both:
                self._counts.add(connection, {new: {count_of(undo_of(done)): n for done, n in both.items()}})
            found = dict(connection.execute("SELECT url, id FROM counts WHERE url IN (?, ?)", (old, new)))
            if old in found:
                ids.append((found[old], found[new]))
            liked_both += both[LIKE]
        self._sites.leave(connection, ids)
        self._history.merge(connection, ids)
        connection.executemany("DELETE FROM counts WHERE id = ?", [(old,) for old, _ in ids])
        return liked_both


def folding(connection: sqlite3.Connection) -> Folding:
    """Under which rules the URLs there were counted."""
    row = connection.execute("SELECT rules FROM rules").fetchone()
    to, after = connection.execute("SELECT rules, url FROM folding").fetchone() or (None, "")
    return Folding(row[0] if row else "", to, after)


def is_folding(connection: sqlite3.Connection) -> bool:
    """Whether they are being folded."""
    return connection.execute("SELECT 1 FROM folding").fetchone() is not None


def aliases(connection: sqlite3.Connection) -> dict[str, str]:
    """The URLs that were merged into others."""
    return dict(connection.execute("SELECT old, new FROM aliases"))


def aliases_of(connection: sqlite3.Connection, urls: Iterable[str]) -> dict[str, str]:
    """What the merged ones among `urls` count for; the cost follows their number, not that of the aliases."""
    if connection.execute("SELECT 1 FROM aliases").fetchone() is None:
        return {}
    query = "SELECT old, new FROM json_each(?) CROSS JOIN aliases ON old = value"
    found: dict[str, str] = {}
    for some in slices(urls):
        found.update(connection.execute(query, (json_array(some),)))
    return found


def alias_keys_of(connection: sqlite3.Connection, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """The same for the beginnings of actors' keys."""
    row = connection.execute("SELECT length(old_key) FROM aliases").fetchone()
    found: dict[bytes, bytes] = {}
    if row is not None:
        for chunk in actors.chunks(sorted({key[: row[0]] for key in keys})):
            query = f"SELECT old_key, new_key FROM aliases WHERE old_key IN (?{', ?' * (len(chunk) - 1)})"
            found.update(connection.execute(query, chunk))
    return found
