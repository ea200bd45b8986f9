"""The settings of the engine, in groups: a part gets its own, and not all."""

from __future__ import annotations

from typing import ClassVar

import attrs

from likd.config import parsers
from likd.config.setting import declared

_KEYS = ("auto", "node")
_DURABILITIES = ("fsync", "os", "none")
_KEYS = ("auto", "node")


@attrs.frozen(kw_only=True, slots=False)
class CountedSettings:
    """Which events and URLs there are, and which requests are the same."""

    TITLE: ClassVar[str] = "What is counted"

    kinds: tuple[str, ...] = declared(
        parsers.kinds,
        "",
        "NAMES",
        "Additional kinds of events to count, for example clap,laugh; unclap and unlaugh take them back.",
    )
    ignore_bots: bool = declared(
        parsers.flag,
        "true",
        "true|false",
        "Do not count impressions from the public that come from bots or prefetches.",
    )
    same_schemes: bool = declared(
        parsers.flag,
        "true",
        "true|false",
        "Count a page's http and https addresses as one URL, the https one.",
    )
    drop_parameters: tuple[str, ...] = declared(
        parsers.words(
            lambda word: bool(parsers.PARAMETER.fullmatch(word)), "names of query parameters, for example utm_*,fbclid"
        ),
        "",
        "NAMES",
        "Query parameters to ignore: URLs that differ only in them count as one, for example utm_*,fbclid,gclid.",
    )
    keys: str = declared(
        parsers.choice(*_KEYS),
        "auto",
        "",
        "Who knows Idempotency-Keys: 'auto' means all nodes that share a store; 'node' means each node its own, for"
        " retries that always go to the node that got the first attempt.",
        _KEYS,
    )
    keys_window: float = declared(
        parsers.seconds(1, 31_536_000), 86_400, "SECONDS", "How long an Idempotency-Key is remembered."
    )
    keys_max: int = declared(
        parsers.number(int, 1, 100_000_000),
        200_000,
        "KEYS",
        "The most Idempotency-Keys remembered for each token, about 60 bytes each; all callers without a token"
        " share a quarter of that number.",
    )


@attrs.frozen(kw_only=True, slots=False)
class CountingSettings:
    """How events are counted: journal, tables, counters."""

    TITLE: ClassVar[str] = "Counting"

    durability: str = declared(
        parsers.choice(*_DURABILITIES),
        "fsync",
        "",
        "When an event is acknowledged: 'fsync' once it is on disk; 'os' once the operating system has it (power"
        " loss can lose it); 'none' at once, without a journal (a crash loses the open tables).",
        _DURABILITIES,
    )
    table_limit: int = declared(
        parsers.number(int, 1, 1_000_000),
        2000,
        "URLS",
        "The number of unique URLs at which a table is swapped for a new one.",
    )
    table_limit_max: int = declared(
        parsers.number(int, 1, 1_000_000),
        10_000,
        "URLS",
        "How far --table-limit grows while tables fill within half a second; with a value no higher than"
        " --table-limit, the limit stays as it is.",
    )
    flush_interval: float = declared(
        parsers.seconds(0.01, 3600), 5, "SECONDS", "The age at which a table is swapped for a new one."
    )
    pool_size: int = declared(
        parsers.number(int, 1, 1_000_000),
        100,
        "COUNTERS",
        "The number of counters kept ready; 10 % more are kept as a buffer.",
    )
    counters_max: int = declared(
        parsers.number(int, 1, 10_000_000),
        50_000,
        "COUNTERS",
        "The most counters; beyond that, requests are refused (503), and a single request with more URLs is"
        " refused, too (413).",
    )
    hung_timeout: float = declared(
        parsers.seconds(0.05, 3600), 5, "SECONDS", "A counter whose observer takes longer than this is restarted."
    )
    max_leases: int = declared(
        parsers.number(int, 1, 1_000_000_000),
        1000,
        "LEASES",
        "How many tables a counter serves before it is replaced.",
    )
    cache_actors_max: int = declared(
        parsers.number(int, 1000, 100_000_000),
        100_000,
        "LIKINGS",
        "The number of actor-URL pairs for which memory holds whether the actor likes the URL.",
    )


@attrs.frozen(kw_only=True, slots=False)
class StoreSettings:
    """Where totals are kept permanently, and for how long."""

    TITLE: ClassVar[str] = "The store"

    store: str = declared(
        parsers.store_url,
        "sqlite:///likd.db",
        "URL",
        "Where totals are kept permanently: sqlite:///FILE, in the data directory unless FILE begins with a slash;"
        " postgresql://USER@HOST:PORT/DATABASE, without a password; or"
        " redis+cluster://USER@HOST:PORT,HOST:PORT/PREFIX, with the password in LIKD_REDIS_PASSWORD.",
    )
    node_name: str = declared(
        parsers.node_name,
        "",
        "NAME",
        "What this daemon is called among those that share a store, for people; by default the machine's name.",
    )
    actor_secret_file: str = declared(
        parsers.optional_path,
        "",
        "FILE",
        "File with the secret that actors are hashed with: 64 hexadecimal digits, the same for every node that"
        " shares a store. LIKD_ACTOR_SECRET can hold it instead. Without either, each data directory makes its own.",
    )
    write_tolerance: float | None = declared(
        parsers.auto(parsers.number(float, 1, 1e9)),
        10_000,
        "ROWS_PER_SECOND|auto",
        "The most rows per second that are written to the store; 'auto' finds what the store can take beside whatever"
        " else it has to do.",
    )
    store_cache: int = declared(
        parsers.size(1, 1_000_000, each=1 << 20),
        64,
        "MIB",
        "The most memory in which the embedded store caches the pages it writes to; it grows with use.",
    )
    top_indexes: bool = declared(
        parsers.flag,
        "true",
        "true|false",
        "Whether PostgreSQL has indexes for top lists. They double the cost of a write; without them, a top list"
        " takes longer the more URLs there are.",
    )
    keep_minutes: int = declared(
        parsers.seconds(1, 100_000, each=3600, kind=int), 48, "HOURS", "How long the store keeps counts per minute."
    )
    keep_hours: int = declared(
        parsers.seconds(1, 100_000, each=86_400, kind=int), 90, "DAYS", "How long it keeps counts per hour."
    )
    keep_days: int = declared(
        parsers.seconds(1, 100_000, each=86_400, kind=int), 1830, "DAYS", "How long it keeps counts per day."
    )
    keep_batches: int = declared(
        parsers.number(int, 0, 1_000_000), 0, "FILES", "How many applied batch files to keep; the newest are kept."
    )
    replay_window: float | None = declared(
        parsers.auto(parsers.seconds(0, 31_536_000)),
        "auto",
        "SECONDS",
        "How long applied batch files are kept, so that they can be applied again to a store that went back in"
        " time (a backup, a failover); 'auto' is 0 for sqlite, 60 for postgresql and 300 for"
        " redis+cluster.",
    )
    replay_bytes_max: int = declared(
        parsers.size(0, 1 << 50), 256 << 20, "BYTES", "Disk space for the batch files kept that way."
    )
    cache_urls_max: int = declared(
        parsers.number(int, 1000, 100_000_000),
        50_000,
        "URLS",
        "The number of URLs whose totals are kept in memory for reads.",
    )


@attrs.frozen(kw_only=True, slots=False)
class LiveSettings:
    """What those who watch are told."""

    TITLE: ClassVar[str] = "Connections"

    live_interval: float = declared(
        parsers.seconds(0.01, 60), 0.25, "SECONDS", "The shortest time between two updates to a websocket."
    )
    watches_max: int = declared(
        parsers.number(int, 1, 1_000_000), 1000, "URLS", "The most URLs that one websocket may watch."
    )


@attrs.frozen(kw_only=True, slots=False)
class LimitSettings:
    """How much may wait before more is refused, and for how long."""

    TITLE: ClassVar[str] = "Limits under load"

    inbox_max: int = declared(
        parsers.number(int, 1, 1_000_000), 4096, "REQUESTS", "Requests that may wait to be counted; beyond that, 503."
    )
    tables_waiting_max: int = declared(
        parsers.number(int, 1, 10_000),
        64,
        "TABLES",
        "Swapped tables that may still be without a batch file; beyond that, 503.",
    )
    rows_waiting_max: int = declared(
        parsers.number(int, 1, 100_000_000),
        500_000,
        "ROWS",
        "Rows that may wait for the store, at 400 bytes of memory each; beyond that, 503.",
    )
    disk_free_min: int = declared(
        parsers.size(0, 1 << 50), 64 << 20, "BYTES", "Free disk space below which requests are refused (503)."
    )
    aside_bytes_max: int = declared(
        parsers.size(0, 1 << 50),
        256 << 20,
        "BYTES",
        "Disk space for events that a failing handler could not count; beyond that, 503.",
    )
    blocked_seconds: float = declared(
        parsers.seconds(0.05, 3600), 1, "SECONDS", "An event loop that is blocked for longer than this is reported."
    )
    shutdown_timeout: float = declared(
        parsers.seconds(0.1, 3600),
        10,
        "SECONDS",
        "How long a shutdown may take to write tables to the store.",
    )


@attrs.frozen(kw_only=True, slots=False)
class EngineSettings(CountedSettings, CountingSettings, StoreSettings, LiveSettings, LimitSettings):
    """What an engine is composed by."""
