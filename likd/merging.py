"""Merging: one URL's counts, history and actors become part of another's, and its name an alias."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import structlog
import trio

from likd.actors import ActorKeys, Actors
from likd.intake import Intake
from likd.store import Fold, Merged, Store
from likd.totals import Totals
from likd.urls import UrlRules

DRAIN_SECONDS_MAX = 60.0
FOLD_AT_ONCE = 1000

log = structlog.get_logger(__name__)


class MergeError(Exception):
    """The URLs were not merged; the message says why."""


async def follow_rules(store: Store, rules: UrlRules, actor_keys: ActorKeys) -> int:
    """Fold what the store has of URLs that count as others by `rules`, if other rules held before; how many.

    Raises StoreError; it goes on when it is called again.
    """
    if await store.rules() == rules.text:
        return 0
    folded = 0
    after = ""
    while rows := await store.page(after, FOLD_AT_ONCE):
        moved = [(url, new) for url, _ in rows if (new := rules(url)) != url]
        await store.fold([Fold(old, new, actor_keys.of_url(old), actor_keys.of_url(new)) for old, new in moved])
        folded += len(moved)
        after = rows[-1][0]
    await store.fold([], rules.text)
    if folded:
        log.info("URLs count as others by the rules that hold now", urls=folded, rules=rules.text)
    return folded


@attrs.define(eq=False)
class Merger:
    """Merges URLs while events for both come in, so that none is lost and none is counted twice.

    New events of the old URL are counted for the new one from the first moment. What came before is waited
    for until the store has it, and is then folded in one transaction. A merge that was cut off can be asked
    for again.
    """

    intake: Intake
    totals: Totals
    actors: Actors
    store: Store
    actor_keys: ActorKeys
    writing: UrlRules
    """By these rules events are read."""
    forget: Callable[[], None]
    """Makes ingest forget which URLs it saw."""
    _busy: bool = False

    def know(self, aliases: Mapping[str, str]) -> None:
        """These were merged before."""
        self.writing.aliases.update(aliases)
        self.totals.aliases.update(aliases)

    async def merge(self, old: str, new: str) -> Merged:
        """Merge canonical `old` into canonical `new`. Raises MergeError, StoreError."""
        new = self.writing.aliases.get(new, new)
        if old == new:
            raise MergeError("a URL can't be merged into itself")
        if self.writing.aliases.get(old, new) != new:
            raise MergeError(f"it is merged into {self.writing.aliases[old]} already")
        if self._busy:
            raise MergeError("another merge is under way")
        self._busy = True
        try:
            self.writing.add_alias(old, new)
            self.forget()
            await self._wait_drained(old)
            merged = await self.store.merge(old, new, self.actor_keys.of_url(old), self.actor_keys.of_url(new))
            self.totals.merged(old, new)
            self.actors.forget()
        finally:
            self._busy = False
        log.info("merged", old=old, new=new, liked_both=merged.liked_both)
        return merged

    async def _wait_drained(self, old: str) -> None:
        with trio.move_on_after(DRAIN_SECONDS_MAX) as waiting:
            await self.intake.barrier()
            while self.totals.unapplied(old):
                await self.totals.wait_moved()
        if waiting.cancelled_caught:
            # What is still on its way is counted for the new URL when the store gets it.
            log.warning("merging before the store has all", url=old)
