"""Idempotency keys in PostgreSQL: a row for each, of the node that claimed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likd.model import IdempotencyKey
from likd.stores.keys import Claim, Settled
from likd.stores.marks import Chain
from likd.stores.postgres.connection import Connection


def claim(
    connection: Connection, chain: Chain, asked: Sequence[IdempotencyKey], settled: Settled, window_seconds: float
) -> list[Claim]:
    """Note what is settled, and claim what is asked."""
    _settle(connection, chain, settled)
    if not asked:
        return []
    found = connection.execute(
        "WITH asked AS (SELECT * FROM unnest(%(keys)s::text[], %(digests)s::bytea[]) AS a (key, digest)),"
        " made AS (INSERT INTO likd_keys AS t (key, node, epoch, digest) SELECT key, %(node)s, %(epoch)s, digest"
        " FROM asked ORDER BY key ON CONFLICT (key) DO UPDATE SET node = excluded.node, epoch = excluded.epoch,"
        " digest = excluded.digest, done = false, events = 0, at = now()"
        " WHERE (t.node = excluded.node AND NOT t.done) OR t.at < now() - make_interval(secs => %(window)s)"
        " RETURNING key)"
        " SELECT asked.key, made.key IS NOT NULL, t.digest, t.done, t.events FROM asked LEFT JOIN made USING (key)"
        " LEFT JOIN likd_keys AS t USING (key)",
        {
            "keys": [key.key for key in asked],
            "digests": [key.digest for key in asked],
            "node": chain.node,
            "epoch": chain.epoch,
            "window": window_seconds,
        },
    )
    rows = {row[0]: row[1:] for row in found}
    return [_claim(key, rows[key.key]) for key in asked]


def left(connection: Connection, chain: Chain) -> list[IdempotencyKey]:
    """What earlier lives claimed and did not settle."""
    query = "SELECT key, digest FROM likd_keys WHERE node = %s AND epoch < %s AND NOT done"
    return [IdempotencyKey(key, digest) for key, digest in connection.execute(query, (chain.node, chain.epoch))]


def trim(connection: Connection, window_seconds: float) -> None:
    """Remove what was claimed longer ago."""
    connection.execute("DELETE FROM likd_keys WHERE at < now() - make_interval(secs => %s)", (window_seconds,))


def release_all(connection: Connection, node: int) -> None:
    """A node that is gone settles nothing any more."""
    connection.execute("DELETE FROM likd_keys WHERE node = %s AND NOT done", (node,))


def _settle(connection: Connection, chain: Chain, settled: Settled) -> None:
    if settled.released:
        query = "DELETE FROM likd_keys WHERE key = ANY(%s) AND node = %s AND NOT done"
        connection.execute(query, ([key.key for key in settled.released], chain.node))
    if settled.done:
        # A claim that the store lost is made again.
        connection.execute(
            "INSERT INTO likd_keys AS t (key, node, epoch, digest, events, done)"
            " SELECT key, %s, %s, digest, events, true FROM unnest(%s::text[], %s::bytea[], %s::bigint[])"
            " AS d (key, digest, events) ORDER BY key ON CONFLICT (key) DO UPDATE"
            " SET done = true, events = excluded.events WHERE t.node = excluded.node",
            (
                chain.node,
                chain.epoch,
                [key.key for key, _ in settled.done],
                [key.digest for key, _ in settled.done],
                [events for _, events in settled.done],
            ),
        )


def _claim(key: IdempotencyKey, row: Sequence[Any]) -> Claim:
    is_made, digest, done, events = row
    if is_made:
        return Claim("mine")
    if digest is not None and bytes(digest) != key.digest:
        return Claim("reused")
    # Without a row that can be seen another claims it in this moment.
    return Claim("taken", events or 0) if done else Claim("pending")
