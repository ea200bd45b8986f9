"""What a node tells the others: one packed row for each apply, which they read when its mark has moved."""

from __future__ import annotations

import zlib

import msgspec

from likd.model import Rows
from likd.stores.postgres.connection import Connection
from likd.stores.postgres.merges import RENAMED
from likd.stores.protocol import Increments, News

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[Rows, list[bytes]]).decode


def packed(rows: Rows, increments: Increments) -> bytes:
    """What was applied: counts by URL, and the keys of actors."""
    return zlib.compress(_pack((rows, list(increments.actors))), 1)


def marks_of_others(connection: Connection, source: str) -> dict[int, int]:
    """The marks of all nodes but that of `source`."""
    return dict(connection.execute("SELECT node, mark FROM likd_nodes WHERE source <> %s", (source,)))


def news(source: str, last: News | None, connection: Connection) -> News:
    """What other nodes than that of `source` wrote since the `last` news."""
    row = connection.execute(
        "SELECT coalesce((SELECT value::bigint FROM likd_settings WHERE name = %(renamed)s), 0),"
        " (SELECT count(*)::text FROM likd_loads) || ' ' ||"
        " coalesce((SELECT string_agg(value, ' ' ORDER BY name) FROM likd_settings WHERE name <> %(renamed)s), '') ||"
        " ' ' ||"
        " coalesce((SELECT string_agg(epoch::text, ' ' ORDER BY node) FROM likd_nodes WHERE source <> %(source)s), '')",
        {"renamed": RENAMED, "source": source},
    ).fetchone()
    assert row is not None
    # A new epoch of a node may follow a store that went back: what the node gives again may turn out differently.
    merges, changed = row
    marks = marks_of_others(connection, source)
    parted = frozenset(old for (old,) in connection.execute("SELECT old FROM likd_aliases WHERE new = old"))
    if last is None or changed != last.changed:
        return News(marks, merges, changed, parted=parted)
    urls: set[str] = set()
    actors: set[bytes] = set()
    for node, mark in marks.items():
        known = last.marks.get(node, 0)
        if mark == known:
            continue
        query = "SELECT first, body FROM likd_feed WHERE node = %s AND last > %s ORDER BY last"
        told = connection.execute(query, (node, known)).fetchall()
        if mark < known or not told or told[0][0] > known + 1:
            # It went back in time, or wrote no row because it was alone, or so long ago that the row is gone.
            return News(marks, merges, changed, parted=parted)
        for _, body in told:
            rows, keys = _unpack(zlib.decompress(body))
            urls.update(rows)
            actors.update(keys)
    return News(marks, merges, changed, urls, actors, parted)
