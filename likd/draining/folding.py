"""Folding: what was counted under other rules becomes part of the URLs that the current rules count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs
import structlog
import trio

from likd.counting.actors import Actors
from likd.counting.intake import Intake
from likd.draining.names import Names, all_by_rules
from likd.draining.taking_over import TakenOver
from likd.draining.write_rate import WriteTolerance
from likd.errors import Behind, StoreError
from likd.model import Fold
from likd.queries.totals import Totals
from likd.runtime.cooperative import finish_in_turns
from likd.runtime.notice import Notice
from likd.stores.protocol import ActorStore, Folding, MergingStore

PAGE_URLS = 1000
FOLDS_AT_ONCE = 100
"""How much is folded in one transaction: about ten milliseconds' worth, then the drainer has its turn."""
PAGES_NOTED = 20
"""How many pages at most are examined again after a restart."""
SLICE_URLS = 250
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class FoldingStore(MergingStore, ActorStore, Protocol):
    """Knows actors, and is told what is being folded."""


@attrs.frozen
class FolderStatistics:
    """The progress of folding."""

    done: bool
    """Whether there is nothing left to fold."""
    after: str
    """All URLs up to this one are looked through."""
    folded: int
    """How many URLs became part of others since the start."""
    fault: str | None
    """Why the store can't fold now; None if nothing is wrong."""


class Folder:
    """Folds, page by page, what the store has of URLs that count as others under the current rules.

    After a restart it continues where it was: as `folding` says, or the store once it is there. Meanwhile, counting and
    reading go on: a URL's counts grow by what it had under other names as these are reached. The URLs in `taken_over`
    come first: they are folded before anything is applied.
    """

    def __init__(
        self,
        *,
        store: FoldingStore,
        totals: Totals,
        actors: Actors,
        intake: Intake,
        names: Names,
        tolerance: WriteTolerance,
        folding: Folding | None,
        taken_over: TakenOver,
        behind: Notice | None = None,
    ) -> None:
        self._store = store
        self._behind = behind or Notice()
        self._totals = totals
        self._actors = actors
        self._intake = intake
        self._names = names
        self._tolerance = tolerance
        self._rules = names.rules.text
        self._noted = Folding("")
        self.after = ""
        """All URLs up to this one have been examined."""
        self.done = self._begun = self._is_known = False
        self._taken_over = taken_over
        if taken_over.renamed:
            # Acts on these must know about both names.
            actors.begin_folds(taken_over.url_keys)
        self.folded = 0
        self.fault: str | None = None
        actors.folding = True
        if folding is not None:
            self._know(folding)

    def statistics(self) -> FolderStatistics:
        """Its progress."""
        return FolderStatistics(self.done, self.after, self.folded, self.fault)

    async def begin(self) -> None:
        """Record in the store that folding is in progress, or that there is nothing to do. Raises StoreError.

        Does nothing if that was done already.
        """
        if not self._is_known:
            self._know(await self._store.folding())
        if self._begun:
            return
        found = await self._store.page("", 1)
        if self._begun:
            return
        if not found:
            await self._note_done()
        elif self._noted.to != self._rules:
            await self._store.fold([], self._state)
        self._begun = True

    def _know(self, folding: Folding) -> None:
        """How far the store was."""
        if self._is_known:
            return
        self._is_known = True
        self._noted = folding
        self.after = folding.after if folding.to == self._rules else ""
        self.done = self._begun = folding.to is None and folding.rules == self._rules
        self._actors.folding = not self.done

    async def prepare(self) -> None:
        """Begin, and fold what comes first; this must be done before anything is applied. Raises StoreError.

        Does nothing if that was done already. Only one task may do this.
        """
        await self.begin()
        taken_over = self._taken_over
        if taken_over.settled.is_set():
            return
        await taken_over.foresee(self._store)
        while not self.done and (some := taken_over.first(FOLDS_AT_ONCE)):
            await self._fold([self._to(old, self._totals.ledger.settled_name(new)) for old, new in some], [])
            taken_over.folded(some)
        taken_over.settle()
        self._actors.end_folds()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until everything is folded. Retries if the store fails."""
        task_status.started()
        if not self.done:
            log.info("folding URLs by the current rules", rules=self._rules, after=self.after)
        while not self.done:
            try:
                await self._work()
                self.fault = None
            except trio.ClosedResourceError:
                # The daemon is shutting down; the next start continues.
                return
            except StoreError as error:
                self.fault = str(error)
                if isinstance(error, Behind):
                    self._behind.give()
                log.warning("folding waits for the store", fault=self.fault)
                await trio.sleep(RETRY_SECONDS)

    async def _work(self) -> None:
        await self.begin()
        if self.done:
            return
        # The drainer is working on these.
        await self._taken_over.settled.wait()
        pages = 0
        while rows := await self._store.page(self.after, PAGE_URLS):
            folds = await self._folds([url for url, _ in rows])
            for begin in range(0, len(folds), FOLDS_AT_ONCE):
                await self._fold_while_acts_wait(folds[begin : begin + FOLDS_AT_ONCE])
            self.after = rows[-1][0]
            pages += 1
            if pages % PAGES_NOTED == 0:
                await self._store.fold([], self._state)
                log.info("folding URLs", after=self.after, folded=self.folded)
        await self._finish()
        log.info("all URLs are folded", folded=self.folded, rules=self._rules)

    @property
    def _state(self) -> Folding:
        return Folding(self._noted.rules, self._rules, self.after)

    async def _folds(self, urls: list[str]) -> list[Fold]:
        folds: list[Fold] = []
        for begin in range(0, len(urls), SLICE_URLS):
            await trio.lowlevel.checkpoint()
            some = urls[begin : begin + SLICE_URLS]
            for url, by_now in zip(some, all_by_rules(self._names.rules, some), strict=True):
                # A waiting merge folds its URLs itself, in its turn.
                new = self._totals.ledger.settled_name(by_now)
                if new != url:
                    folds.append(self._to(url, new))
        return folds

    def _to(self, old: str, new: str) -> Fold:
        return Fold(old, new, self._names.keys.of_url(old), self._names.keys.of_url(new))

    async def _fold_while_acts_wait(self, folds: list[Fold]) -> None:
        """Fold; meanwhile nobody may decide whether an actor likes one of the new URLs."""
        key_of = self._names.keys.of_url
        self._actors.begin_folds({key for fold in folds for key in (fold.new_key, key_of(self._names(fold.new)))})
        try:
            await self._intake.barrier()
            await self._fold(folds, await finish_in_turns(self._actors.changing()))
        finally:
            self._actors.end_folds()

    async def _fold(self, folds: list[Fold], changing: Sequence[bytes]) -> None:
        await self._tolerance.take(len(folds))
        urls = [url for fold in folds for url in (fold.old, fold.new, self._names(fold.new))]
        try:
            # Everything before them has been examined, and none of the folded URLs exists any more.
            await self._store.fold(folds, self._state, changing)
        finally:
            # The answer that got lost may have been a success.
            self._totals.forget(urls)
            self._actors.forget()
        self.folded += len(folds)

    async def _finish(self) -> None:
        # Acts ask the store about their actors again, now that nothing more comes from old names.
        self._actors.forget()
        await self._intake.barrier()
        await self._note_done()

    async def _note_done(self) -> None:
        await self._store.fold([], Folding(self._rules))
        self.done = True
        self._actors.folding = False
