"""Other nodes on the same store: what they wrote there is part of the totals that are read here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import structlog
import trio

from likd.counting.actors import Actors
from likd.errors import Behind, Fenced, StoreError
from likd.queries.totals import Totals
from likd.runtime.notice import Notice
from likd.stores.nodes import Node, NodeStore
from likd.stores.protocol import FeedStore, News

POLL_SECONDS = 0.25
BEAT_SECONDS = 5.0
"""So often each node says that it is alive, and asks who else is."""

log = structlog.get_logger(__name__)


class OtherNodes:
    """Polls the store for what other nodes wrote to it, and forgets what is cached of it here.

    So their likes show within a second of being drained. `learn` is called when URLs were merged elsewhere. It also
    reports to the store that this node, `name`, is alive, and how old the oldest waiting table is (`lag_seconds`). A
    fenced daemon finds out in this way even if it has nothing to write; `behind` is given when the store went back in
    time.
    """

    def __init__(
        self,
        *,
        store: FeedStore,
        totals: Totals,
        actors: Actors,
        learn: Callable[[], Awaitable[None]],
        name: str = "",
        lag_seconds: Callable[[], float] = float,
        behind: Notice | None = None,
    ) -> None:
        self._store = store
        self._totals = totals
        self._actors = actors
        self._learn = learn
        self._name = name
        self._lag_seconds = lag_seconds
        self._behind = behind or Notice()
        self._last: News | None = None
        self._nodes: Sequence[Node] = ()
        self._asked_at = 0.0
        self.fault: str | None = None

    def statistics(self) -> tuple[Node, ...]:
        """The nodes of the store, this one among them, as far as is known."""
        ago = trio.current_time() - self._asked_at
        return tuple(attrs.evolve(node, seen_seconds=node.seen_seconds + ago) for node in self._nodes)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look, until cancelled. A store that fails is asked again. Raises Fenced."""
        async with trio.open_nursery() as nursery:
            if isinstance(self._store, NodeStore) and "nodes" in self._store.parts:
                nursery.start_soon(self._beat, self._store)
            nursery.start_soon(self._follow)
            task_status.started()

    async def _beat(self, store: NodeStore) -> None:
        while True:
            try:
                self._nodes = await store.beat(self._name, self._lag_seconds())
                self._asked_at = trio.current_time()
            except Fenced:
                raise
            except Behind:
                self._behind.give()
            except StoreError as error:
                self.fault = str(error)
            await trio.sleep(BEAT_SECONDS)

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
                self.fault = None
            except StoreError as error:
                self.fault = str(error)
            await trio.sleep(POLL_SECONDS)

    @property
    def _merging(self) -> set[str]:
        return {merge.old for merge in self._totals.ledger.merging.values()}

    async def _look(self) -> None:
        own = self._merging
        news = await self._store.news(self._last)
        if not self._totals.take_marks(news.marks):
            # The store lacks what was seen of them: it is looked at again when they gave it again.
            return
        # What this node merges itself is not parted by what was there before.
        self._totals.parted_elsewhere(news.parted - own - self._merging)
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
