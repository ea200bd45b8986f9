"""Links that allow reading: makes, lists and revokes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from likd.queries.periods import TIME_MAX
from likd.web.access.caller import Caller
from likd.web.access.shares import Share, Shares
from likd.web.answers import Answer
from likd.web.api.urls import Urls
from likd.web.problems import Problem, wrong

log = structlog.get_logger(__name__)


class _New(msgspec.Struct, forbid_unknown_fields=True):
    url: str = ""
    site: str = ""
    until: int | None = None


class ShareLinks:
    """Makes, lists and revokes links to pages below `base`. Raises Problem."""

    def __init__(self, shares: Shares, urls: Urls, base: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self._shares = shares
        self._urls = urls
        self._base = base
        self._clock = clock

    async def make(self, body: bytes, caller: Caller) -> Answer:
        """Make a link for a URL or a site."""
        expected = {"expected": "a field url or site, and until, seconds since 1970"}
        try:
            asked = msgspec.json.decode(body, type=_New)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(422, str(error).replace("`", ""), members=expected) from None
        if bool(asked.url) == bool(asked.site):
            raise Problem(422, "exactly one URL or one site is needed", members={"field": "url", **expected})
        if asked.until is not None and not self._clock() < asked.until <= TIME_MAX:
            raise wrong("until", str(asked.until), "a time in the future, in seconds since 1970")
        url, site = "", ""
        if asked.site:
            site = self._urls.readable_site(asked.site, caller)
        else:
            (url,) = self._urls.readable([asked.url], caller)
        try:
            share = await self._shares.make(url=url, site=site, until=asked.until)
        except OSError as error:
            raise _not_kept(error) from None
        log.info("link made", id=share.id, url=share.url, site=share.site, until=share.until)
        return Answer(201, msgspec.json.encode(self._row(share)))

    def all(self) -> Answer:
        """All valid links."""
        return Answer(200, msgspec.json.encode({"shares": [self._row(share) for share in self._shares.all()]}))

    async def revoke(self, share_id: str) -> Answer:
        """Revoke a link."""
        try:
            found = await self._shares.revoke(share_id)
        except OSError as error:
            raise _not_kept(error) from None
        if not found:
            raise Problem(404, "there is no such share", members={"field": "id"})
        log.info("link revoked", id=share_id)
        return Answer(200, msgspec.json.encode({"id": share_id, "revoked": True}))

    def _row(self, share: Share) -> dict[str, Any]:
        token = self._shares.token(share)
        about = {"url": share.url} if share.url else {"site": share.site}
        return {"id": share.id, **about, "until": share.until, "token": token, "href": f"{self._base}/s/{token}"}


def _not_kept(error: OSError) -> Problem:
    log.error("shares can't be saved", fault=str(error))
    return Problem(503, "the disk refuses the write", headers={"Retry-After": "10"})
