"""Larger reads than the counts of a few URLs: history, top list, export."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator
from functools import partial
from heapq import merge

import attrs
import msgspec
import trio

from likd.queries.totals import Totals
from likd.stores.protocol import PageStore, in_time
from likd.web.access.caller import Caller
from likd.web.answers import Answer, conditional
from likd.web.api.counts import CountReads
from likd.web.api.histories import Histories, HistoryRequest
from likd.web.api.kept import Kept
from likd.web.query_string import query_value

EXPORT_AT_ONCE = 500


@attrs.frozen
class TopRequest:
    """The parameters of a request for a top list."""

    by: str
    limit: str
    if_none_match: str

    @classmethod
    def of(cls, query: bytes, if_none_match: str) -> TopRequest:
        """Read them from a query."""
        return cls(query_value(query, "by", "likes"), query_value(query, "limit", "10"), if_none_match)


@attrs.frozen
class Reads:
    """Answers reads that look into the store. Every error of a client raises Problem.

    Histories and top lists are repeated from memory as long as nothing changes.
    """

    counts: CountReads
    totals: Totals
    store: PageStore
    histories: Histories
    _tops: Kept = attrs.field(init=False)

    @_tops.default
    def _no_tops(self) -> Kept:
        return Kept(lambda: self.totals.ledger.position)

    def history_nowait(self, asked: HistoryRequest, caller: Caller) -> Answer | None:
        """The answer of `history`, if it is in memory."""
        return self.histories.nowait(asked, caller)

    async def history(self, asked: HistoryRequest, caller: Caller) -> Answer:
        """What a URL, a site or all sites got in each unit of a period."""
        return await self.histories.ask(asked, caller)

    def top_nowait(self, asked: TopRequest, caller: Caller) -> Answer | None:
        """The answer of `top`, if it is in memory."""
        kept = self._tops.get((asked.by, asked.limit))
        return None if kept is None else conditional(kept, asked.if_none_match)

    async def top(self, asked: TopRequest, caller: Caller) -> Answer:
        """The top list."""
        look = partial(self.counts.top, asked.by, asked.limit)
        return conditional(await self._tops.ask((asked.by, asked.limit), look), asked.if_none_match)

    async def export(self) -> AsyncIterator[bytes]:
        """All counts as NDJSON, sorted by URL, each as exact as a read of it at that moment. Raises StoreError.

        The cost follows what is sent: counts that the store does not have are sorted once, a little at a time, as
        needed.
        """
        waiting = await self._waiting()
        after = ""
        full = True
        while full:
            with in_time():
                listed = [url for url, _ in await self.store.page(after, EXPORT_AT_ONCE)]
            full = len(listed) == EXPORT_AT_ONCE
            after = listed[-1] if full else ""
            more = True
            while more:
                new = waiting.take(EXPORT_AT_ONCE, after if full else None)
                more = len(new) == EXPORT_AT_ONCE
                before = bisect_right(listed, new[-1]) if more else len(listed)
                urls = sorted({*listed[:before], *new})
                del listed[:before]
                for begin in range(0, len(urls), EXPORT_AT_ONCE):
                    if lines := await self._lines(urls[begin : begin + EXPORT_AT_ONCE]):
                        yield lines

    async def _waiting(self) -> _Sorted:
        aliases = self.totals.ledger.aliases
        parts = []
        for urls in self.totals.ledger.unapplied_steps(EXPORT_AT_ONCE):
            parts.append(sorted(set(map(aliases, urls))))
            await trio.lowlevel.checkpoint()
        return _Sorted(parts)

    async def _lines(self, urls: list[str]) -> bytes:
        totals = await self.totals.counts(urls, keep=False)
        rows = [
            msgspec.json.encode(self.counts.row(url, counts))
            for url, counts in totals.items()
            if counts and url not in self.totals.ledger.aliases
        ]
        return b"\n".join([*rows, b""]) if rows else b""


class _Sorted:
    """Merges sorted parts: each item once, in order."""

    def __init__(self, parts: list[list[str]]) -> None:
        self._merged = merge(*parts)
        self._next = next(self._merged, None)
        self._taken = ""

    def take(self, limit: int, last: str | None) -> list[str]:
        """The next `limit` items, none beyond `last`."""
        taken: list[str] = []
        while self._next is not None and len(taken) < limit and (last is None or self._next <= last):
            if self._next != self._taken:
                taken.append(self._next)
                self._taken = self._next
            self._next = next(self._merged, None)
        return taken
