"""Summing up: what earlier versions counted becomes part of the sums by site, a little at a time."""

from __future__ import annotations

import structlog
import trio

from likd.errors import StoreError
from likd.stores.sites import SiteStore

PAUSE_SECONDS = 0.05
"""The pause between two steps, for the drainer to have its turn."""
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Summer:
    """Lets `store` sum up what it has, step by step. After a restart it continues where it was."""

    def __init__(self, store: SiteStore) -> None:
        self._store = store
        self.done = False
        self.fault: str | None = None

    async def begin(self) -> None:
        """Do one step, which shows whether there is anything to sum up. Raises StoreError."""
        self.done = await self._store.sum_up()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until everything is summed up. Retries if the store fails."""
        task_status.started()
        while not self.done:
            try:
                await self.begin()
                self.fault = None
                await trio.sleep(PAUSE_SECONDS)
            except StoreError as error:
                self.fault = str(error)
                log.warning("sums by site are waiting for the store", fault=self.fault)
                await trio.sleep(RETRY_SECONDS)
        log.info("sums by site are complete")
