"""Growth: how much each URL has grown since the last look, with no event missed or reported twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import attrs
import trio

from likd.model import Counts, Rows, add
from likd.queries.totals import Totals

URLS_AT_ONCE = 500
"""How much a step handles: well under a millisecond."""


@attrs.define(eq=False)
class _Committed:
    """A table that is no longer counting, how much of it was reported, and the URLs that are still to be examined."""

    rows: Rows
    seen: Rows
    left: list[str]


class Growth:
    """Follows the tables: looks at those that are counting again and again, and at each once more when it is committed.

    Everything goes in steps. A table that is committed between two of them is examined completely later: its rows are
    final, and `seen` says what was already reported.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._seen: dict[int, Rows] = {}
        self._committed: deque[_Committed] = deque()
        self._forgotten: set[str] = set()
        self.rows_unseen = 0
        """How many rows of committed tables are still to be examined; too many, if looks are rare."""
        totals.ledger.followers.append(self)

    def close(self) -> None:
        """Stop following."""
        self._totals.ledger.followers.remove(self)

    def committed(self, table_id: int, rows: Rows) -> None:
        """`table_id` has these rows, and gets no more."""
        self._committed.append(_Committed(rows, self._seen.pop(table_id, {}), list(rows)))
        self.rows_unseen += len(rows)

    def forgotten(self, urls: Collection[str]) -> None:
        """What was known about `urls` is no longer valid."""
        self._forgotten.update(urls)

    def store_went_back(self) -> None:
        """Not growth: what the store had is in none of the tables that are followed."""

    def take_forgotten(self) -> set[str]:
        """The URLs whose change can't be determined."""
        forgotten, self._forgotten = self._forgotten, set()
        return forgotten

    async def look(self, grown: Rows) -> None:
        """Add the growth since the last look to `grown`, in steps; what a step adds counts as reported."""
        tables = self._totals.ledger.tables
        for ended in self._seen.keys() - {table.id for table in tables}:
            del self._seen[ended]
        for table in tables:
            urls = list(table.urls)
            for begin in range(0, len(urls), URLS_AT_ONCE):
                if table not in self._totals.ledger.tables:
                    break
                seen = self._seen.setdefault(table.id, {})
                for url in urls[begin : begin + URLS_AT_ONCE]:
                    counts = table.counts(url)
                    if counts:
                        _note(url, counts, seen, grown)
                await trio.lowlevel.checkpoint()
        await self._look_at_committed(grown)

    async def _look_at_committed(self, grown: Rows) -> None:
        while self._committed:
            table = self._committed[0]
            urls = table.left[-URLS_AT_ONCE:]
            for url in urls:
                _note(url, table.rows[url], table.seen, grown)
            del table.left[-URLS_AT_ONCE:]
            self.rows_unseen -= len(urls)
            if not table.left:
                self._committed.popleft()
            await trio.lowlevel.checkpoint()

    def know(self, url: str) -> None:
        """The growth of `url` so far is known: don't report it."""
        for table in self._totals.ledger.tables:
            counts = table.counts(url)
            if counts:
                self._seen.setdefault(table.id, {})[url] = counts.copy()
        for committed in self._committed:
            if url in committed.rows:
                committed.seen[url] = committed.rows[url]


def _note(url: str, counts: Counts, seen: Rows, grown: Rows) -> None:
    before = seen.get(url)
    if before == counts:
        return
    news = seen[url] = counts.copy()
    if before is not None:
        news = {name: n - before.get(name, 0) for name, n in counts.items()}
    mine = grown.get(url)
    if mine is not None:
        news = news.copy()
        add(news, mine)
    grown[url] = news
