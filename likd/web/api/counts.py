"""Counts of URLs and top lists, in the API's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from likd.errors import StoreError
from likd.ingest.schema import short
from likd.model import IMPRESSIONS, LIKES, UNLIKES, Counts
from likd.queries.top_lists import NET, TopLists
from likd.queries.totals import Totals
from likd.web.access.caller import Caller
from likd.web.answers import Answer, tagged
from likd.web.api.urls import Urls
from likd.web.problems import Problem, store_away

TOP_LIMIT_MAX = 1000


class CountReads:
    """Answers reads of the counts with these `names`. Every error of a client raises Problem."""

    def __init__(self, urls: Urls, totals: Totals, top: TopLists, names: Sequence[str]) -> None:
        self._urls = urls
        self._totals = totals
        self._top = top
        self._names = names

    def counts_nowait(self, urls: Sequence[str], caller: Caller, *, partial: bool = False) -> Answer | None:
        """The counts of `urls`, or None if that needs a look into the store."""
        found: list[dict[str, Any]] = []
        hrefs = self._urls.each_readable(urls, caller, partial=partial)
        also = self._urls.old_names(urls, hrefs)
        for url, href in zip(urls, hrefs, strict=True):
            if isinstance(href, Problem):
                found.append(refused(url, href))
                continue
            counts = self._totals.counts_nowait(href, also)
            if counts is None:
                return None
            found.append(self.row(href, counts))
        return Answer(200, msgspec.json.encode({"counts": found}))

    async def counts(self, urls: Sequence[str], caller: Caller, *, partial: bool = False) -> Answer:
        """The counts of `urls`, in their order and as they were written.

        If `partial`, each URL is answered separately, with a problem in place of one that can't be read.
        """
        hrefs = self._urls.each_readable(urls, caller, partial=partial)
        try:
            known = list(dict.fromkeys(href for href in hrefs if isinstance(href, str)))
            totals = await self._totals.counts(known, self._urls.old_names(urls, hrefs))
        except StoreError as error:
            raise store_away(error) from None
        found = [
            refused(url, href) if isinstance(href, Problem) else self.row(href, totals[href])
            for url, href in zip(urls, hrefs, strict=True)
        ]
        return Answer(200, msgspec.json.encode({"counts": found}))

    async def top(self, by: str, limit: str) -> Answer:
        """The top list."""
        by = self.check_by(by)
        try:
            ranked = await self._top(by, self.check_limit(limit))
        except StoreError as error:
            raise store_away(error) from None
        rows = [self.row(url, counts) for url, counts in ranked]
        return tagged(Answer(200, msgspec.json.encode({"by": by, "top": rows})))

    def row(self, url: str, counts: Counts) -> dict[str, Any]:
        """The counts of one URL in the API's form."""
        likes, unlikes = counts.get(LIKES, 0), counts.get(UNLIKES, 0)
        row: dict[str, Any] = {
            "url": url,
            "likes": likes,
            "unlikes": unlikes,
            "net": likes - unlikes,
            "impressions": counts.get(IMPRESSIONS, 0),
        }
        for name in self._names:
            row.setdefault(name, counts.get(name, 0))
        return row

    def check_by(self, by: str) -> str:
        """`by`, if lists can be ranked by it. Raises Problem."""
        if by not in self._names and by != NET:
            expected = f"one of {', '.join(sorted({*self._names, NET}))}"
            raise Problem(422, f"by is {short(by)}", members={"field": "by", "expected": expected})
        return by

    def check_limit(self, limit: str) -> int:
        """`limit` as a number that a top list may have. Raises Problem."""
        if not (limit.isdecimal() and limit.isascii() and len(limit) <= 9 and 1 <= int(limit) <= TOP_LIMIT_MAX):
            expected = f"a whole number from 1 to {TOP_LIMIT_MAX}"
            raise Problem(422, f"limit is {short(limit)}", members={"field": "limit", "expected": expected})
        return int(limit)


def refused(url: str, problem: Problem) -> dict[str, object]:
    """What stands in the place of a URL's counts."""
    return {"url": url, "problem": problem.about()}
