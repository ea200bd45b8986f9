"""Reads beyond the counts of a few URLs: history, export, badge."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping
from heapq import merge
from html import escape
from typing import Any, cast

import attrs
import msgspec
import trio

from likd.model import Counts
from likd.queries.totals import Totals
from likd.stores.protocol import UNIT_SECONDS, Store, StoreError, Unit, in_time
from likd.web.access.gate import Caller
from likd.web.answers import Answer
from likd.web.api.events import Operations, store_away
from likd.web.problems import Problem

HISTORY_MAX = 2000
HISTORY_DEFAULT: Mapping[Unit, int] = {"minute": 60, "hour": 48, "day": 30}
EXPORT_AT_ONCE = 500
LABEL_CHARACTERS_MAX = 40
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters, and what XML has no place for (XML 1.0, 2.2)."""

BADGE_CACHE = "public, max-age=30"


@attrs.frozen
class Reads:
    """Answers reads that look into the store. They raise Problem for everything a client can do wrong."""

    operations: Operations
    totals: Totals
    store: Store
    clock: Callable[[], float] = time.time

    async def history(self, caller: Caller, url: str, unit: str, last: str, until: str) -> Answer:
        """What one URL got in each of the `last` units of time until `until`."""
        if unit not in UNIT_SECONDS:
            raise _wrong("unit", unit, "minute, hour or day")
        known = cast(Unit, unit)
        units = _number("last", last or str(HISTORY_DEFAULT[known]), 1, HISTORY_MAX)
        seconds = UNIT_SECONDS[known]
        now = _number("until", until, 0, 1 << 40) if until else int(self.clock())
        end = (now // seconds + 1) * seconds
        begin = max(0, end - units * seconds)
        (href,) = self.operations.readable([url], caller)
        try:
            with in_time():
                found = dict(await self.store.history(self.totals.settled_name(href), known, begin, end))
        except StoreError as error:
            raise store_away(error) from None
        rows = [{"time": at, **self._row(found.get(at, {}))} for at in range(begin, end, seconds)]
        body = {"url": href, "unit": unit, "begin": begin, "end": end, "history": rows}
        return Answer(200, msgspec.json.encode(body))

    async def badge(self, caller: Caller, url: str, by: str, label: str) -> Answer:
        """A picture of one count, for pages where a picture is all that can be had."""
        by = self.operations.check_by(by)
        if len(label) > LABEL_CHARACTERS_MAX:
            raise _wrong("label", label[:LABEL_CHARACTERS_MAX], f"at most {LABEL_CHARACTERS_MAX} characters")
        if _CONTROL.search(label):
            raise _wrong("label", label, "no control characters")
        (href,) = self.operations.readable([url], caller)
        try:
            counts = (await self.totals.counts([href], self.operations.old_names([url], [href])))[href]
        except StoreError as error:
            raise store_away(error) from None
        number = self.operations.row(href, counts)[by]
        body = _badge(label or by, f"{number:,}")
        return Answer(200, body, "image/svg+xml", {"Cache-Control": BADGE_CACHE})

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
            msgspec.json.encode(self.operations.row(url, counts))
            for url, counts in totals.items()
            if counts and url not in self.totals.aliases
        ]
        return b"\n".join([*rows, b""]) if rows else b""

    def _row(self, counts: Counts) -> dict[str, Any]:
        row = self.operations.row("", counts)
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
        raise _wrong(field, text, f"a whole number from {low} to {high}")
    return int(text)


def _wrong(field: str, value: str, expected: str) -> Problem:
    return Problem(422, f"{field} is {value[:80]!a}", members={"field": field, "expected": expected})


def _badge(label: str, number: str) -> bytes:
    """Two boxes, 20 pixels high, as badges are."""
    left, right = (round(len(text) * 6.6) + 12 for text in (label, number))
    width = left + right
    name, figure = escape(label), escape(number)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img"
aria-label="{name}: {figure}">
<title>{name}: {figure}</title>
<clipPath id="r"><rect width="{width}" height="20" rx="4"/></clipPath>
<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#3b3f46"/>
<rect x="{left}" width="{right}" height="20" fill="#c2255c"/></g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{left / 2:g}" y="14">{name}</text><text x="{left + right / 2:g}" y="14">{figure}</text></g>
</svg>
""".encode()
