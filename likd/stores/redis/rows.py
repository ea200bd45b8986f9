"""What is given to a bucket: rows, actors and history, packed for the script that adds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from likd.model import Counts, Likings, Rows, count_of, done_by, undo_of
from likd.runtime.cooperative import Steps
from likd.stores.protocol import UNIT_SECONDS, Retention, Unit
from likd.stores.redis import scripts
from likd.stores.redis.cluster import Call
from likd.stores.redis.keys import BUCKETS, SLOTS, UNITS, Keys, began
from likd.stores.redis.line import packed

URL_KEY_BYTES = 8
SLICE_ROWS = 200
"""Rows that are packed in one step: about a millisecond."""
EXACT_MAX = 2**53
"""Numbers up to here are given as such: Lua's are floats."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_ADD = scripts.digest(scripts.ADD)


@attrs.define
class Bucket:
    """What one bucket is given."""

    rows: Rows = attrs.field(factory=dict)
    actors: Likings = attrs.field(factory=dict)
    past: dict[int, Rows] = attrs.field(factory=dict)
    """Rows by the minutes in which they came, if that is not one for all."""


def by_bucket(rows: Rows, actors: Likings, url_key: Callable[[str], bytes]) -> Steps[list[Bucket]]:
    """What each bucket is given of these."""
    buckets = [Bucket() for _ in range(BUCKETS)]
    for number, (url, counts) in enumerate(rows.items(), start=1):
        buckets[url_key(url)[0]].rows[url] = counts
        if number % SLICE_ROWS == 0:
            yield
    for number, (key, liking) in enumerate(actors.items(), start=1):
        buckets[key[0]].actors[key] = liking
        if number % SLICE_ROWS == 0:
            yield
    return buckets


@attrs.frozen
class Packer:
    """Packs what counts of `names` a bucket is given, for how long its history is kept."""

    keys: Keys
    names: tuple[str, ...]
    retention: Retention
    url_key: Callable[[str], bytes]
    ranked: bool

    def add(self, number: int, bucket: Bucket, minute: int | None, now: int, about: Mapping[str, Any]) -> Call:
        """The call that adds what `bucket` is given, in the bucket of this `number`; `about` says by whom.

        All of it came in `minute`, unless its own past says when. Times are in minutes since 1970.
        """
        keys = [self.keys.marks(number)]
        said: dict[str, Any] = {**about, "names": self.names, "actors": (), "past": ()}
        if "load" in about:
            keys.append(self.keys.of(number, b"l"))
        if bucket.rows:
            keys.append(self.keys.of(number, b"u"))
            said["u"] = len(keys)
            if self.ranked:
                said["t"] = len(keys)
                keys += [self.keys.of(number, b"t:" + by.encode()) for by in ranked_by(self.names)]
            if self.ranked and {"likes", "unlikes"} <= set(self.names):
                said["net"] = len(keys)
                said["likes"], said["unlikes"] = self.names.index("likes") + 1, self.names.index("unlikes") + 1
        past = bucket.past if minute is None else {minute: None} if bucket.rows else {}
        at_of = {url: at for at, url in enumerate(bucket.rows, start=1)}
        said["past"] = [
            self._past(keys, number, unit, when, rows, at_of, now)
            for when, rows in past.items()
            for unit in self._units(when, now)
        ]
        begin = self.keys.counts(number)
        said["c"], said["cut"] = len(keys), len(begin) + 1
        keys += [begin + url.encode() for url in bucket.rows]
        said["rows"] = [_numbers(counts, self.names) for counts in bucket.rows.values()]
        if bucket.actors:
            said["actors"] = self._actors(keys, number, bucket, at_of)
        return Call(
            SLOTS[number],
            packed(
                b"EVALSHA",
                _ADD,
                b"%d" % len(keys),
                *keys,
                _pack(said),
                # Lua's decoder has no bytes.
                *(key[URL_KEY_BYTES:] for key in bucket.actors),
            ),
        )

    def kept_seconds(self, unit: Unit) -> int:
        """How long after its beginning a unit of time is in the history."""
        match unit:
            case "minute":
                seconds = self.retention.minute_hours * 3600
            case "hour":
                seconds = self.retention.hour_days * 86_400
            case "day":
                seconds = self.retention.day_days * 86_400
        return seconds + UNIT_SECONDS[unit]

    def _past(
        self,
        keys: list[bytes],
        number: int,
        unit: Unit,
        minute: int,
        rows: Rows | None,
        at_of: Mapping[str, int],
        now: int,
    ) -> list[Any]:
        at = began(unit, minute)
        keys.append(self.keys.past(number, unit, at))
        # By this clock, whatever that of the server says.
        place = [len(keys), at + self.kept_seconds(unit) - now * 60]
        if rows is None:
            return place
        return [*place, [_numbers(counts, self.names) for counts in rows.values()], [at_of[url] for url in rows]]

    def _units(self, minute: int, now: int) -> list[Unit]:
        """By which units the history still has `minute`."""
        return [unit for unit in UNITS if began(unit, minute) + self.kept_seconds(unit) > now * 60]

    def _actors(self, keys: list[bytes], number: int, bucket: Bucket, at_of: Mapping[str, int]) -> list[Any]:
        begin = self.keys.actors(number)
        row_of = {self.url_key(url): at for url, at in at_of.items()}
        place: dict[bytes, int] = {}
        index = {name: at for at, name in enumerate(self.names, start=1)}
        said: list[Any] = []
        for key, (likes, net) in bucket.actors.items():
            url_key = key[:URL_KEY_BYTES]
            if url_key not in place:
                keys.append(begin + url_key)
                place[url_key] = len(keys)
            done = done_by(key)
            up, down = index.get(count_of(done), 0), index.get(count_of(undo_of(done)), 0)
            row = row_of.get(url_key, 0) if up and down else 0
            said.append((place[url_key], likes, False if net is None else net, row, up, down))
        return said


def ranked_by(names: Sequence[str]) -> list[str]:
    """What top lists there are by: each count, and likes less unlikes."""
    return [*names, *(["net"] if {"likes", "unlikes"} <= set(names) else [])]


def told(answer: bytes) -> Rows:
    """What a bucket added by itself."""
    rows: Rows = {}
    if answer:
        words = _unpack(answer)
        for url, name, n in zip(words[::3], words[1::3], words[2::3], strict=True):
            rows.setdefault(_text(url), {})[_text(name)] = n
    return rows


def counts_of(flat: Sequence[bytes]) -> Counts:
    """The counts of a hash."""
    return {name.decode(): n for name, number in zip(flat[::2], flat[1::2], strict=True) if (n := int(number))}


def _numbers(counts: Counts, names: Iterable[str]) -> list[int | str]:
    return [n if n < EXACT_MAX else str(n) for n in [counts.get(name, 0) for name in names]]


def _text(word: str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else word
