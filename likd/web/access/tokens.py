"""Tokens: the secrets that callers give, and what each allows."""

from __future__ import annotations

import hmac
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path

import attrs

from likd.config.parsers import in_words
from likd.config.settings import ConfigError
from likd.config.web_settings import AccessSettings, GateSettings
from likd.web.access.addresses import is_local

TOKEN_CHARACTERS_MIN = 16
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Role(IntEnum):
    """What a caller may do; each role may do everything that those before it may."""

    NOBODY = 0
    """Check whether the daemon is alive, fetch the button."""
    PUBLIC = 1
    """Post events for the public sites and read their counts."""
    WRITER = 2
    """Post any events and read any counts."""
    ADMIN = 3
    """See the daemon's inside, merge and import."""


@attrs.frozen
class Tokens:
    """The secrets that callers give."""

    admin: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    write: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    names: Mapping[bytes, str] = attrs.field(factory=dict, repr=False)
    """The names of tokens in the log, for those that have one; several may share one."""

    def role(self, token: bytes) -> Role | None:
        """The role of a token, None if it is unknown. Takes the same time for every wrong token."""
        found = None
        for role, known in ((Role.WRITER, self.write), (Role.ADMIN, self.admin)):
            for each in known:
                if hmac.compare_digest(each, token):
                    found = role
        return found


def load_tokens(config: AccessSettings, environment: Mapping[str, str]) -> Tokens:
    """The tokens in the files of `config` and in LIKD_ADMIN_TOKEN and LIKD_WRITE_TOKENS. Raises ConfigError."""
    named = _read_named(config.tokens_file) if config.tokens_file else []

    def load(path: str, variable: str) -> tuple[bytes, ...]:
        found = [(variable, token) for token in environment.get(variable, "").split(",") if token.strip()]
        if path:
            found += [(path, line) for _, line in _lines(path)]
        if not found and (path or variable in environment):
            # If a source of tokens is named but empty, the daemon must not be left open.
            raise ConfigError(f"{path or variable}: no token found")
        tokens = [(source, token.strip()) for source, token in found]
        for source, token in tokens:
            _check(source, token)
        return tuple(token.encode() for _, token in tokens)

    return Tokens(
        admin=load(config.admin_token_file, "LIKD_ADMIN_TOKEN")
        + tuple(token for role, _, token in named if role is Role.ADMIN),
        write=load(config.write_tokens_file, "LIKD_WRITE_TOKENS")
        + tuple(token for role, _, token in named if role is Role.WRITER),
        names={token: name for _, name, token in named},
    )


def _read_named(path: str) -> list[tuple[Role, str, bytes]]:
    """The tokens in a file that has a role, a name and a token on each line. Raises ConfigError."""
    roles = {"admin": Role.ADMIN, "writer": Role.WRITER}
    named: dict[bytes, tuple[Role, str, bytes]] = {}
    for number, line in _lines(path):
        source = f"{path}, line {number}"
        # No message repeats the line: it has a secret, which in a wrong line may be anywhere.
        words = line.split()
        if len(words) != 3 or words[0] not in roles:
            raise ConfigError(f"{source}: expected a role, a name and a token; roles are {', '.join(roles)}")
        role, name, token = words
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{source}: expected a name of 1 to 64 letters, digits, dots, hyphens and underscores")
        _check(source, token)
        if token.encode() in named:
            raise ConfigError(f"{source}: the token repeats one from an earlier line")
        named[token.encode()] = roles[role], name, token.encode()
    if not named:
        raise ConfigError(f"{path}: no token found")
    return list(named.values())


def _lines(path: str) -> list[tuple[int, str]]:
    """The lines of a token file that are neither empty nor comments, with their numbers. Raises ConfigError."""
    try:
        text = Path(path).read_bytes().removeprefix(BOM_UTF8).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't read the tokens: {error}") from None
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]


def _check(source: str, token: str) -> None:
    """Raise ConfigError for an invalid token. It stays out of the message: it is a secret."""
    if len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{source}: a token needs at least {TOKEN_CHARACTERS_MIN} printable ASCII characters, and no spaces"
        )


def refuse_unsafe(config: GateSettings, tokens: Tokens) -> None:
    """Raise ConfigError if other machines could reach a daemon that has no admin token."""
    if not tokens.admin and not config.insecure and not is_local(config.bind):
        raise ConfigError(
            f"--bind: other machines can reach {in_words(config.bind)}, and there is no admin token:"
            " give --admin-token-file or LIKD_ADMIN_TOKEN, or --insecure to allow it"
        )


def access_in_words(config: GateSettings, tokens: Tokens) -> str:
    """A description of who has which permissions, for the log."""
    if config.public_sites:
        return f"the public, for pages of {', '.join(config.public_sites)}"
    if tokens.admin:
        return "holders of a token"
    if tokens.write:
        return "holders of a token, and this machine"
    return "this machine" if is_local(config.bind) else "anyone who can reach it"
