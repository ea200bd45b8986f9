"""Reads of single URLs and actors, each bucket of one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs
import msgspec
import trio

from likd.model import Counts, Rows
from likd.stores.protocol import UNIT_SECONDS, Unit
from likd.stores.redis import scripts
from likd.stores.redis.cluster import Call, Cluster
from likd.stores.redis.keys import SLOTS, Keys
from likd.stores.redis.line import packed
from likd.stores.redis.rows import URL_KEY_BYTES, counts_of, told

URLS_AT_ONCE = 500
"""URLs that one script reads: about a millisecond of its server."""

_pack = msgspec.msgpack.Encoder().encode
_READ, _LIKING = map(scripts.digest, (scripts.READ, scripts.LIKING))


@attrs.frozen
class Reads:
    """Reads for the data directory `source`; `url_key` tells in which bucket a URL is."""

    keys: Keys
    source: bytes
    url_key: Callable[[str], bytes]

    async def counts(self, cluster: Cluster, urls: Iterable[str]) -> tuple[dict[str, int], Rows, Rows]:
        """As of which mark each of `urls` is, what was added to it by itself last, and the counts of those it has."""
        asked: dict[int, list[str]] = {}
        for url in urls:
            asked.setdefault(self.url_key(url)[0], []).append(url)
        parts = [
            (number, some[at : at + URLS_AT_ONCE])
            for number, some in asked.items()
            for at in range(0, len(some), URLS_AT_ONCE)
        ]
        calls = [
            Call(
                SLOTS[number],
                packed(
                    b"EVALSHA",
                    _READ,
                    b"%d" % (len(some) + 1),
                    self.keys.marks(number),
                    *(self.keys.counts(number) + url.encode() for url in some),
                    self.source,
                ),
            )
            for number, some in parts
        ]
        marks: dict[str, int] = {}
        corrections: Rows = {}
        rows: Rows = {}
        for (_, some), (mark, answer, *hashes) in zip(parts, await cluster.ask(calls), strict=True):
            corrections |= told(answer)
            for url, flat in zip(some, hashes, strict=True):
                marks[url] = mark
                if counts := counts_of(flat):
                    rows[url] = counts
            await trio.lowlevel.checkpoint()
        return marks, corrections, rows

    async def liking(self, cluster: Cluster, keys: Sequence[bytes]) -> tuple[int | None, set[bytes]]:
        """Those of `keys` whose actor likes the URL, and the lowest mark as of which that is, None of no keys."""
        asked: dict[int, list[bytes]] = {}
        for key in keys:
            asked.setdefault(key[0], []).append(key)
        replies = await cluster.ask([self._liking(number, some) for number, some in asked.items()])
        found = {
            key
            for some, (_, *likes) in zip(asked.values(), replies, strict=True)
            for key, likes_it in zip(some, likes, strict=True)
            if likes_it
        }
        return min((mark for mark, *_ in replies), default=None), found

    async def history(self, cluster: Cluster, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        """What `url` got in each unit of time from `begin` until before `end` (seconds since 1970)."""
        number, seconds = self.url_key(url)[0], UNIT_SECONDS[unit]
        times = range(-(-begin // seconds) * seconds, end, seconds)
        found: list[tuple[int, Counts]] = []
        for at in range(0, len(times), URLS_AT_ONCE):
            some = times[at : at + URLS_AT_ONCE]
            calls = [
                Call(SLOTS[number], packed(b"HGET", self.keys.past(number, unit, each), url.encode())) for each in some
            ]
            for each, text in zip(some, await cluster.ask(calls), strict=True):
                if text is not None:
                    pairs = (word.split("=") for word in text.decode().split())
                    found.append((each, {name: int(n) for name, n in pairs}))
        return found

    def _liking(self, number: int, asked: list[bytes]) -> Call:
        begin = self.keys.actors(number)
        place = {url_key: at for at, url_key in enumerate(dict.fromkeys(key[:URL_KEY_BYTES] for key in asked), start=2)}
        keys = [self.keys.marks(number), *(begin + url_key for url_key in place)]
        places = [place[key[:URL_KEY_BYTES]] for key in asked]
        words = [self.source, _pack(places), *(key[URL_KEY_BYTES:] for key in asked)]
        return Call(SLOTS[number], packed(b"EVALSHA", _LIKING, b"%d" % len(keys), *keys, *words))
