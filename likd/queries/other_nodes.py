"""Other nodes on the same store: what they wrote there is part of the totals that are read here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio

from likd.counting.actors import Actors
from likd.errors import StoreError
from likd.queries.totals import Totals
from likd.stores.protocol import FeedStore, News

POLL_SECONDS = 0.5

log = structlog.get_logger(__name__)


class OtherNodes:
    """Polls the store for what other nodes wrote to it, and forgets what is cached of it here.

    So their likes show within a second of being drained. `learn` is called when URLs were merged elsewhere.
    """

    def __init__(
        self, *, store: FeedStore, totals: Totals, actors: Actors, learn: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._totals = totals
        self._actors = actors
        self._learn = learn
        self._last: News | None = None
        self.fault: str | None = None

    @property
    def nodes(self) -> int:
        """How many other nodes there are, once that is known."""
        return len(self._last.marks) if self._last is not None else 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll until cancelled. Retries if the store fails."""
        task_status.started()
        while True:
            try:
                await self._look()
                self.fault = None
            except StoreError as error:
                self.fault = str(error)
            await trio.sleep(POLL_SECONDS)

    async def _look(self) -> None:
        news = await self._store.news(self._last)
        if not self._totals.take_marks(news.marks):
            # The store lacks what was seen of them: it is looked at again when they gave it again.
            return
        if self._last is not None and news.merges != self._last.merges:
            await self._learn()
        # Whoever needs what is forgotten reads it again.
        if news.urls is None:
            self._totals.forget_all()
            self._actors.forget()
        elif news.urls:
            self._totals.forget(news.urls)
            self._actors.forget_some(news.actors)
        self._last = news
