"""What belongs to a single data directory: its identity and its secret."""

from __future__ import annotations

import re
import secrets
import uuid
from pathlib import Path

from likd.durability import private_file
from likd.durability.filenames import SECRET, SOURCE
from likd.errors import StartError

SECRET_BYTES = 32

_SOURCE = re.compile(r"[0-9a-f]{32}")
_SECRET = re.compile(rf"[0-9a-f]{{{2 * SECRET_BYTES}}}")


class IdentityError(StartError):
    """A file with the directory's identity or secret exists but can't be used; the message says which and why."""


def source(data_dir: Path) -> str:
    """The identity of the data directory, under which stores keep its applied mark. Created if missing.

    Raises IdentityError, OSError.
    """
    return _read_or_make(data_dir / SOURCE, _SOURCE, uuid.uuid4().hex)


def renew_source(data_dir: Path) -> None:
    """Give the data directory another identity, of which no store knows anything. Raises OSError."""
    private_file.write(data_dir / SOURCE, f"{uuid.uuid4().hex}\n".encode())


def secret(data_dir: Path) -> bytes:
    """The secret that actors are hashed with. Created if missing; without the old one, no likes can be taken back.

    Raises IdentityError, OSError.
    """
    return bytes.fromhex(_read_or_make(data_dir / SECRET, _SECRET, secrets.token_hex(SECRET_BYTES)))


def given_secret(text: str, where: str) -> bytes:
    """The secret in `text`. Raises IdentityError, which names `where` it comes from but not the secret itself."""
    if not _SECRET.fullmatch(text.strip()):
        raise IdentityError(
            f"{where}: expected {2 * SECRET_BYTES} hexadecimal digits, for example from `openssl rand -hex 32`"
        )
    return bytes.fromhex(text.strip())


def _read_or_make(path: Path, pattern: re.Pattern[str], value: str) -> str:
    try:
        found = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        private_file.write(path, f"{value}\n".encode())
        return value
    if not pattern.fullmatch(found):
        # A new one would count waiting tables twice, or let everybody like again.
        was = "empty" if not found else "damaged"
        raise IdentityError(f"{path} is {was}: expected {pattern.pattern}; restore it from a backup")
    return found
