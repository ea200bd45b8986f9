"""Settings: from flags, environment and likd.toml, validated, each with its unit."""

from __future__ import annotations

import os
import tomllib
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from likd.config import parsers
from likd.config.parsers import Bind, UnixBind
from likd.errors import LikdError

CONFIG_FILE = "likd.toml"
PREFIX = "LIKD_"
OTHER_VARIABLES = frozenset(
    {
        f"{PREFIX}{name}"
        for name in (
            "ADMIN_TOKEN",
            "WRITE_TOKENS",
            "ACTOR_SECRET",
            "REDIS_PASSWORD",
            "REDIS_PASSWORD_FILE",
            "CONFIG",
            "URL",
            "TOKEN",
            "TEST_FAULTS",
            "TEST_REDIS",
        )
    }
)
"""Variables that likd reads although they are not settings of the daemon."""


class ConfigError(LikdError, ValueError):
    """A setting is invalid; the message names it, its source and what was expected."""


@attrs.frozen
class Setting:
    """How one setting is read and explained."""

    name: str
    parse: Callable[[object], object]
    default: object
    unit: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()


def _setting(
    parse: Callable[[object], object], default: object, unit: str, description: str, choices: tuple[str, ...] = ()
) -> Any:
    return attrs.field(
        default=attrs.Factory(lambda: parse(default)),
        metadata={"parse": parse, "default": default, "unit": unit, "help": description, "choices": choices},
    )


_DURABILITIES = ("fsync", "os", "none")
_PUBLIC_ACTORS = ("required", "address", "free")
_KEYS = ("auto", "node")
_LOG_FORMATS = ("auto", "console", "json")


@attrs.frozen(kw_only=True)
class Config:
    """All settings of the daemon."""

    bind: tuple[Bind | UnixBind, ...] = _setting(
        parsers.binds,
        "127.0.0.1:8080",
        "HOST:PORT|unix:PATH",
        "Where to listen; separate several addresses with commas. Port 0 lets the system choose.",
    )
    socket_mode: int = _setting(
        parsers.mode, "0660", "MODE", "Permissions of a Unix socket: whoever may write to it may connect."
    )
    base_path: str = _setting(
        parsers.base_path, "", "PATH", "The path under which everything is served, for example /likes."
    )
    processes: int = _setting(
        parsers.processes,
        1,
        "N|auto",
        "Front processes that handle HTTP for the engine, the process that counts; with 1 there are none and the"
        " engine does it itself; auto is one fewer than there are processors.",
    )
    data_dir: Path = _setting(parsers.path, "data", "DIR", "Directory for journal, batch files and the embedded store.")
    store: str = _setting(
        parsers.store_url,
        "sqlite:///likd.db",
        "URL",
        "Where totals are kept permanently: sqlite:///FILE, in the data directory unless FILE begins with a slash;"
        " postgresql://USER@HOST:PORT/DATABASE, without a password; or"
        " redis+cluster://USER@HOST:PORT,HOST:PORT/PREFIX, with the password in LIKD_REDIS_PASSWORD.",
    )
    durability: str = _setting(
        parsers.choice(*_DURABILITIES),
        "fsync",
        "",
        "When an event is acknowledged: 'fsync' once it is on disk; 'os' once the operating system has it (power"
        " loss can lose it); 'none' at once, without a journal (a crash loses the open tables).",
        _DURABILITIES,
    )
    table_limit: int = _setting(
        parsers.number(int, 1, 1_000_000),
        2000,
        "URLS",
        "The number of unique URLs at which a table is swapped for a new one.",
    )
    table_limit_max: int = _setting(
        parsers.number(int, 1, 1_000_000),
        10_000,
        "URLS",
        "How far --table-limit grows while tables fill within half a second; with a value no higher than"
        " --table-limit, the limit stays as it is.",
    )
    flush_interval: float = _setting(
        parsers.seconds(0.01, 3600), 5, "SECONDS", "The age at which a table is swapped for a new one."
    )
    pool_size: int = _setting(
        parsers.number(int, 1, 1_000_000),
        100,
        "COUNTERS",
        "The number of counters kept ready; 10 % more are kept as a buffer.",
    )
    counters_max: int = _setting(
        parsers.number(int, 1, 10_000_000),
        50_000,
        "COUNTERS",
        "The most counters; beyond that, requests are refused (503), and a single request with more URLs is"
        " refused, too (413).",
    )
    hung_timeout: float = _setting(
        parsers.seconds(0.05, 3600), 5, "SECONDS", "A counter whose observer takes longer than this is restarted."
    )
    max_leases: int = _setting(
        parsers.number(int, 1, 1_000_000_000),
        1000,
        "LEASES",
        "How many tables a counter serves before it is replaced.",
    )
    write_tolerance: float | None = _setting(
        parsers.auto(parsers.number(float, 1, 1e9)),
        10_000,
        "ROWS_PER_SECOND|auto",
        "The most rows per second that are written to the store; 'auto' finds what the store can take beside its other"
        " load.",
    )
    keep_batches: int = _setting(
        parsers.number(int, 0, 1_000_000), 0, "FILES", "How many applied batch files to keep; the newest are kept."
    )
    replay_window: float | None = _setting(
        parsers.auto(parsers.seconds(0, 31_536_000)),
        "auto",
        "SECONDS",
        "How long applied batch files are kept, so that they can be applied again to a store that went back in"
        " time (a backup, a failover); 'auto' is 0 for sqlite, 60 for postgresql and 300 for"
        " redis+cluster.",
    )
    replay_bytes_max: int = _setting(
        parsers.size(0, 1 << 50), 256 << 20, "BYTES", "Disk space for the batch files kept that way."
    )
    live_interval: float = _setting(
        parsers.seconds(0.01, 60), 0.25, "SECONDS", "The shortest time between two updates to a websocket."
    )
    inbox_max: int = _setting(
        parsers.number(int, 1, 1_000_000), 4096, "REQUESTS", "Requests that may wait to be counted; beyond that, 503."
    )
    tables_waiting_max: int = _setting(
        parsers.number(int, 1, 10_000),
        64,
        "TABLES",
        "Swapped tables that may still be without a batch file; beyond that, 503.",
    )
    rows_waiting_max: int = _setting(
        parsers.number(int, 1, 100_000_000),
        500_000,
        "ROWS",
        "Rows that may wait for the store, at 400 bytes of memory each; beyond that, 503.",
    )
    disk_free_min: int = _setting(
        parsers.size(0, 1 << 50), 64 << 20, "BYTES", "Free disk space below which requests are refused (503)."
    )
    aside_bytes_max: int = _setting(
        parsers.size(0, 1 << 50),
        256 << 20,
        "BYTES",
        "Disk space for events that a failing handler could not count; beyond that, 503.",
    )
    body_bytes_max: int = _setting(
        parsers.size(1024, 1 << 30),
        32 << 20,
        "BYTES",
        "The largest request body, before and after decompression.",
    )
    bodies_bytes_max: int = _setting(
        parsers.size(1024, 1 << 40),
        256 << 20,
        "BYTES",
        "Memory for all request bodies in flight together; beyond that, 503.",
    )
    keys: str = _setting(
        parsers.choice(*_KEYS),
        "auto",
        "",
        "Who knows Idempotency-Keys: 'auto' all nodes that share a store; 'node' each its own, for those who send a"
        " retry to the node that had the first try.",
        _KEYS,
    )
    keys_window: float = _setting(
        parsers.seconds(1, 31_536_000), 86_400, "SECONDS", "How long an Idempotency-Key is remembered."
    )
    keys_max: int = _setting(
        parsers.number(int, 1, 100_000_000),
        200_000,
        "KEYS",
        "The most Idempotency-Keys remembered for each token, about 60 bytes each; all callers without a token"
        " share a quarter of that number.",
    )
    cache_urls_max: int = _setting(
        parsers.number(int, 1000, 100_000_000),
        50_000,
        "URLS",
        "The number of URLs whose totals are kept in memory for reads.",
    )
    cache_actors_max: int = _setting(
        parsers.number(int, 1000, 100_000_000),
        100_000,
        "LIKINGS",
        "The number of actor-URL pairs for which memory holds whether the actor likes the URL.",
    )
    store_cache: int = _setting(
        parsers.size(1, 1_000_000, each=1 << 20),
        64,
        "MIB",
        "The most memory in which the embedded store caches the pages it writes to; it grows with use.",
    )
    top_indexes: bool = _setting(
        parsers.flag,
        "true",
        "true|false",
        "Whether PostgreSQL has indexes for top lists. They double the cost of a write; without them, a top list"
        " takes longer the more URLs there are.",
    )
    keep_minutes: int = _setting(
        parsers.seconds(1, 100_000, each=3600, kind=int), 48, "HOURS", "How long the store keeps counts per minute."
    )
    keep_hours: int = _setting(
        parsers.seconds(1, 100_000, each=86_400, kind=int), 90, "DAYS", "How long it keeps counts per hour."
    )
    keep_days: int = _setting(
        parsers.seconds(1, 100_000, each=86_400, kind=int), 1830, "DAYS", "How long it keeps counts per day."
    )
    connections_max: int = _setting(
        parsers.number(int, 1, 1_000_000),
        4096,
        "CONNECTIONS",
        "The most open connections; beyond that, new ones are closed.",
    )
    connections_per_address: int = _setting(
        parsers.number(int, 1, 1_000_000),
        256,
        "CONNECTIONS",
        "The most open connections from one address; this machine and trusted proxies may have all of them.",
    )
    head_timeout: float = _setting(
        parsers.seconds(0.1, 3600), 10, "SECONDS", "Time for the head of a request to arrive."
    )
    idle_timeout: float = _setting(
        parsers.seconds(0.1, 3600), 60, "SECONDS", "Time after which a connection without requests is closed."
    )
    watches_max: int = _setting(
        parsers.number(int, 1, 1_000_000), 1000, "URLS", "The most URLs that one websocket may watch."
    )
    blocked_seconds: float = _setting(
        parsers.seconds(0.05, 3600), 1, "SECONDS", "An event loop that is blocked for longer than this is reported."
    )
    shutdown_timeout: float = _setting(
        parsers.seconds(0.1, 3600),
        10,
        "SECONDS",
        "How long a shutdown may take to write tables to the store.",
    )
    same_schemes: bool = _setting(
        parsers.flag,
        "true",
        "true|false",
        "Count a page's http and https addresses as one URL, the https one.",
    )
    drop_parameters: tuple[str, ...] = _setting(
        parsers.words(
            lambda word: bool(parsers.PARAMETER.fullmatch(word)), "names of query parameters, for example utm_*,fbclid"
        ),
        "",
        "NAMES",
        "Query parameters to ignore: URLs that differ only in them count as one, for example utm_*,fbclid,gclid.",
    )
    kinds: tuple[str, ...] = _setting(
        parsers.kinds,
        "",
        "NAMES",
        "Additional kinds of events to count, for example clap,laugh; unclap and unlaugh take them back.",
    )
    admin_token_file: str = _setting(
        parsers.optional_path, "", "FILE", "File with admin tokens, one per line; LIKD_ADMIN_TOKEN adds another."
    )
    write_tokens_file: str = _setting(
        parsers.optional_path,
        "",
        "FILE",
        "File with tokens for posting events, one per line; LIKD_WRITE_TOKENS adds more, separated by commas.",
    )
    node_name: str = _setting(
        parsers.node_name,
        "",
        "NAME",
        "What this daemon is called among those that share a store, for people; else the machine's name.",
    )
    actor_secret_file: str = _setting(
        parsers.optional_path,
        "",
        "FILE",
        "File with the secret that actors are hashed with: 64 hexadecimal digits, the same for every node that"
        " shares a store. LIKD_ACTOR_SECRET can hold it instead. Without either, each data directory makes its own.",
    )
    tokens_file: str = _setting(
        parsers.optional_path,
        "",
        "FILE",
        "File with named tokens, whose names appear in the log; each line has admin or writer, the name and the token.",
    )
    public_sites: tuple[str, ...] = _setting(
        parsers.words(
            lambda word: bool(parsers.HOST.fullmatch(word)), "host names, for example example.com,*.example.org"
        ),
        "",
        "HOSTS",
        "Sites whose pages may be counted and read without a token, for example example.com,*.example.org.",
    )
    public_actors: str = _setting(
        parsers.choice(*_PUBLIC_ACTORS),
        "required",
        "",
        "Whom a like without a token belongs to: 'required' refuses likes without an actor; 'address' derives the"
        " actor from address and browser, whatever the client says; 'free' also counts any number of likes without"
        " an actor.",
        _PUBLIC_ACTORS,
    )
    ignore_bots: bool = _setting(
        parsers.flag,
        "true",
        "true|false",
        "Do not count impressions from the public that come from bots or prefetches.",
    )
    origins: tuple[str, ...] = _setting(
        parsers.words(
            lambda word: bool(parsers.ORIGIN.fullmatch(word)), "origins, for example https://app.example.com"
        ),
        "",
        "ORIGINS",
        "Origins of other pages that may use the API from a browser; * allows all.",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        parsers.words(parsers.is_network, "addresses or networks, for example 127.0.0.1,10.0.0.0/8"),
        "",
        "NETWORKS",
        "Proxies whose X-Forwarded-For is trusted.",
    )
    address_rate: float = _setting(
        parsers.number(float, 0, 1e9),
        20,
        "EVENTS_PER_SECOND",
        "Events and reads per second allowed to an address without a token, once there are tokens or public sites;"
        " 0 sets no limit.",
    )
    address_burst: int = _setting(
        parsers.number(int, 1, 1_000_000_000),
        200,
        "EVENTS",
        "Events and reads allowed to such an address at once, after a pause.",
    )
    token_rate: float = _setting(
        parsers.number(float, 0, 1e9), 0, "EVENTS_PER_SECOND", "The same for each token; 0 sets no limit."
    )
    token_burst: int = _setting(
        parsers.number(int, 1, 1_000_000_000), 1_000_000, "EVENTS", "Events and reads allowed to a token at once."
    )
    tls_cert: str = _setting(
        parsers.optional_path, "", "FILE", "Certificate chain in PEM; with it, likd serves only https. Needs --tls-key."
    )
    tls_key: str = _setting(parsers.optional_path, "", "FILE", "The certificate's private key in PEM.")
    insecure: bool = _setting(
        parsers.flag, "false", "true|false", "Accept connections from other machines even without an admin token."
    )
    log_format: str = _setting(
        parsers.choice(*_LOG_FORMATS),
        "auto",
        "",
        "Log lines for people or as JSON; 'auto' is for people on a terminal, JSON otherwise.",
        _LOG_FORMATS,
    )


GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Addresses and files": (
            "bind",
            "socket_mode",
            "base_path",
            "processes",
            "data_dir",
            "tls_cert",
            "tls_key",
            "log_format",
        ),
        "Access": (
            *(
                "public_sites",
                "public_actors",
                "origins",
                "admin_token_file",
                "write_tokens_file",
                "tokens_file",
                "trusted_proxies",
                "insecure",
            ),
            *("address_rate", "address_burst", "token_rate", "token_burst"),
        ),
        "What is counted": (
            "kinds",
            "ignore_bots",
            "same_schemes",
            "drop_parameters",
            "keys",
            "keys_window",
            "keys_max",
        ),
        "Counting": (
            *(
                "durability",
                "table_limit",
                "table_limit_max",
                "flush_interval",
                "pool_size",
                "counters_max",
                "hung_timeout",
            ),
            *("max_leases", "cache_actors_max"),
        ),
        "The store": (
            *(
                "store",
                "node_name",
                "actor_secret_file",
                "write_tolerance",
                "store_cache",
                "top_indexes",
                "keep_minutes",
                "keep_hours",
            ),
            *("keep_days", "keep_batches", "replay_window", "replay_bytes_max", "cache_urls_max"),
        ),
        "Connections": (
            *("connections_max", "connections_per_address", "head_timeout", "idle_timeout", "body_bytes_max"),
            *("bodies_bytes_max", "live_interval", "watches_max"),
        ),
        "Limits under load": (
            *("inbox_max", "tables_waiting_max", "rows_waiting_max", "disk_free_min", "aside_bytes_max"),
            *("blocked_seconds", "shutdown_timeout"),
        ),
    }
)
"""The settings in the groups in which the help explains them."""


def settings() -> list[Setting]:
    """All settings, in the order in which they are declared."""
    return [
        Setting(
            field.name,
            field.metadata["parse"],
            field.metadata["default"],
            field.metadata["unit"],
            field.metadata["help"],
            field.metadata["choices"],
        )
        for field in attrs.fields(Config)
    ]


def load(flags: Mapping[str, object], *, file: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """The settings: each from the first of `flags`, `environment`, the TOML `file` and the defaults that has it.

    Without a `file`, likd.toml in the working directory is read if it is there. Raises ConfigError.
    """
    path = file if file is not None else Path(CONFIG_FILE)
    written = _read_file(path, must_exist=file is not None)
    chosen: dict[str, Any] = {}
    for setting in settings():
        for value, source in (
            (flags.get(setting.name), setting.flag),
            (environment.get(setting.variable), setting.variable),
            (written.pop(setting.name, None), f"{path}: {setting.name}"),
        ):
            if value is None or setting.name in chosen:
                continue
            try:
                chosen[setting.name] = setting.parse(value)
            except ValueError as error:
                raise ConfigError(f"{source}: {value!r} is not {error}") from None
    if written:
        name = next(iter(written))
        raise ConfigError(f"{path}: there is no setting {name!r}{_suggest(name, [each.name for each in settings()])}")
    return Config(**chosen)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A warning for each environment variable that looks like a setting but is not one."""
    known = [setting.variable for setting in settings()]
    return [
        f"there is no setting {name}{_suggest(name, known)}"
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known and name not in OTHER_VARIABLES
    ]


def _suggest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().removeprefix(BOM_UTF8).decode())
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
