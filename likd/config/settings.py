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
"""Variables that likd reads, and that are no settings of the daemon."""


class ConfigError(LikdError, ValueError):
    """A setting is wrong; the message names it, where it comes from, and what was expected."""


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
_LOG_FORMATS = ("auto", "console", "json")


@attrs.frozen(kw_only=True)
class Config:
    """All settings of the daemon."""

    bind: tuple[Bind | UnixBind, ...] = _setting(
        parsers.binds,
        "127.0.0.1:8080",
        "HOST:PORT|unix:PATH",
        "Where to listen, several with commas between; port 0 lets the system choose.",
    )
    socket_mode: int = _setting(
        parsers.mode, "0660", "MODE", "Permissions of a Unix socket: whoever may write to it may connect."
    )
    base_path: str = _setting(
        parsers.base_path, "", "PATH", "The path below which everything is served, for example /likes."
    )
    processes: int = _setting(
        parsers.processes,
        1,
        "N|auto",
        "Front processes that speak HTTP before the one that counts; 1 is none but that one, auto one less than there"
        " are processors.",
    )
    data_dir: Path = _setting(parsers.path, "data", "DIR", "Directory for journal, batch files and the embedded store.")
    store: str = _setting(
        parsers.store_url,
        "sqlite:///likd.db",
        "URL",
        "Where totals live for good: sqlite:///FILE, in the data directory unless FILE begins with a slash;"
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
        parsers.number(int, 1, 1_000_000), 2000, "URLS", "Unique URLs at which a table is swapped for a new one."
    )
    table_limit_max: int = _setting(
        parsers.number(int, 1, 1_000_000),
        10_000,
        "URLS",
        "What that grows to while tables fill in half a second; no more than --table-limit keeps it as it is.",
    )
    flush_interval: float = _setting(
        parsers.seconds(0.01, 3600), 5, "SECONDS", "The age at which a table is swapped for a new one."
    )
    pool_size: int = _setting(
        parsers.number(int, 1, 1_000_000),
        100,
        "COUNTERS",
        "Counters that are kept ready; 10 % more are kept as a buffer.",
    )
    counters_max: int = _setting(
        parsers.number(int, 1, 10_000_000),
        50_000,
        "COUNTERS",
        "The most counters; beyond that, requests are refused (503), and so is one request with more URLs (413).",
    )
    hung_timeout: float = _setting(
        parsers.seconds(0.05, 3600), 5, "SECONDS", "A counter whose observer takes longer is restarted."
    )
    max_leases: int = _setting(
        parsers.number(int, 1, 1_000_000_000),
        1000,
        "LEASES",
        "Tables that a counter serves before it is replaced.",
    )
    write_tolerance: float = _setting(
        parsers.number(float, 1, 1e9), 10_000, "ROWS_PER_SECOND", "The most rows that the store is given in a second."
    )
    keep_batches: int = _setting(
        parsers.number(int, 0, 1_000_000), 0, "FILES", "Batch files to keep after they were applied, the newest ones."
    )
    replay_window: float | None = _setting(
        parsers.auto(parsers.seconds(0, 31_536_000)),
        "auto",
        "SECONDS",
        "How long batch files are kept after they were applied, for a store that goes back in time (a backup, a"
        " failover) and is given them again; 'auto' is 0 for sqlite, 60 for postgresql and 300 for"
        " redis+cluster.",
    )
    replay_bytes_max: int = _setting(
        parsers.size(0, 1 << 50), 256 << 20, "BYTES", "Disk space for batch files that are kept so."
    )
    live_interval: float = _setting(
        parsers.seconds(0.01, 60), 0.25, "SECONDS", "The shortest time between two updates to a websocket."
    )
    inbox_max: int = _setting(
        parsers.number(int, 1, 1_000_000), 4096, "REQUESTS", "Requests that may wait to be counted; beyond that, 503."
    )
    tables_waiting_max: int = _setting(
        parsers.number(int, 1, 10_000), 64, "TABLES", "Swapped tables that have no batch file yet; beyond that, 503."
    )
    rows_waiting_max: int = _setting(
        parsers.number(int, 1, 100_000_000),
        500_000,
        "ROWS",
        "Rows that may wait for the store, with 400 bytes of memory for each; beyond that, 503.",
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
        "Memory for the request bodies in flight, all together; beyond that, 503.",
    )
    keys_window: float = _setting(
        parsers.seconds(1, 31_536_000), 86_400, "SECONDS", "How long an Idempotency-Key is remembered."
    )
    keys_max: int = _setting(
        parsers.number(int, 1, 100_000_000),
        200_000,
        "KEYS",
        "Idempotency-Keys of each token that are remembered at most, some 60 bytes each; of all callers without one"
        " together a quarter of that.",
    )
    cache_urls_max: int = _setting(
        parsers.number(int, 1000, 100_000_000), 50_000, "URLS", "URLs whose totals are kept in memory for reads."
    )
    cache_actors_max: int = _setting(
        parsers.number(int, 1000, 100_000_000),
        100_000,
        "LIKINGS",
        "Pairs of actor and URL of which it is kept in memory whether the one likes the other.",
    )
    store_cache: int = _setting(
        parsers.size(1, 1_000_000, each=1 << 20),
        64,
        "MIB",
        "Memory in which the embedded store keeps what it writes to, at most; it grows with use.",
    )
    top_indexes: bool = _setting(
        parsers.flag,
        "true",
        "true|false",
        "Whether PostgreSQL has indexes for top lists, which double what a write costs; without them a list takes as"
        " long as there are URLs.",
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
        parsers.seconds(0.05, 3600), 1, "SECONDS", "An event loop that is blocked for longer is reported."
    )
    shutdown_timeout: float = _setting(
        parsers.seconds(0.1, 3600),
        10,
        "SECONDS",
        "Time that a shutdown may take to bring tables into the store.",
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
        "Further kinds of events to count, for example clap,laugh; unclap and unlaugh take them back.",
    )
    admin_token_file: str = _setting(
        parsers.optional_path, "", "FILE", "File with the admin token, one a line; LIKD_ADMIN_TOKEN is one, too."
    )
    write_tokens_file: str = _setting(
        parsers.optional_path,
        "",
        "FILE",
        "File with tokens for posting events, one a line; LIKD_WRITE_TOKENS has some, too, with commas between.",
    )
    actor_secret_file: str = _setting(
        parsers.optional_path,
        "",
        "FILE",
        "File with what actors are hashed with, 64 hexadecimal digits, the same for all who share a store;"
        " LIKD_ACTOR_SECRET is that, too. Else each data directory makes its own.",
    )
    tokens_file: str = _setting(
        parsers.optional_path,
        "",
        "FILE",
        "File with tokens that have names, which the log tells: in each line admin or writer, the name, the token.",
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
        "Whose a like without a token is: 'required' takes none without an actor; 'address' makes the actor from"
        " address and browser, whatever the client says; 'free' also counts likes without one, any number of them.",
        _PUBLIC_ACTORS,
    )
    ignore_bots: bool = _setting(
        parsers.flag,
        "true",
        "true|false",
        "Whether impressions of the public do not count that come from bots or of prefetches.",
    )
    origins: tuple[str, ...] = _setting(
        parsers.words(
            lambda word: bool(parsers.ORIGIN.fullmatch(word)), "origins, for example https://app.example.com"
        ),
        "",
        "ORIGINS",
        "Origins of further pages that may use the API from a browser; * lets all in.",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        parsers.words(parsers.is_network, "addresses or networks, for example 127.0.0.1,10.0.0.0/8"),
        "",
        "NETWORKS",
        "Proxies whose X-Forwarded-For is believed.",
    )
    address_rate: float = _setting(
        parsers.number(float, 0, 1e9),
        20,
        "EVENTS_PER_SECOND",
        "Events and reads that an address without a token has in a second, once there are tokens or public sites;"
        " 0 sets no limit.",
    )
    address_burst: int = _setting(
        parsers.number(int, 1, 1_000_000_000), 200, "EVENTS", "Events and reads that it has at once after a rest."
    )
    token_rate: float = _setting(
        parsers.number(float, 0, 1e9), 0, "EVENTS_PER_SECOND", "The same for each token; 0 sets no limit."
    )
    token_burst: int = _setting(
        parsers.number(int, 1, 1_000_000_000), 1_000_000, "EVENTS", "Events and reads that a token has at once."
    )
    tls_cert: str = _setting(
        parsers.optional_path, "", "FILE", "Certificate chain in PEM; with it, only https is spoken. Needs --tls-key."
    )
    tls_key: str = _setting(parsers.optional_path, "", "FILE", "Private key of the certificate in PEM.")
    insecure: bool = _setting(
        parsers.flag, "false", "true|false", "Listen for other machines even though there is no admin token."
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
        "Where": ("bind", "socket_mode", "base_path", "processes", "data_dir", "tls_cert", "tls_key", "log_format"),
        "Who may do what": (
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
        "What counts": ("kinds", "ignore_bots", "same_schemes", "drop_parameters", "keys_window", "keys_max"),
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
        "When it is too much": (
            *("inbox_max", "tables_waiting_max", "rows_waiting_max", "disk_free_min", "aside_bytes_max"),
            *("blocked_seconds", "shutdown_timeout"),
        ),
    }
)
"""The settings as they are explained together."""


def settings() -> list[Setting]:
    """All settings, in their order."""
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
    """The settings from `flags`, then `environment`, then the TOML `file`, then the defaults.

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
    """What is to be said of each variable of the environment that looks like a setting and is none."""
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
