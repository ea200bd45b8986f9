"""Clients of a cluster: each is for one who asks at a time, and who asks next gets one that is free."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from likd.stores.redis.cluster import Cluster


class Clients:
    """A `number` of them, as they are made."""

    def __init__(self, number: int, make: Callable[[], Cluster]) -> None:
        self._free = [make() for _ in range(number)]
        self._all = tuple(self._free)
        self._semaphore = trio.Semaphore(number)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Cluster]:
        """One of them, once it is free: the one that was used last."""
        async with self._semaphore:
            cluster = self._free.pop()
            try:
                yield cluster
            finally:
                self._free.append(cluster)

    async def close(self) -> None:
        """Let go of all connections, once nobody asks any more."""
        async with AsyncExitStack() as stack:
            for _ in self._all:
                (await stack.enter_async_context(self.one())).close()
