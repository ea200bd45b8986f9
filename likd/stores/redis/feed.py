"""What a node tells the others: an entry of its stream for each apply, which they read when they see its mark move."""

from __future__ import annotations

import zlib

import msgspec

from likd.stores.protocol import Increments, News
from likd.stores.redis.cluster import Call, Cluster
from likd.stores.redis.keys import META, SLOTS, Keys
from likd.stores.redis.line import packed

ENTRIES_AT_ONCE = 16

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[list[str], list[bytes]]).decode


def key(keys: Keys, source: bytes) -> bytes:
    """The stream of a data directory."""
    return keys.of(META, b"feed:" + source)


def body(increments: Increments) -> bytes:
    """Whom `increments` are about: URLs, and the keys of actors."""
    return zlib.compress(_pack((list(increments.rows), list(increments.actors))), 1)


async def news(cluster: Cluster, keys: Keys, source: str, last: News | None) -> News:
    """What other nodes than that of `source` brought since the `last` news."""
    slot = SLOTS[META]
    calls = [
        Call(slot, packed(b"HGETALL", keys.of(META, b"nodes"))),
        Call(slot, packed(b"HGETALL", keys.marks(META))),
        Call(slot, packed(b"SCARD", keys.of(META, b"loads"))),
    ]
    nodes, marked, loads = await cluster.ask(calls)
    mark_of = dict(zip(marked[::2], marked[1::2], strict=True))
    others = zip(nodes[::2], nodes[1::2], strict=True)
    source_of = {int(node): who for who, node in others if who != source.encode()}
    marks = {node: int(mark_of.get(who, 0)) for node, who in source_of.items()}
    changed = f"{loads}"
    if last is None or changed != last.changed:
        return News(marks, 0, changed)
    urls: set[str] = set()
    actors: set[bytes] = set()
    for node, mark in marks.items():
        known = last.marks.get(node, 0)
        if mark == known:
            continue
        told = await _told(cluster, Call(slot, b""), key(keys, source_of[node]), known) if mark > known else None
        if told is None:
            # It went back in time, told nothing when it was alone, or so long ago that it is not there any more.
            return News(marks, 0, changed)
        for entry in told:
            some, some_actors = _unpack(zlib.decompress(entry))
            urls.update(some)
            actors.update(some_actors)
    return News(marks, 0, changed, urls, actors)


async def _told(cluster: Cluster, call: Call, stream: bytes, known: int) -> list[bytes] | None:
    """What was told of tables behind `known`, None if not all of it is there."""
    told: list[bytes] = []
    until = b"+"
    while True:
        words = [b"XREVRANGE", stream, until, b"-", b"COUNT", b"%d" % ENTRIES_AT_ONCE]
        (entries,) = await cluster.ask([Call(call.slot, packed(*words))])
        for number, flat in entries:
            entry = dict(zip(flat[::2], flat[1::2], strict=True))
            if int(entry[b"last"]) <= known:
                return told
            told.append(entry[b"body"])
            if int(entry[b"first"]) <= known + 1:
                return told
            until = b"(" + number
        if not entries:
            return None
