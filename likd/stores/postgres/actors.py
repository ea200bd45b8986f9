"""Who likes what, in PostgreSQL: a key for each like by an actor, through whichever node it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from likd.model import LIKE, LIKE_KEY_BYTES, Liking
from likd.stores.postgres.connection import Connection
from likd.stores.sqlite.actors import after


def apply(connection: Connection, changes: Mapping[bytes, Liking], *, folding: bool) -> dict[bytes, int]:
    """Record who likes from now on and who does not. Returns by how much likes minus unlikes are off, by key.

    What the actors really liked before shows in the rows that this creates and removes: another node may have recorded
    something else about them a moment ago.
    """
    if not changes:
        return {}
    liking = sorted(key for key, (likes, _) in changes.items() if likes)
    not_liking = sorted(key for key, (likes, _) in changes.items() if not likes)
    made = _insert(connection, "likd_actors", liking)
    gone = _delete(connection, "likd_actors", not_liking)
    if folding:
        _insert(connection, "likd_unliked", not_liking)
        _delete(connection, "likd_unliked", liking)
    off: dict[bytes, int] = {}
    for key, (likes, net) in changes.items():
        liked = key not in made if likes else key in gone
        if net is not None and likes - liked != net:
            off[key] = likes - liked - net
    return off


def note_unliked(connection: Connection, keys: Sequence[bytes]) -> None:
    """Keep what these actors like under an old name of the URL from making them like it."""
    _insert(connection, "likd_unliked", sorted(keys))


def read(connection: Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of `keys` that exist."""
    return {key for (key,) in connection.execute("SELECT key FROM likd_actors WHERE key = ANY(%s)", (list(keys),))}


def remove(connection: Connection, begins: Sequence[bytes]) -> None:
    """Remove the keys that begin so: the actors of URLs, who like them no more."""
    ends = [after(each) for each in begins]
    for table in ("likd_actors", "likd_unliked"):
        connection.execute(
            f"DELETE FROM {table} AS a USING unnest(%s::bytea[], %s::bytea[]) AS b (low, high)"
            " WHERE a.key >= b.low AND a.key < b.high",
            (list(begins), ends),
        )


def liked_both(connection: Connection, old: bytes, new: bytes) -> int:
    """How many actors like both of the URLs whose actors' keys begin so."""
    row = connection.execute(
        "SELECT count(*) FROM likd_actors AS a JOIN likd_actors AS b ON b.key = %s || substr(a.key, %s)"
        " WHERE a.key >= %s AND a.key < %s AND length(a.key) = %s",
        (new, len(old) + 1, old, after(old), LIKE_KEY_BYTES),
    ).fetchone()
    return int(row[0]) if row is not None else 0


def merge(connection: Connection, old: bytes, new: bytes, *, heed_unliked: bool) -> Counter[str]:
    """Let the keys that begin with `old` begin with `new`. Returns how many likes are lost as duplicates.

    With `heed_unliked`, also those whose actors have unliked the new URL since. Counted by kind (likes, and so on).
    """
    lost: Counter[str] = Counter()
    _move(connection, "likd_unliked", old, new)
    if heed_unliked:
        query = (
            "DELETE FROM likd_actors WHERE key IN (SELECT %s || substr(key, %s) FROM likd_unliked"
            " WHERE key >= %s AND key < %s) RETURNING substr(key, %s)"
        )
        values = (old, len(new) + 1, new, after(new), LIKE_KEY_BYTES + 1)
        lost.update(done.decode() or LIKE for (done,) in connection.execute(query, values))
    return lost + _move(connection, "likd_actors", old, new)


def _move(connection: Connection, table: str, old: bytes, new: bytes) -> Counter[str]:
    """Rename keys. Returns how many already existed, by kind."""
    query = (
        f"WITH gone AS (DELETE FROM {table} WHERE key >= %s AND key < %s RETURNING %s || substr(key, %s) AS key),"
        f" made AS (INSERT INTO {table} SELECT key FROM gone ORDER BY key ON CONFLICT DO NOTHING RETURNING key)"
        " SELECT substr(key, %s), count(*) FROM gone LEFT JOIN made USING (key) WHERE made.key IS NULL GROUP BY 1"
    )
    values = (old, after(old), new, len(old) + 1, LIKE_KEY_BYTES + 1)
    return Counter({done.decode() or LIKE: n for done, n in connection.execute(query, values)})


def _insert(connection: Connection, table: str, keys: list[bytes]) -> set[bytes]:
    """Insert `keys`. Returns those that did not exist."""
    query = (
        f"INSERT INTO {table} SELECT * FROM unnest(%s::bytea[]) AS k ORDER BY k ON CONFLICT DO NOTHING RETURNING key"
    )
    return {key for (key,) in connection.execute(query, (keys,))} if keys else set()


def _delete(connection: Connection, table: str, keys: list[bytes]) -> set[bytes]:
    """Delete `keys`. Returns those that existed."""
    query = (
        f"DELETE FROM {table} WHERE key IN"
        f" (SELECT key FROM {table} WHERE key = ANY(%s::bytea[]) ORDER BY key FOR UPDATE) RETURNING key"
    )
    return {key for (key,) in connection.execute(query, (keys,))} if keys else set()
