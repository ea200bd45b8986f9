"""Where a cluster is: `redis+cluster://USER@HOST:PORT,HOST:PORT/PREFIX?ca=FILE`, and with which password."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import attrs

from likd.errors import StartError

PASSWORD = "LIKD_REDIS_PASSWORD"
PASSWORD_FILE = "LIKD_REDIS_PASSWORD_FILE"
PORT = 6379
PREFIX = "likd"
EXPECTED = "expected, for example, redis+cluster://one.example:6379,two.example:6379/likd"

_NODE = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:@/\[\]{}]+)(?::(\d{1,5}))?")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_OPTIONS = ("ca", "cert", "key")


@attrs.frozen
class Node:
    """A server of the cluster."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Address:
    """Where a cluster is, who likd is there, and how its keys begin."""

    nodes: tuple[Node, ...]
    prefix: str = PREFIX
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    tls: ssl.SSLContext | None = None


def parse(rest: str, *, tls: bool = False, environ: Mapping[str, str] = os.environ) -> Address:
    """What the rest of a URL says, behind `redis+cluster://` or, with TLS, `rediss+cluster://`.

    The password is in LIKD_REDIS_PASSWORD, or in the file that LIKD_REDIS_PASSWORD_FILE names, or in the URL, where
    others may see it. Raises StartError, which does not tell it.
    """
    place, _, query = rest.partition("?")
    place, slash, prefix = place.partition("/")
    who, _, hosts = place.rpartition("@")
    user, _, password = who.partition(":")
    if slash and prefix and not _PREFIX.fullmatch(prefix):
        raise StartError(f"the store's prefix {prefix[:64]!r} is not of letters, digits and _.:-, up to 64")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := options.keys() - set(_OPTIONS):
        raise StartError(f"the store's URL has {min(unknown)[:40]!r}: expected some of {', '.join(_OPTIONS)}")
    if options and not tls:
        raise StartError("the store's URL has files for TLS, and is not as rediss+cluster://")
    return Address(
        tuple(_node(each) for each in hosts.split(",")),
        prefix or PREFIX,
        unquote(user),
        _password(environ) or unquote(password),
        _context(options) if tls else None,
    )


def _node(text: str) -> Node:
    match = _NODE.fullmatch(text)
    port = int(match[2] or PORT) if match is not None else 0
    if match is None or not 0 < port < 65_536:
        # What is wrong may stand beside a password.
        raise StartError(f"the store's URL names a server that is none: {EXPECTED}")
    return Node(match[1].strip("[]"), port)


def _password(environ: Mapping[str, str]) -> str:
    if given := environ.get(PASSWORD, ""):
        return given
    if path := environ.get(PASSWORD_FILE, ""):
        try:
            return Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"{PASSWORD_FILE}: can't read {path}: {error}") from None
    return ""


def _context(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"the store's files for TLS: {error}") from None
    return context
