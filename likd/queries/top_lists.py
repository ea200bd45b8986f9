"""Top lists: the URLs with the most of a count, exact, out of the store and what it does not have yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TypeAlias

import attrs
import trio

from likd.errors import StoreError
from likd.model import Counts, Rows
from likd.queries.ranking import NET, Ranking, value
from likd.queries.totals import Totals
from likd.stores.protocol import RankingStore

__all__ = ["NET", "TopList", "TopLists", "value"]

ROWS_UNSEEN_MAX = 50_000
"""A ranking that has more than this and more than what waits to catch up with is given up: nobody asks for it."""

TopList: TypeAlias = list[tuple[str, Counts]]


@attrs.define(eq=False)
class _Round:
    """One look that all share who asked before it began."""

    limit: int = 0
    top: TopList | None = None
    error: StoreError | None = None


@attrs.define(eq=False)
class _Asked:
    """A ranking that somebody asks for, and the rounds that are yet to begin."""

    ranking: Ranking
    rounds: deque[_Round] = attrs.field(factory=deque)
    ended: trio.Event | None = None
    """Is set when the round that is under way has ended."""


class TopLists:
    """Tells top lists. For each count that they are asked by, a ranking is kept for as long as it is used.

    However many ask at once, one look is under way and one is to come, which all share who asked meanwhile: what
    was counted before somebody asked is in the list that they get.
    """

    def __init__(self, store: RankingStore, totals: Totals) -> None:
        self._store = store
        self._totals = totals
        self._asked: dict[str, _Asked] = {}
        totals.ledger.followers.append(self)

    async def __call__(self, by: str, limit: int) -> TopList:
        """The `limit` URLs with the most of `by`, highest first, ties by URL. Raises StoreError."""
        asked = self._asked.get(by)
        if asked is None:
            asked = self._asked[by] = _Asked(Ranking(self._store, self._totals, by))
        if not asked.rounds:
            asked.rounds.append(_Round())
        mine = asked.rounds[-1]
        mine.limit = max(mine.limit, limit)
        while mine.top is None:
            if mine.error is not None:
                raise mine.error
            if asked.ended is None:
                await self._look(asked)
            else:
                await asked.ended.wait()
        return mine.top[:limit]

    def committed(self, table_id: int, rows: Rows) -> None:
        """Drop lists that nobody asks for, and that have too much to catch up with."""
        unseen_max = max(ROWS_UNSEEN_MAX, self._totals.ledger.rows_waiting)
        for by, asked in list(self._asked.items()):
            if asked.ranking.rows_unseen > unseen_max and asked.ended is None and not asked.rounds:
                asked.ranking.close()
                del self._asked[by]

    def forgotten(self, urls: Collection[str]) -> None:
        """The rankings are told themselves."""

    def store_went_back(self) -> None:
        """Begin anew; a look that is under way is the last of the old."""
        for by, asked in self._asked.items():
            asked.ranking.close()
            asked.ranking = Ranking(self._store, self._totals, by)

    async def _look(self, asked: _Asked) -> None:
        this = asked.rounds.popleft()
        asked.ended = trio.Event()
        try:
            this.top = await asked.ranking.first(this.limit)
        except StoreError as error:
            this.error = error
        finally:
            if this.top is None and this.error is None:
                # Whoever looked was cancelled: another of those who wait does it.
                asked.rounds.appendleft(this)
            asked.ended.set()
            asked.ended = None
