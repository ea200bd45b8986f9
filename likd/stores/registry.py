"""Finds the kind of store that a URL names: `sqlite:///likd.db`, and whatever else is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import attrs

from likd.errors import StartError
from likd.stores.database import Database
from likd.stores.protocol import NativeStore, Retention


@attrs.frozen(kw_only=True)
class Place:
    """What a store has to know about its daemon.

    `source` identifies the data directory whose tables are applied, `url_key` returns the beginning of the keys of a
    URL's actors, and `secret_fingerprint` identifies the secret that they are made with. `cache_mib` is the size of an
    embedded store's cache, in MiB, and `top_indexes` whether a shared one has indexes for top lists.
    """

    data_dir: Path
    source: str
    retention: Retention
    cache_mib: int
    url_key: Callable[[str], bytes]
    secret_fingerprint: str = ""
    top_indexes: bool = True


Opener: TypeAlias = Callable[[str, Place], "Database | NativeStore"]
"""Makes what the part of a URL after `scheme://` names. Raises StartError."""


def _sqlite(rest: str, place: Place) -> Database:
    from likd.stores.sqlite.store import SqliteDatabase

    if not rest.startswith("/") or rest.endswith("/"):
        raise StartError(f"the store sqlite://{rest} does not name a file: expected, for example, sqlite:///likd.db")
    # One slash ends the (empty) host; a path that begins with another is absolute.
    path = place.data_dir / rest[1:]
    return SqliteDatabase(path, place.source, place.retention, cache_mib=place.cache_mib, url_key=place.url_key)


def _postgresql(rest: str, place: Place) -> Database:
    try:
        from likd.stores.postgres.connection import conninfo
        from likd.stores.postgres.store import PostgresDatabase
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in ("psycopg", "psycopg_binary"):
            raise
        raise StartError("a store in PostgreSQL needs psycopg: pip install 'likd[postgresql]'") from None
    return PostgresDatabase(
        conninfo(f"postgresql://{rest}"),
        place.source,
        place.retention,
        url_key=place.url_key,
        secret_fingerprint=place.secret_fingerprint,
        top_indexes=place.top_indexes,
    )


def _redis_cluster(rest: str, place: Place, *, tls: bool = False) -> NativeStore:
    try:
        from likd.stores.redis.address import parse
        from likd.stores.redis.store import RedisStore
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "coredis":
            raise
        raise StartError("a store in Redis Cluster needs coredis: pip install 'likd[redis]'") from None
    return RedisStore(
        parse(rest, tls=tls),
        place.source,
        place.retention,
        url_key=place.url_key,
        secret_fingerprint=place.secret_fingerprint,
        top_indexes=place.top_indexes,
    )


OPENERS: Mapping[str, Opener] = MappingProxyType(
    {
        "sqlite": _sqlite,
        "postgresql": _postgresql,
        "postgres": _postgresql,
        "redis+cluster": _redis_cluster,
        "rediss+cluster": partial(_redis_cluster, tls=True),
    }
)
"""The kinds of stores, by URL scheme. What a kind needs is imported when one is opened."""


def open_url(url: str, place: Place) -> Database | NativeStore:
    """What `url` names, not yet open. Raises StartError."""
    scheme, _, rest = url.partition("://")
    opener = OPENERS.get(scheme)
    if opener is None:
        raise StartError(f"there is no store of the kind {scheme[:40]!r}: expected one of {', '.join(OPENERS)}")
    return opener(rest, place)
