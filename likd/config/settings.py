"""Settings: from flags, environment and likd.toml, validated, each with its unit."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from likd.config import parsers
from likd.config.parsers import Bind

CONFIG_FILE = "likd.toml"
PREFIX = "LIKD_"


class ConfigError(ValueError):
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
    parse: Callable[[object], object], default: object, unit: str, help: str, choices: tuple[str, ...] = ()
) -> Any:
    return attrs.field(
        default=attrs.Factory(lambda: parse(default)),
        metadata={"parse": parse, "default": default, "unit": unit, "help": help, "choices": choices},
    )


_DURABILITIES = ("fsync", "os", "none")
_LOG_FORMATS = ("auto", "console", "json")


@attrs.frozen(kw_only=True)
class Config:
    """All settings of the daemon."""

    bind: Bind = _setting(
        parsers.bind, "127.0.0.1:8080", "HOST:PORT", "Address to listen on; port 0 lets the system choose."
    )
    data_dir: Path = _setting(parsers.path, "data", "DIR", "Directory for journal, batch files and the embedded store.")
    durability: str = _setting(
        parsers.choice(*_DURABILITIES),
        "fsync",
        "",
        "When an event is acknowledged: 'fsync' once it is on disk; 'os' once the operating system has it (power"
        " loss can lose it); 'none' at once, without a journal (a crash loses the open tables).",
        _DURABILITIES,
    )
    table_limit: int = _setting(
        parsers.number(int, 1, 1_000_000), 2000, "URLS", "Unique URLs of a table; at so many it is swapped."
    )
    flush_interval: float = _setting(
        parsers.number(float, 0.01, 3600), 5, "SECONDS", "A table is swapped when it has been counting for so long."
    )
    pool_size: int = _setting(
        parsers.number(int, 1, 1_000_000),
        100,
        "COUNTERS",
        "Counters that are kept warm; 10 % more are kept as a buffer.",
    )
    counters_max: int = _setting(
        parsers.number(int, 1, 10_000_000),
        50_000,
        "COUNTERS",
        "Counters at most; past that, requests are refused (503). One request has at most so many URLs (413).",
    )
    hung_timeout: float = _setting(
        parsers.number(float, 0.05, 3600), 5, "SECONDS", "A counter whose observer takes longer is restarted."
    )
    max_leases: int = _setting(
        parsers.number(int, 1, 1_000_000_000),
        1000,
        "LEASES",
        "A counter is replaced after it served so many tables.",
    )
    write_tolerance: float = _setting(
        parsers.number(float, 1, 1e9), 10_000, "ROWS_PER_SECOND", "Rows that the store is given in a second at most."
    )
    keep_batches: int = _setting(
        parsers.number(int, 0, 1_000_000), 0, "FILES", "Newest batch files that are kept after they were applied."
    )
    live_interval: float = _setting(
        parsers.number(float, 0.01, 60), 0.25, "SECONDS", "A websocket is sent changes at most this often."
    )
    inbox_max: int = _setting(
        parsers.number(int, 1, 1_000_000), 4096, "REQUESTS", "Requests that may wait to be counted; past that, 503."
    )
    tables_waiting_max: int = _setting(
        parsers.number(int, 1, 10_000), 64, "TABLES", "Swapped tables without a batch file yet; past that, 503."
    )
    rows_waiting_max: int = _setting(
        parsers.number(int, 1, 100_000_000),
        500_000,
        "ROWS",
        "Rows that may wait for the store, and 400 bytes of memory for each; past that, 503.",
    )
    disk_free_min: int = _setting(
        parsers.number(int, 0, 1 << 50), 64 << 20, "BYTES", "Free space under which requests are refused (503)."
    )
    aside_bytes_max: int = _setting(
        parsers.number(int, 0, 1 << 50),
        256 << 20,
        "BYTES",
        "Disk space for events that a failing handler could not count; past that, 503.",
    )
    body_bytes_max: int = _setting(
        parsers.number(int, 1024, 1 << 30),
        32 << 20,
        "BYTES",
        "Size of a request body at most, also after inflation.",
    )
    bodies_bytes_max: int = _setting(
        parsers.number(int, 1024, 1 << 40),
        256 << 20,
        "BYTES",
        "Request bodies held in memory at once at most; past that, 503.",
    )
    keys_window: float = _setting(
        parsers.number(float, 1, 31_536_000), 86_400, "SECONDS", "How long an Idempotency-Key is remembered."
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
        parsers.number(int, 1, 1_000_000),
        64,
        "MIB",
        "Memory in which the embedded store keeps what it writes to, at most; it grows with use.",
    )
    keep_minutes: int = _setting(
        parsers.number(int, 1, 100_000), 48, "HOURS", "How long the store keeps counts per minute."
    )
    keep_hours: int = _setting(parsers.number(int, 1, 100_000), 90, "DAYS", "How long it keeps counts per hour.")
    keep_days: int = _setting(parsers.number(int, 1, 100_000), 1830, "DAYS", "How long it keeps counts per day.")
    connections_max: int = _setting(
        parsers.number(int, 1, 1_000_000),
        4096,
        "CONNECTIONS",
        "Open connections at most; past that, new ones are closed.",
    )
    connections_per_address: int = _setting(
        parsers.number(int, 1, 1_000_000),
        256,
        "CONNECTIONS",
        "Open connections of one address at most; this machine and trusted proxies may have all.",
    )
    head_timeout: float = _setting(
        parsers.number(float, 0.1, 3600), 10, "SECONDS", "The head of a request has to arrive within this time."
    )
    idle_timeout: float = _setting(
        parsers.number(float, 0.1, 3600), 60, "SECONDS", "A connection without requests is closed after this time."
    )
    watches_max: int = _setting(parsers.number(int, 1, 1_000_000), 1000, "URLS", "URLs that one websocket may watch.")
    blocked_seconds: float = _setting(
        parsers.number(float, 0.05, 3600), 1, "SECONDS", "An event loop that is blocked for so long is reported."
    )
    shutdown_timeout: float = _setting(
        parsers.number(float, 0.1, 3600),
        10,
        "SECONDS",
        "How long a shutdown may take to bring tables into the store.",
    )
    same_schemes: bool = _setting(
        parsers.flag,
        "true",
        "true|false",
        "Whether http and https of a page are one URL, counted as https.",
    )
    drop_parameters: tuple[str, ...] = _setting(
        parsers.words(
            lambda word: bool(parsers.PARAMETER.fullmatch(word)), "names of query parameters, for example utm_*,fbclid"
        ),
        "",
        "NAMES",
        "Query parameters that do not make another URL, for example utm_*,fbclid,gclid.",
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
    public_sites: tuple[str, ...] = _setting(
        parsers.words(
            lambda word: bool(parsers.HOST.fullmatch(word)), "host names, for example example.com,*.example.org"
        ),
        "",
        "HOSTS",
        "Sites whose pages may be counted and read without a token, for example example.com,*.example.org.",
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
        parsers.flag, "false", "true|false", "Listen for other machines although there is no admin token."
    )
    log_format: str = _setting(
        parsers.choice(*_LOG_FORMATS),
        "auto",
        "",
        "Log lines for people or as JSON; 'auto' asks for a terminal.",
        _LOG_FORMATS,
    )


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
        raise ConfigError(f"{path}: there is no setting {next(iter(written))!r}")
    return Config(**chosen)


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
