"""Counts of URLs and top lists, in the API's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from likd.errors import StoreError
from likd.queries.top_lists import TopLists
from likd.queries.totals import Totals
from likd.web.access.caller import Caller
from likd.web.answers import Answer, tagged
from likd.web.api.count_rows import CountRows, refused
from likd.web.api.urls import Urls
from likd.web.problems import Problem, store_away


class CountReads(CountRows):
    """Answers reads of the counts with these `names`. Every error of a client raises Problem."""

    def __init__(self, urls: Urls, totals: Totals, top: TopLists, names: Sequence[str]) -> None:
        super().__init__(names)
        self._urls = urls
        self._totals = totals
        self._top = top

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
