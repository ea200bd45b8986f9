"""Which kind of store a URL names: `sqlite:///likd.db` and what else is registered."""

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
    """What a store has to know of the daemon that it is for.

    `source` names the data directory whose tables are applied, `url_key` tells how the keys of a URL's actors begin,
    and `secret_fingerprint` with which secret they are made. `cache_mib` is how much of it an embedded store keeps in
    memory, in MiB, and `top_indexes` whether a shared one has indexes for top lists.
    """

    data_dir: Path
    source: str
    retention: Retention
    cache_mib: int
    url_key: Callable[[str], bytes]
    secret_fingerprint: str = ""
    top_indexes: bool = True


Opener: TypeAlias = Callable[[str, Place], "Database | NativeStore"]
"""Makes what the rest of a URL, behind `scheme://`, names. Raises StartError."""


def _sqlite(rest: str, place: Place) -> Database:
    from likd.stores.sqlite.store import SqliteDatabase

    if not rest.startswith("/") or rest.endswith("/"):
        raise StartError(f"the store sqlite://{rest} names no file: expected, for example, sqlite:///likd.db")
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
"""What there is, by the scheme of its URLs. What a kind needs is imported when one is opened."""


def open_url(url: str, place: Place) -> Database | NativeStore:
    """What `url` names, yet to be opened. Raises StartError."""
    scheme, _, rest = url.partition("://")
    opener = OPENERS.get(scheme)
    if opener is None:
        raise StartError(f"there is no store of the kind {scheme[:40]!r}: expected one of {', '.join(OPENERS)}")
    return opener(rest, place)
