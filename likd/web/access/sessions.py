"""Logins: browsers that gave the admin token and have not logged out."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
import trio

from likd.durability import private_file

SESSION_SECONDS = 7 * 86_400
LOGINS_MAX = 100
"""Beyond this many, the oldest login ends."""
_SESSION = re.compile(r"\d{1,12}\.[0-9a-f]{64}", re.ASCII)

log = structlog.get_logger(__name__)


class Logins:
    """Sessions that have begun and not ended, also kept in the file `path` if it is given.

    The file has a hash of each, keyed with the admin token `key`: reading it gives nobody a session, and a different
    admin token ends them all.
    """

    def __init__(self, key: bytes, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._path = path
        self._clock = clock
        self._until: dict[str, int] = {} if path is None else _read(path)
        """When each session ends, by its hash, the oldest first."""
        self._one_writer = trio.CapacityLimiter(1)

    def begin(self) -> str:
        """Begin a session. Returns the secret for its browser."""
        now = int(self._clock())
        session = f"{now + SESSION_SECONDS}.{secrets.token_hex(32)}"
        kept = [(digest, until) for digest, until in self._until.items() if until >= now]
        self._until = dict([*kept[-(LOGINS_MAX - 1) :], (self._digest(session), now + SESSION_SECONDS)])
        return session

    def holds(self, session: str) -> bool:
        """Whether `session` has begun and not ended."""
        known = _SESSION.fullmatch(session) is not None
        return known and self._until.get(self._digest(session), 0) >= self._clock()

    def end(self, session: str) -> bool:
        """End `session`, durably after the next `keep`. Returns whether it existed."""
        return self._until.pop(self._digest(session), None) is not None

    async def keep(self) -> None:
        """Write the sessions to the file; they are on disk when this returns. Raises OSError."""
        if self._path is not None:
            await trio.to_thread.run_sync(self._write, self._path, limiter=self._one_writer)

    def _write(self, path: Path) -> None:
        # One at a time, each with the newest state when its turn comes.
        private_file.write(path, msgspec.json.encode(dict(self._until)))

    def _digest(self, session: str) -> str:
        return hmac.new(self._key, session.encode(errors="replace"), hashlib.sha256).hexdigest()


def _read(path: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("the file of logins can't be read: everyone has to log in again", fault=str(error))
        return {}
