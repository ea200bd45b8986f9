"""Reads beyond the counts of a few URLs: history, top list, export."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from heapq import merge
from typing import Any, Protocol, cast

import attrs
import msgspec
import trio

from likd.errors import StoreError
from likd.model import Counts
from likd.queries.totals import Totals
from likd.stores.protocol import UNIT_SECONDS, HistoryStore, PageStore, Unit, in_time
from likd.web.access.caller import Caller
from likd.web.answers import Answer, conditional, tagged
from likd.web.api.counts import CountReads
from likd.web.api.kept import Kept
from likd.web.api.urls import Urls
from likd.web.problems import store_away, wrong
from likd.web.query_string import query_value

HISTORY_MAX = 2000
HISTORY_DEFAULT: Mapping[Unit, int] = {"minute": 60, "hour": 48, "day": 30}
EXPORT_AT_ONCE = 500


@attrs.frozen
class HistoryRequest:
    """What a request for a history says."""

    url: str
    unit: str
    last: str
    until: str
    if_none_match: str

    @classmethod
    def of(cls, query: bytes, if_none_match: str) -> HistoryRequest:
        """Read it off a query."""
        return cls(
            query_value(query, "url"),
            query_value(query, "unit", "hour"),
            query_value(query, "last"),
            query_value(query, "until"),
            if_none_match,
        )


@attrs.frozen
class TopRequest:
    """What a request for a top list says."""

    by: str
    limit: str
    if_none_match: str

    @classmethod
    def of(cls, query: bytes, if_none_match: str) -> TopRequest:
        """Read it off a query."""
        return cls(query_value(query, "by", "likes"), query_value(query, "limit", "10"), if_none_match)


@attrs.frozen
class _Span:
    """The history of one URL, in so many units of time."""

    href: str
    name: str
    """What the store has it under."""
    unit: Unit
    begin: int
    end: int


class ReadStore(HistoryStore, PageStore, Protocol):
    """What is looked into."""


@attrs.frozen
class Reads:
    """Answers reads that look into the store. They raise Problem for everything a client can do wrong.

    Histories and top lists are told again out of memory for as long as nothing moves.
    """

    urls: Urls
    counts: CountReads
    totals: Totals
    store: ReadStore
    clock: Callable[[], float] = time.time
    _histories: Kept = attrs.field(init=False)
    _tops: Kept = attrs.field(init=False)

    @_histories.default
    def _no_histories(self) -> Kept:
        return Kept(lambda: self.totals.stored)

    @_tops.default
    def _no_tops(self) -> Kept:
        return Kept(lambda: self.totals.position)

    def history_nowait(self, asked: HistoryRequest, caller: Caller) -> Answer | None:
        """The same as `history`, if it is known."""
        kept = self._histories.get(self._span(asked, caller))
        return None if kept is None else conditional(kept, asked.if_none_match)

    async def history(self, asked: HistoryRequest, caller: Caller) -> Answer:
        """What one URL got in each of the `last` units of time until `until`."""
        span = self._span(asked, caller)
        return conditional(await self._histories.ask(span, partial(self._history, span)), asked.if_none_match)

    def top_nowait(self, asked: TopRequest, caller: Caller) -> Answer | None:
        """The same as `top`, if it is known."""
        kept = self._tops.get((asked.by, asked.limit))
        return None if kept is None else conditional(kept, asked.if_none_match)

    async def top(self, asked: TopRequest, caller: Caller) -> Answer:
        """The top list."""
        look = partial(self.counts.top, asked.by, asked.limit)
        return conditional(await self._tops.ask((asked.by, asked.limit), look), asked.if_none_match)

    async def export(self) -> AsyncIterator[bytes]:
        """All counts as NDJSON, by URL: each as exact as a read of it would be at that moment. Raises StoreError.

        It costs what it sends: what the store does not have is sorted once, a little at a time as it is needed.
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
        aliases = self.totals.aliases
        parts = []
        for urls in self.totals.unapplied_steps(EXPORT_AT_ONCE):
            parts.append(sorted(set(map(aliases, urls))))
            await trio.lowlevel.checkpoint()
        return _Sorted(parts)

    async def _lines(self, urls: list[str]) -> bytes:
        totals = await self.totals.counts(urls, keep=False)
        rows = [
            msgspec.json.encode(self.counts.row(url, counts))
            for url, counts in totals.items()
            if counts and url not in self.totals.aliases
        ]
        return b"\n".join([*rows, b""]) if rows else b""

    async def _history(self, span: _Span) -> Answer:
        try:
            with in_time():
                found = dict(await self.store.history(span.name, span.unit, span.begin, span.end))
        except StoreError as error:
            raise store_away(error) from None
        times = range(span.begin, span.end, UNIT_SECONDS[span.unit])
        rows = [{"time": at, **self._row(found.get(at, {}))} for at in times]
        body = {"url": span.href, "unit": span.unit, "begin": span.begin, "end": span.end, "history": rows}
        return tagged(Answer(200, msgspec.json.encode(body)))

    def _span(self, asked: HistoryRequest, caller: Caller) -> _Span:
        if asked.unit not in UNIT_SECONDS:
            raise wrong("unit", asked.unit, "minute, hour or day")
        unit = cast(Unit, asked.unit)
        units = _number("last", asked.last or str(HISTORY_DEFAULT[unit]), 1, HISTORY_MAX)
        seconds = UNIT_SECONDS[unit]
        now = _number("until", asked.until, 0, 1 << 40) if asked.until else int(self.clock())
        end = (now // seconds + 1) * seconds
        (href,) = self.urls.readable([asked.url], caller)
        return _Span(href, self.totals.settled_name(href), unit, max(0, end - units * seconds), end)

    def _row(self, counts: Counts) -> dict[str, Any]:
        row = self.counts.row("", counts)
        del row["url"]
        return row


class _Sorted:
    """What is in sorted parts, in order, once each."""

    def __init__(self, parts: list[list[str]]) -> None:
        self._merged = merge(*parts)
        self._next = next(self._merged, None)
        self._taken = ""

    def take(self, limit: int, last: str | None) -> list[str]:
        """The next `limit`, none beyond `last`."""
        taken: list[str] = []
        while self._next is not None and len(taken) < limit and (last is None or self._next <= last):
            if self._next != self._taken:
                taken.append(self._next)
                self._taken = self._next
            self._next = next(self._merged, None)
        return taken


def _number(field: str, text: str, low: int, high: int) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) <= 18 and low <= int(text) <= high):
        raise wrong(field, text, f"a whole number from {low} to {high}")
    return int(text)
