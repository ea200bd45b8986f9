"""The settings of the web, in groups: a part gets its own, and not all."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from likd.config import parsers
from likd.config.parsers import Bind, UnixBind
from likd.config.setting import declared

_PUBLIC_ACTORS = ("required", "address", "free")
_LOG_FORMATS = ("auto", "console", "json")


@attrs.frozen(kw_only=True, slots=False)
class PlaceSettings:
    """Where the daemon is: its addresses and files."""

    TITLE: ClassVar[str] = "Addresses and files"

    bind: tuple[Bind | UnixBind, ...] = declared(
        parsers.binds,
        "127.0.0.1:8080",
        "HOST:PORT|unix:PATH",
        "Where to listen; separate several addresses with commas. Port 0 lets the system choose.",
    )
    socket_mode: int = declared(
        parsers.mode, "0660", "MODE", "Permissions of a Unix socket: whoever may write to it may connect."
    )
    base_path: str = declared(
        parsers.base_path, "", "PATH", "The path under which everything is served, for example /likes."
    )
    time_zone: str = declared(
        parsers.time_zone,
        "UTC",
        "NAME",
        "The time zone of the dashboard's days, for example Europe/Paris; visitors can choose another one.",
    )
    processes: int = declared(
        parsers.processes,
        1,
        "N|auto",
        "Front processes that handle HTTP for the engine, the process that counts; with 1 there are none and the"
        " engine does it itself; auto is one fewer than there are processors.",
    )
    data_dir: Path = declared(parsers.path, "data", "DIR", "Directory for journal, batch files and the embedded store.")
    tls_cert: str = declared(
        parsers.optional_path, "", "FILE", "Certificate chain in PEM; with it, likd serves only https. Needs --tls-key."
    )
    tls_key: str = declared(parsers.optional_path, "", "FILE", "The certificate's private key in PEM.")
    log_format: str = declared(
        parsers.choice(*_LOG_FORMATS),
        "auto",
        "",
        "Log lines for people or as JSON; 'auto' is for people on a terminal, JSON otherwise.",
        _LOG_FORMATS,
    )


@attrs.frozen(kw_only=True, slots=False)
class AccessSettings:
    """Who is let in, by which token or from which pages, and how often."""

    TITLE: ClassVar[str] = "Access"

    public_sites: tuple[str, ...] = declared(
        parsers.words(
            lambda word: bool(parsers.HOST.fullmatch(word)), "host names, for example example.com,*.example.org"
        ),
        "",
        "HOSTS",
        "Sites whose pages may be counted and read without a token, for example example.com,*.example.org.",
    )
    public_actors: str = declared(
        parsers.choice(*_PUBLIC_ACTORS),
        "required",
        "",
        "Whom a like without a token belongs to: 'required' refuses likes without an actor; 'address' derives the"
        " actor from address and browser, whatever the client says; 'free' also counts any number of likes without"
        " an actor.",
        _PUBLIC_ACTORS,
    )
    origins: tuple[str, ...] = declared(
        parsers.words(
            lambda word: bool(parsers.ORIGIN.fullmatch(word)), "origins, for example https://app.example.com"
        ),
        "",
        "ORIGINS",
        "Origins of other pages that may use the API from a browser; * allows all.",
    )
    admin_token_file: str = declared(
        parsers.optional_path, "", "FILE", "File with admin tokens, one per line; LIKD_ADMIN_TOKEN adds another."
    )
    write_tokens_file: str = declared(
        parsers.optional_path,
        "",
        "FILE",
        "File with tokens for posting events, one per line; LIKD_WRITE_TOKENS adds more, separated by commas.",
    )
    tokens_file: str = declared(
        parsers.optional_path,
        "",
        "FILE",
        "File with named tokens, whose names appear in the log; each line has admin or writer, the name and the token.",
    )
    trusted_proxies: tuple[str, ...] = declared(
        parsers.words(parsers.is_network, "addresses or networks, for example 127.0.0.1,10.0.0.0/8"),
        "",
        "NETWORKS",
        "Proxies whose X-Forwarded-For is trusted.",
    )
    insecure: bool = declared(
        parsers.flag, "false", "true|false", "Accept connections from other machines even without an admin token."
    )
    address_rate: float = declared(
        parsers.number(float, 0, 1e9),
        20,
        "EVENTS_PER_SECOND",
        "Events and reads per second allowed to an address without a token, once there are tokens or public sites;"
        " 0 sets no limit.",
    )
    address_burst: int = declared(
        parsers.number(int, 1, 1_000_000_000),
        200,
        "EVENTS",
        "Events and reads allowed to such an address at once, after a pause.",
    )
    token_rate: float = declared(
        parsers.number(float, 0, 1e9), 0, "EVENTS_PER_SECOND", "The same for each token; 0 sets no limit."
    )
    token_burst: int = declared(
        parsers.number(int, 1, 1_000_000_000), 1_000_000, "EVENTS", "Events and reads allowed to a token at once."
    )


@attrs.frozen(kw_only=True, slots=False)
class ConnectionSettings:
    """What connections and the bodies that come by them may take."""

    TITLE: ClassVar[str] = "Connections"

    connections_max: int = declared(
        parsers.number(int, 1, 1_000_000),
        4096,
        "CONNECTIONS",
        "The most open connections; beyond that, new ones are closed.",
    )
    connections_per_address: int = declared(
        parsers.number(int, 1, 1_000_000),
        256,
        "CONNECTIONS",
        "The most open connections from one address; this machine and trusted proxies may have all of them.",
    )
    head_timeout: float = declared(
        parsers.seconds(0.1, 3600), 10, "SECONDS", "Time for the head of a request to arrive."
    )
    idle_timeout: float = declared(
        parsers.seconds(0.1, 3600), 60, "SECONDS", "Time after which a connection without requests is closed."
    )
    body_bytes_max: int = declared(
        parsers.size(1024, 1 << 30),
        32 << 20,
        "BYTES",
        "The largest request body, before and after decompression.",
    )
    bodies_bytes_max: int = declared(
        parsers.size(1024, 1 << 40),
        256 << 20,
        "BYTES",
        "Memory for all request bodies in flight together; beyond that, 503.",
    )


@attrs.frozen(kw_only=True, slots=False)
class GateSettings(PlaceSettings, AccessSettings):
    """What the gate decides by: who is let in, and where the daemon can be reached."""
