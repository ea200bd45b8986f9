"""The records of a state file: NDJSON.

Some fields keep the names that they had in the first version.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import msgspec

from likd.cli.sending.line_ranges import ByteRange
from likd.cli.sending.line_stats import LineStats


class Options(msgspec.Struct, frozen=True):
    """What must stay the same when a delivery is resumed: the bytes of the requests depend on it."""

    format: str
    site: str | None
    batch: int
    gzip: bool
    count_all: bool | None = None
    """None: begun by a version that counted everything."""


class Begin(msgspec.Struct, frozen=True, tag_field="op", tag="likd-send"):
    """The first record. `run` distinguishes this delivery's keys from those of all others."""

    version: int
    run: str
    options: Options


class File(msgspec.Struct, frozen=True, tag_field="op", tag="file"):
    """A file, and what identifies it: its inode, and the digest of its first bytes.

    A later record with the same `id` replaces the earlier one.
    """

    id: int
    path: str
    inode: int
    head_bytes: int
    head: str


class Ended(msgspec.Struct, frozen=True, tag_field="op", tag="ended"):
    """The file was rotated away and grows no more: it ends at `end`. Once settled, it is no longer looked for."""

    file: int
    end: int


class Sending(msgspec.Struct, frozen=True, tag_field="op", tag="sending"):
    """A batch is about to be sent: where its lines are, the digest of its body, the time (seconds since 1970)."""

    key: str
    file: int
    byte_range: ByteRange = msgspec.field(name="extent")
    digest: str
    at: float


class Accepted(msgspec.Struct, frozen=True, tag_field="op", tag="accepted"):
    """The batch under `key` was accepted."""

    key: str
    line_stats: LineStats = msgspec.field(name="tally")


class Refused(msgspec.Struct, frozen=True, tag_field="op", tag="refused"):
    """The batch under `key` was refused as a whole; its lines will be sent in another batch."""

    key: str


class SetAside(msgspec.Struct, frozen=True, tag_field="op", tag="set-aside"):
    """Nothing at `byte_range` needs to be sent."""

    file: int
    byte_range: ByteRange = msgspec.field(name="extent")
    line_stats: LineStats = msgspec.field(name="tally")


Record: TypeAlias = Begin | File | Ended | Sending | Accepted | Refused | SetAside
decode = msgspec.json.Decoder(Record).decode
encode = msgspec.json.encode


def digest(content: bytes) -> str:
    """The fields of a record that identify `content`."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
