"""The names of all keys: 256 buckets, each of which a hash tag keeps on one server, and what is about all of them.

    {prefix}:{b}:m                  hash   how far each data directory is in the bucket: mark, epoch, life, answer
    {prefix}:{b}:c:<url>            hash   counts
    {prefix}:{b}:a:<url key>        set    actors who like it, by the rest of their keys
    {prefix}:{b}:u                  zset   all URLs, in the order of their bytes
    {prefix}:{b}:t:<by>             zset   those with the most, the most first
    {prefix}:{b}:h:<unit>:<at>      hash   what came in a minute, hour or day: URL to "<name>=<number> ..."
    {prefix}:{b}:l                  set    names of the starting counts that are in the bucket
    {prefix}:{meta}:m               hash   how far each data directory is in all
    {prefix}:{meta}:nodes           hash   data directory to node
    {prefix}:{meta}:settings        hash   schema, fingerprint of the actors' secret
    {prefix}:{meta}:loads           set    names of the starting counts that are in all buckets
    {prefix}:{meta}:feed:<source>   stream what a data directory brought in the last ten minutes

A bucket is the first byte of the URL's key: so that the actors, of whom the store knows nothing but their keys, are
where their URL's counts are, and are told apart in the same step.
"""

from __future__ import annotations

from binascii import crc_hqx

import attrs

from likd.stores.protocol import UNIT_SECONDS, Unit

BUCKETS = 256
META = BUCKETS
"""The number of what is about all buckets."""
UNITS: tuple[Unit, ...] = ("minute", "hour", "day")


def slot_of(tag: bytes) -> int:
    """The slot of all keys with this hash tag."""
    return crc_hqx(tag, 0) % 16_384


TAGS = [*(b"%d" % bucket for bucket in range(BUCKETS)), b"meta"]
SLOTS = [slot_of(tag) for tag in TAGS]


@attrs.frozen
class Keys:
    """The keys that begin with `prefix`."""

    prefix: str
    _begins: list[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_begins", [b"%b:{%b}:" % (self.prefix.encode(), tag) for tag in TAGS])

    def of(self, bucket: int, rest: bytes) -> bytes:
        """A key of `bucket`."""
        return self._begins[bucket] + rest

    def marks(self, bucket: int) -> bytes:
        """How far data directories are there."""
        return self._begins[bucket] + b"m"

    def counts(self, bucket: int) -> bytes:
        """How the keys of counts begin, before the URL."""
        return self._begins[bucket] + b"c:"

    def actors(self, bucket: int) -> bytes:
        """How the keys of actors begin, before the URL's key."""
        return self._begins[bucket] + b"a:"

    def past(self, bucket: int, unit: Unit, at: int) -> bytes:
        """What came in the unit of time that began `at` (seconds since 1970)."""
        return self._begins[bucket] + b"h:%b:%d" % (unit.encode(), at)


def began(unit: Unit, minute: int) -> int:
    """When the unit of time began in which `minute` (since 1970) is, in seconds since 1970."""
    seconds = UNIT_SECONDS[unit]
    return minute * 60 // seconds * seconds
