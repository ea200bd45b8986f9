"""Makes URLs in PostgreSQL parts of others: by merges, which are recorded as aliases, and by new rules.

This first locks the rows of all nodes, in order, and each apply begins by locking its own, so no apply is half under
the old name. What a node writes late is renamed as it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
from psycopg import sql

from likd.model import LIKE, Fold, count_of, undo_of
from likd.stores.postgres import actors, arrays, counts, sites
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.history import History
from likd.stores.protocol import Folding

RULES, FOLDING, AFTER = "rules", "folding", "folding_after"
RENAMED, ERASED = "times renamed", "times erased"
"""Names of settings."""


@attrs.define
class Merges:
    """Merges and folds in the transactions of its caller, who holds the lock."""

    history: History

    def merge(self, connection: Connection, merge: Fold) -> int:
        """Fold, and record the alias. Returns how many actors had liked both.

        Merges by other nodes a moment ago are followed for both URLs. Does nothing if both are one already.
        """
        by_now = aliases_of(connection, [merge.old, merge.new])
        old, old_key = by_now.get(merge.old, (merge.old, merge.old_key))
        new, new_key = by_now.get(merge.new, (merge.new, merge.new_key))
        if old == new:
            return 0
        merge = Fold(old, new, old_key, new_key)
        both = self._fold(connection, [merge], heed_unliked=False)
        note_change(connection, RENAMED)
        connection.execute("UPDATE likd_aliases SET new = %s, new_key = %s WHERE new = %s", (new, new_key, old))
        connection.execute(
            "INSERT INTO likd_aliases VALUES (%s, %s, %s, %s) ON CONFLICT (old) DO UPDATE"
            " SET new = excluded.new, old_key = excluded.old_key, new_key = excluded.new_key",
            (old, new, old_key, new_key),
        )
        return both

    def fold_by_rules(
        self, connection: Connection, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]
    ) -> None:
        """Fold like a merge, without aliases, and record how far that is; keys that are `changing` stay as they are."""
        actors.note_unliked(connection, changing)
        # A URL that was merged a moment ago no longer exists to be folded into.
        merged = aliases_of(connection, [fold.new for fold in folds])
        targets = [
            fold._replace(new=merged[fold.new][0], new_key=merged[fold.new][1]) if fold.new in merged else fold
            for fold in folds
        ]
        self._fold(connection, [fold for fold in targets if fold.old != fold.new], heed_unliked=True)
        connection.execute("DELETE FROM likd_settings WHERE name = ANY(%s)", ([FOLDING, AFTER],))
        if folding.to is not None:
            _set(connection, FOLDING, folding.to)
            _set(connection, AFTER, folding.after)
            return
        connection.execute("DELETE FROM likd_unliked")
        _set(connection, RULES, folding.rules)

    def _fold(self, connection: Connection, folds: Sequence[Fold], *, heed_unliked: bool) -> int:
        """Make each old URL part of its new one. Returns how many likes by actors were duplicates."""
        liked_both = 0
        for old, new, old_key, new_key in folds:
            both = actors.merge(connection, old_key, new_key, heed_unliked=heed_unliked)
            names, node = self.history.names, self.history.node
            there = set(counts.read(connection, names, [old, new]))
            sites.move(connection, names, old, new)
            self._move_counts(connection, old, new)
            if old in there:
                sites.count_urls(connection, node, [old], -1)
                if new not in there:
                    sites.count_urls(connection, node, [new], 1)
            if both:
                undone = {count_of(undo_of(done)): n for done, n in both.items()}
                sites.add_totals(connection, names, node, {new: undone})
            self.history.merge(connection, old, new)
            liked_both += both[LIKE]
        return liked_both

    def _move_counts(self, connection: Connection, old: str, new: str) -> None:
        values = [sql.Placeholder("new"), sql.SQL("node")]
        moved = counts.upsert("likd_counts", ("url", "node"), values, self.history.names, sql.SQL("FROM gone"))
        connection.execute(
            sql.SQL("WITH gone AS (DELETE FROM likd_counts WHERE url = %(old)s RETURNING *) {}").format(moved),
            {"old": old, "new": new},
        )


def lock(connection: Connection) -> None:
    """Keep everybody from applying anything until the transaction ends, and wait for applies in progress."""
    connection.execute("SELECT 1 FROM likd_nodes ORDER BY node FOR UPDATE")


def folding(connection: Connection) -> Folding:
    """Under which rules the URLs there were counted."""
    found = dict(
        connection.execute("SELECT name, value FROM likd_settings WHERE name = ANY(%s)", ([RULES, FOLDING, AFTER],))
    )
    return Folding(found.get(RULES, ""), found.get(FOLDING), found.get(AFTER, ""))


def aliases(connection: Connection) -> dict[str, str]:
    """The URLs that were merged into others."""
    return dict(connection.execute("SELECT old, new FROM likd_aliases WHERE new <> old"))


def aliases_of(connection: Connection, urls: Iterable[str]) -> dict[str, tuple[str, bytes]]:
    """What the merged ones among `urls` count for, and the beginnings of its actors' keys."""
    query = "SELECT old, new, new_key FROM likd_aliases WHERE old = ANY(%s::text[]) AND new <> old"
    return {old: (new, key) for old, new, key in connection.execute(query, [arrays.texts(list(urls))])}


def alias_keys_of(connection: Connection, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """The current beginnings of those of actors' `keys` whose URLs were merged."""
    row = connection.execute("SELECT length(old_key) FROM likd_aliases LIMIT 1").fetchone()
    if row is None:
        return {}
    prefixes = sorted({key[: row[0]] for key in keys})
    return dict(connection.execute("SELECT old_key, new_key FROM likd_aliases WHERE old_key = ANY(%s)", (prefixes,)))


def remove_alias(connection: Connection, old: str) -> None:
    """What comes for `old` counts for itself from now on, and its row says so."""
    note_change(connection, RENAMED)
    connection.execute("UPDATE likd_aliases SET new = old, new_key = old_key WHERE old = %s", (old,))


def note_change(connection: Connection, what: str) -> None:
    """It happened once more: other nodes see it by that."""
    connection.execute(
        "INSERT INTO likd_settings AS t VALUES (%s, '1') ON CONFLICT (name) DO UPDATE"
        " SET value = (t.value::bigint + 1)::text",
        (what,),
    )


def _set(connection: Connection, name: str, value: str) -> None:
    connection.execute(
        "INSERT INTO likd_settings VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
