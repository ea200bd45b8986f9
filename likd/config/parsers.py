"""Parsers of settings' values; each raises ValueError with what was expected."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from likd.time_zones import is_zone

Parser: TypeAlias = Callable[[object], float]


def number(kind: Callable[[Any], float], low: float, high: float) -> Parser:
    """A number from `low` to `high`, inclusive."""
    expected = f"a whole number from {low} to {high}" if kind is int else f"a number from {low:g} to {high:g}"

    def parse(value: object) -> float:
        try:
            if isinstance(value, bool):
                raise TypeError
            if kind is int and isinstance(value, float):
                raise TypeError
            number = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(expected) from None
        if not low <= number <= high:
            raise ValueError(expected)
        return number

    return parse


_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_BYTES: Mapping[str, float] = {
    "B": 1,
    **{prefix + unit: 1000**n for n, prefix in enumerate("kMGT", start=1) for unit in ("", "B")},
    **{f"{prefix}iB": 1024**n for n, prefix in enumerate("KMGT", start=1)},
}
_STORE_URL = re.compile(r"[a-z][a-z+]*://\S+")
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def seconds(low: float, high: float, *, each: float = 1, kind: Callable[[Any], float] = float) -> Parser:
    """A time from `low` to `high`: a number of units of `each` seconds, or one with a unit, as in 500ms, 5s, 2h."""
    return _quantity(_SECONDS, "5s or 2h", low, high, each=each, kind=kind)


def size(low: float, high: float, *, each: float = 1) -> Parser:
    """A size from `low` to `high`: a whole number of units of `each` bytes, or one with a unit, as in 64MiB, 1GB."""
    return _quantity(_BYTES, "64MiB or 1GB", low, high, each=each, kind=int)


def _quantity(
    units: Mapping[str, float], example: str, low: float, high: float, *, each: float, kind: Callable[[Any], float]
) -> Parser:
    plain = number(kind, low, high)

    def parse(value: object) -> float:
        found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
        if found is not None and found[2] in units:
            amount = float(found[1]) * units[found[2]] / each
            value = round(amount) if kind is int and math.isclose(amount, round(amount)) else amount
        try:
            return plain(value)
        except ValueError as error:
            raise ValueError(f"{error}, or one with a unit, for example {example}") from None

    return parse


def store_url(value: object) -> str:
    """The URL of a store."""
    if not isinstance(value, str) or not _STORE_URL.fullmatch(value):
        raise ValueError("a URL, for example sqlite:///likd.db")
    return value


def auto(parse: Parser) -> Callable[[object], float | None]:
    """What `parse` reads, or "auto", which is None."""

    def parse_or_auto(value: object) -> float | None:
        if value == "auto":
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{error}, or auto") from None

    return parse_or_auto


def optional_path(value: object) -> str:
    """A path, or nothing."""
    if not isinstance(value, str | Path):
        raise ValueError("a path")
    return str(path(value)) if str(value) else ""


def path(value: object) -> Path:
    """A path; a `~` at its beginning is the home directory."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("a path") from None


@attrs.frozen
class Bind:
    """Where to listen. `port` 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class UnixBind:
    """A Unix socket to listen on."""

    path: Path

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"


def in_words(binds: Iterable[Bind | UnixBind]) -> str:
    """All `binds`, for a message."""
    return ", ".join(map(str, binds))


UNIX = "unix:"
SOCKET_PATH_BYTES_MAX = 107
"""The longest path that fits into a socket address of the operating system."""


def processes(value: object) -> int:
    """A number of front processes; `auto` is one fewer than the processors that this process may use."""
    if value == "auto":
        return max(1, len(os.sched_getaffinity(0)) - 1)
    try:
        return int(number(int, 1, PROCESSES_MAX)(value))
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


PROCESSES_MAX = 256


def flag(value: object) -> bool:
    """True or false, in any of the usual spellings."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "yes", "1", "on", "false", "no", "0", "off"):
        return value.lower() in ("true", "yes", "1", "on")
    raise ValueError("true or false")


def words(check: Callable[[str], bool], expected: str) -> Callable[[object], tuple[str, ...]]:
    """A list: in TOML as an array, elsewhere separated by commas."""

    def parse(value: object) -> tuple[str, ...]:
        found = value.split(",") if isinstance(value, str) else value
        if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
            raise ValueError(expected)
        found = [word.strip() for word in found if word.strip()]
        if not all(map(check, found)):
            raise ValueError(expected)
        return tuple(found)

    return parse


def kinds(value: object) -> tuple[str, ...]:
    """Names of additional kinds of events; neither they nor the kinds that take them back may exist already."""
    expected = f"a list of at most {KINDS_MAX} new kinds, for example clap,laugh"
    found = words(lambda word: bool(KIND.fullmatch(word)), expected)(value)
    all_kinds = ["like", "unlike", "impression", *found, *(f"un{kind}" for kind in found)]
    if len(found) > KINDS_MAX or len(set(all_kinds)) < len(all_kinds):
        raise ValueError(expected)
    return found


KINDS_MAX = 16
"""Each adds two columns, with their indexes, to the store."""
KIND = re.compile(r"[a-z][a-z0-9_]{0,28}")
"""With the affixes that are added to it, a name still has at most 32 characters."""
HOST = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", re.IGNORECASE)
ORIGIN = re.compile(r"\*|https?://[^/\s]+", re.IGNORECASE)
NODE_NAME_MAX = 64
PARAMETER = re.compile(r"[^&=#\s*]+\*?")


def is_network(word: str) -> bool:
    """Whether `word` is an IP address or a network."""
    try:
        ip_network(word, strict=False)
    except ValueError:
        return False
    return True


def binds(value: object) -> tuple[Bind | UnixBind, ...]:
    """One or more addresses or sockets: in TOML a string or an array, elsewhere separated by commas."""
    if isinstance(value, Bind | UnixBind):
        return (value,)
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not found:
        raise ValueError(_BIND_EXPECTED)
    return tuple(dict.fromkeys(map(_bind, found)))


_BIND_EXPECTED = "HOST:PORT or unix:PATH, for example 127.0.0.1:8080, [::1]:8080 or unix:/run/likd.sock"


def _bind(value: object) -> Bind | UnixBind:
    if isinstance(value, Bind | UnixBind):
        return value
    if not isinstance(value, str):
        raise ValueError(_BIND_EXPECTED)
    value = value.strip()
    if value.startswith(UNIX):
        socket_path = value.removeprefix(UNIX)
        if not socket_path or "\0" in socket_path or len(os.fsencode(socket_path)) > SOCKET_PATH_BYTES_MAX:
            raise ValueError(f"unix:PATH with a path of at most {SOCKET_PATH_BYTES_MAX} bytes")
        return UnixBind(path(socket_path))
    host, colon, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(_BIND_EXPECTED)
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(_BIND_EXPECTED)
    return Bind(host, int(port))


def mode(value: object) -> int:
    """The permissions of a file, in octal digits."""
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError("permissions in octal digits, for example '0660'")


def base_path(value: object) -> str:
    """The path under which everything is served, without a trailing slash; "" for none."""
    if isinstance(value, str):
        value = value.rstrip("/")
        if re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*", value, re.ASCII):
            return value
    raise ValueError("a path, for example /likes")


def time_zone(value: object) -> str:
    """The name of a time zone."""
    if isinstance(value, str) and is_zone(value):
        return value
    raise ValueError("the name of a time zone, for example Europe/Paris")


def node_name(value: object) -> str:
    """What a node is called, or nothing."""
    if isinstance(value, str) and len(value) <= NODE_NAME_MAX and value.isprintable() and value == value.strip():
        return value
    raise ValueError(f"a name of {NODE_NAME_MAX} characters at most")


def choice(*choices: str) -> Callable[[object], str]:
    """One of `choices`."""

    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return parse
