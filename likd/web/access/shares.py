"""Shares: links that let anyone who has one read everything about one site or URL, until they are revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import msgspec
import structlog
import trio

from likd.durability import private_file
from likd.model import host_of

SHARES_MAX = 1000
ID_BYTES = 9
_TOKEN = re.compile(r"s_([0-9a-f]{18})_([0-9a-f]{40})", re.ASCII)

log = structlog.get_logger(__name__)


@attrs.frozen
class Share:
    """What a link allows reading: a URL or a site, until a time (seconds since 1970) if one is given."""

    id: str
    url: str = ""
    site: str = ""
    until: int | None = None

    def covers(self, url: str) -> bool:
        """Whether the canonical `url` may be read."""
        return url == self.url or (bool(self.site) and host_of(url) == self.site)


class Shares:
    """The shares that were made and not revoked, kept in the file at `path`.

    Their tokens are signed with `key` and not stored, so the file reveals none. Beyond SHARES_MAX, the oldest ends.
    """

    def __init__(self, key: bytes, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._path = path
        self._clock = clock
        self._shares: dict[str, Share] = {} if path is None else _read(path)
        self._one_writer = trio.CapacityLimiter(1)

    async def make(self, *, url: str = "", site: str = "", until: int | None = None) -> Share:
        """A new share; it is on disk when this returns. Raises OSError."""
        share = Share(secrets.token_hex(ID_BYTES), url, site, until)
        before = self._shares
        self._shares = dict([*list(before.items())[-(SHARES_MAX - 1) :], (share.id, share)])
        await self._keep()
        return share

    async def revoke(self, share_id: str) -> bool:
        """End a share; that is on disk when this returns. Returns whether it existed. Raises OSError."""
        found = self._shares.pop(share_id, None) is not None
        if found:
            await self._keep()
        return found

    def all(self) -> list[Share]:
        """The valid shares, the oldest first."""
        now = self._clock()
        return [share for share in self._shares.values() if share.until is None or share.until > now]

    def token(self, share: Share) -> str:
        """The token in the share's link."""
        return f"s_{share.id}_{self._sign(share)}"

    def find(self, token: str) -> Share | None:
        """The share that a token is for, if it is valid."""
        match = _TOKEN.fullmatch(token)
        share = self._shares.get(match[1]) if match is not None else None
        if match is None or share is None or not hmac.compare_digest(match[2], self._sign(share)):
            return None
        return share if share.until is None or share.until > self._clock() else None

    def _sign(self, share: Share) -> str:
        said = msgspec.json.encode(["share", share.id, share.url, share.site, share.until])
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()[:40]

    async def _keep(self) -> None:
        if self._path is not None:
            await trio.to_thread.run_sync(self._write, self._path, limiter=self._one_writer)

    def _write(self, path: Path) -> None:
        # One at a time, each with the newest state when its turn comes.
        private_file.write(path, msgspec.json.encode(list(self._shares.values())))


def _read(path: Path) -> dict[str, Share]:
    try:
        return {share.id: share for share in msgspec.json.decode(path.read_bytes(), type=list[Share])}
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("the file of shares can't be read: the links have to be made again", fault=str(error))
        return {}
