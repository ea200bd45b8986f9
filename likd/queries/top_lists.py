"""Top lists: the URLs with the highest counts, exact, from the store and what it does not have yet."""

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
"""A ranking with more than this to catch up with, and more than is waiting, is dropped: nobody asks for it."""

TopList: TypeAlias = list[tuple[str, Counts]]


@attrs.define(eq=False)
class _Round:
    """One look, shared by all who asked before it began."""

    limit: int = 0
    top: TopList | None = None
    error: StoreError | None = None


@attrs.define(eq=False)
class _Asked:
    """A ranking in use, and the rounds that are yet to begin."""

    ranking: Ranking
    rounds: deque[_Round] = attrs.field(factory=deque)
    ended: trio.Event | None = None
    """Set when the current round has ended."""


class TopLists:
    """Answers requests for top lists. For each count that is asked for, a ranking is kept as long as it is used.

    However many ask at once, one look is running and one is to come, shared by all who asked meanwhile: everything
    counted before somebody asked is in the list that they get.
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
        """Drop rankings that nobody asks for and that have too much to catch up with."""
        unseen_max = max(ROWS_UNSEEN_MAX, self._totals.ledger.rows_waiting)
        for by, asked in list(self._asked.items()):
            if asked.ranking.rows_unseen > unseen_max and asked.ended is None and not asked.rounds:
                asked.ranking.close()
                del self._asked[by]

    def forgotten(self, urls: Collection[str]) -> None:
        """Do nothing: the rankings follow that themselves."""

    def store_went_back(self) -> None:
        """Begin again; a running look is the last of the old rankings."""
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
                # The task that looked was cancelled: another of the waiting ones does it.
                asked.rounds.appendleft(this)
            asked.ended.set()
            asked.ended = None
