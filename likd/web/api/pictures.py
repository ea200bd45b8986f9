"""Pictures: badges that show a count, and a pixel that counts its own impressions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast, get_args
from urllib.parse import urlsplit

import attrs

from likd.errors import StoreError
from likd.ingest.schema import short
from likd.model import Accepted, Counts, Outcome, Submission
from likd.queries.totals import Totals
from likd.web.access.caller import Caller
from likd.web.access.credentials import Credentials
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.answers import EMBEDDED_VARY, Answer, conditional, tagged
from likd.web.api.badges import Style, draw
from likd.web.api.counts import CountReads
from likd.web.api.events import Posting
from likd.web.api.urls import Urls
from likd.web.problems import Problem, store_away, wrong
from likd.web.query_string import query_value

PIXEL = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
"""A transparent GIF of one pixel."""
LABEL_CHARACTERS_MAX = 40
BADGE_CACHE = "public, max-age=30"
_SVG = "image/svg+xml"
_HEADERS = {"Vary": EMBEDDED_VARY, "Content-Security-Policy": "default-src 'none'"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters, and others that XML does not allow (XML 1.0, 2.2)."""


@attrs.frozen
class PictureRequest:
    """A request for a badge or a pixel. Without `sight`, it is a HEAD: nobody sees the picture."""

    sight: bool
    url: str
    by: str
    label: str
    style: str
    impression: str
    credentials: Credentials
    referer: str
    fetch_site: str
    if_none_match: str

    @classmethod
    def of(cls, method: str, query: bytes, header: Callable[[str], str], credentials: Credentials) -> PictureRequest:
        """Read it from a request; `header` returns "" for a header that it does not have."""
        return cls(
            method == "GET",
            query_value(query, "url"),
            query_value(query, "by", "likes"),
            query_value(query, "label"),
            query_value(query, "style", "solid"),
            query_value(query, "impression", "false"),
            credentials,
            header("Referer"),
            header("Sec-Fetch-Site"),
            header("If-None-Match"),
        )


@attrs.frozen
class Pictures:
    """Draws pictures, and counts their impressions. Every error of a client raises Problem."""

    posting: Posting
    urls: Urls
    reads: CountReads
    totals: Totals
    gate: Gate

    def badge_nowait(self, asked: PictureRequest, caller: Caller) -> Answer | None:
        """The badge, if that needs no look into the store and counts no impression."""
        href = self._check_badge(asked, caller)
        if asked.impression == "true":
            return None
        counts = self.totals.counts_nowait(href, self.urls.old_names([asked.url], [href]))
        return None if counts is None else self._draw(asked, href, counts)

    async def badge(self, asked: PictureRequest, caller: Caller) -> Answer:
        """A picture of one count, for pages that can only include pictures."""
        href = self._check_badge(asked, caller)
        if asked.impression == "true":
            # Nothing is counted if there is no badge to be seen.
            await self._counts(asked, href)
            if (submission := self.see(asked, caller)) is not None:
                outcome = await submission.settled()
                if not isinstance(outcome, Accepted):
                    return self.posting.answer(outcome)
        try:
            counts = await self._counts(asked, href)
        except Problem as problem:
            if problem.status != 503:
                raise
            # Browsers show the picture of an error, too.
            drawn = draw(asked.label or asked.by, asked.by, None, cast(Style, asked.style))
            headers = {**_HEADERS, **problem.headers, "Cache-Control": "no-store"}
            return Answer(503, drawn, _SVG, headers | self._policy(asked))
        return self._draw(asked, href, counts)

    def see(self, asked: PictureRequest, caller: Caller) -> Submission | None:
        """Count an impression of the picture; it will be settled. None if nobody saw it."""
        if not asked.sight:
            return None
        # Requests for pictures have no Origin, so the Referer says which page shows it.
        origin = _origin(asked.referer)
        self.gate.cross_origin(attrs.evolve(asked.credentials, origin=origin))
        if not origin and caller.role is not Role.PUBLIC and asked.fetch_site == "cross-site":
            raise Problem(
                403, "a page that sends neither Origin nor Referer is not allowed", members={"field": "Referer"}
            )
        return self.posting.see(asked.url, caller)

    def pixel(self, outcome: Outcome | None) -> Answer:
        """The pixel, once its impression is settled, or without one."""
        policy = {"Cross-Origin-Resource-Policy": "cross-origin"}
        if outcome is None or isinstance(outcome, Accepted):
            return Answer(200, PIXEL, "image/gif", {"Cache-Control": "no-store", **policy})
        failed = self.posting.answer(outcome)
        return attrs.evolve(failed, headers={**failed.headers, **policy})

    def _check_badge(self, asked: PictureRequest, caller: Caller) -> str:
        """The canonical URL that is counted."""
        if asked.impression not in ("true", "false"):
            members = {"field": "impression", "expected": "true or false"}
            raise Problem(422, f"impression is {short(asked.impression)}", members=members)
        self.reads.check_by(asked.by)
        if len(asked.label) > LABEL_CHARACTERS_MAX:
            raise wrong("label", asked.label[:LABEL_CHARACTERS_MAX], f"at most {LABEL_CHARACTERS_MAX} characters")
        if asked.style not in get_args(Style):
            raise wrong("style", asked.style, f"one of {', '.join(get_args(Style))}")
        if _CONTROL.search(asked.label):
            raise wrong("label", asked.label, "no control characters")
        (href,) = self.urls.readable([asked.url], caller)
        return href

    async def _counts(self, asked: PictureRequest, href: str) -> Counts:
        try:
            return (await self.totals.counts([href], self.urls.old_names([asked.url], [href])))[href]
        except StoreError as error:
            raise store_away(error) from None

    def _draw(self, asked: PictureRequest, href: str, counts: Counts) -> Answer:
        drawn = draw(
            asked.label or asked.by, asked.by, self.reads.row(href, counts)[asked.by], cast(Style, asked.style)
        )
        headers = {"Cache-Control": BADGE_CACHE, **_HEADERS, **self._policy(asked)}
        if asked.impression == "true":
            # An impression of a cached copy would not be counted.
            headers["Cache-Control"] = "no-store"
        return conditional(tagged(Answer(200, drawn, _SVG, headers)), asked.if_none_match)

    def _policy(self, asked: PictureRequest) -> dict[str, str]:
        policy = self.gate.resource_policy(asked.referer, asked.credentials.host)
        return {"Cross-Origin-Resource-Policy": policy}


def _origin(referer: str) -> str:
    try:
        page = urlsplit(referer)
    except ValueError:
        return "null"
    return f"{page.scheme}://{page.netloc}" if page.netloc else ""
