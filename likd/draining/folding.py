"""Folding: what was counted by other rules becomes part of the URLs that count now."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import attrs
import structlog
import trio

from likd.counting.actors import ActorKeys, Actors
from likd.counting.aliases import Aliases
from likd.counting.intake import Intake
from likd.draining.write_rate import WriteTolerance
from likd.durability.batch_file import Batch
from likd.errors import Behind, StoreError
from likd.ingest.urls import UrlRules
from likd.model import Fold, Rows, add, rename_likings
from likd.queries.totals import Totals
from likd.runtime.cooperative import Steps, finish_in_turns
from likd.runtime.notice import Notice
from likd.stores.protocol import Folding, MergingStore

PAGE_URLS = 1000
FOLDS_AT_ONCE = 100
"""In one transaction: some ten milliseconds, then the drainer has its turn."""
PAGES_NOTED = 20
"""So many pages at most are looked through again after a restart."""
SLICE_URLS = 250
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


@attrs.frozen
class Names:
    """What any URL counts as that was counted by whichever rules, before merges or after."""

    rules: UrlRules
    aliases: Aliases
    keys: ActorKeys

    def __call__(self, url: str) -> str:
        """What `url` counts as."""
        return self.aliases(by_rules(self.rules, url))

    def by_rules(self, batch: Batch) -> dict[str, str]:
        """The URLs of `batch` and its merge that are others by the rules that hold now, and what they are."""
        urls = [*batch.rows, *([batch.merge.old, batch.merge.new] if batch.merge is not None else [])]
        return {url: new for url, new in zip(urls, all_by_rules(self.rules, urls), strict=True) if new != url}

    def by_now(self, batch: Batch) -> Batch:
        """`batch` by the URLs that count now."""
        return self.batch(batch, self.by_rules(batch))

    def batch(self, batch: Batch, by_rules: Mapping[str, str]) -> Batch:
        """`batch` by the URLs that count now. What two of them had becomes the sum, and an actor's two likings one."""
        new_urls = ((url, self.aliases(by_rules.get(url, url))) for url in batch.rows)
        renamed = {url: new for url, new in new_urls if new != url}
        merge = self._merge(batch.merge)
        if not renamed:
            return attrs.evolve(batch, merge=merge)
        rows: Rows = {}
        for url, counts in batch.rows.items():
            add(rows.setdefault(renamed.get(url, url), {}), counts)
        prefixes = (
            {self.keys.of_url(url): self.keys.of_url(new) for url, new in renamed.items()} if batch.actors else {}
        )
        return attrs.evolve(batch, rows=rows, actors=rename_likings(batch.actors, prefixes), merge=merge)

    def _merge(self, merge: Fold | None) -> Fold | None:
        if merge is None:
            return None
        if merge.erases:
            old = merge.old if merge.host else self(merge.old)
            return Fold(old, old if merge.new else "", self.keys.of_url(old), b"")
        old, new = by_rules(self.rules, merge.old), self(merge.new)
        if old == new or old in self.aliases:
            return None
        return Fold(old, new, self.keys.of_url(old), self.keys.of_url(new))


def take_over(batches: Iterable[Batch], names: Names, totals: Totals, actors: Actors) -> Steps[list[tuple[str, str]]]:
    """Let the `batches` that a start found wait for the store, by the URLs that count now.

    Returns those of their URLs that are others by now, and what they are. The store may have counts and actors of
    these by their old names, and what waits may stand on that.
    """
    renamed: dict[str, str] = {}
    for batch in batches:
        by_rules = names.by_rules(batch)
        for old, new in by_rules.items():
            totals.is_stored_as(new, old)
        renamed |= by_rules
        batch = names.batch(batch, by_rules)
        if batch.merge is not None:
            actors.begin_merge(batch.merge)
            totals.placed(batch.table, batch.merge)
        totals.batched(batch)
        yield
    return list(renamed.items())


def by_rules(rules: UrlRules, url: str) -> str:
    """What `url` is by `rules`. One that is none by these stays what it is."""
    try:
        return rules(url)
    except ValueError:
        return url


def all_by_rules(rules: UrlRules, urls: list[str]) -> list[str]:
    """The same for many URLs, faster."""
    try:
        return rules.all(urls)
    except ValueError:
        return [by_rules(rules, url) for url in urls]


def known_aliases(rules: UrlRules, keys: ActorKeys, noted: Iterable[tuple[str, str]]) -> Aliases:
    """The aliases that a store noted, by the rules that hold now.

    Of two that say different things of one URL now, the one that is about this URL as it is counts.
    """
    aliases = Aliases(keys.of_url)
    by_now = [(by_rules(rules, old), old, by_rules(rules, new)) for old, new in noted]
    for new_old, _, new in sorted(by_now, key=lambda alias: (alias[0] != alias[1], alias)):
        if new_old not in aliases:
            aliases.add(new_old, new)
    return aliases


class Folder:
    """Folds what the store has of URLs that count as others by the rules that hold now, page by page.

    It goes on after a restart where it was: as `folding` says, or the store when it is there. While it is at it,
    counting and reading go on: the counts of a URL grow by what it had under other names as these come by. `first`
    come those (old, new) of which something waits for the store that was decided by what it has: they are folded before
    anything is applied.
    """

    def __init__(
        self,
        *,
        store: MergingStore,
        totals: Totals,
        actors: Actors,
        intake: Intake,
        names: Names,
        tolerance: WriteTolerance,
        folding: Folding | None,
        first: Sequence[tuple[str, str]] = (),
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
        """All URLs up to this one are looked through."""
        self.done = self._begun = self._is_known = False
        self._first = deque(first)
        if self._first:
            # What waits for the store stands on what they are folded for, and who acts on them must know of both.
            actors.begin_folds({names.keys.of_url(url) for _, new in first for url in (new, names.aliases(new))})
        self._prepared = trio.Event()
        self.folded = 0
        self.fault: str | None = None
        actors.folding = True
        if folding is not None:
            self._know(folding)

    async def begin(self) -> None:
        """Note in the store that it is under way, or that there is nothing to do. Raises StoreError.

        Does nothing if it was done.
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
            self._first_done()
        elif self._noted.to != self._rules:
            await self._store.fold([], self._state)
        self._begun = True

    def _know(self, folding: Folding) -> None:
        """So far the store was."""
        if self._is_known:
            return
        self._is_known = True
        self._noted = folding
        self.after = folding.after if folding.to == self._rules else ""
        self.done = self._begun = folding.to is None and folding.rules == self._rules
        self._actors.folding = not self.done
        if self.done and self._first:
            self._first_done()

    async def prepare(self) -> None:
        """Begin, and fold what comes first; must be done before anything is applied. Raises StoreError.

        Does nothing if it was done. Only one task may be at it.
        """
        await self.begin()
        while self._first:
            folds = [self._to(old, self._totals.settled_name(new)) for old, new in islice(self._first, FOLDS_AT_ONCE)]
            await self._fold(folds, [])
            for _ in folds:
                self._first.popleft()
            if not self._first:
                self._first_done()

    def _first_done(self) -> None:
        self._first.clear()
        self._totals.nothing_is_stored_otherwise()
        self._actors.end_folds()
        self._prepared.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until all is folded. A store that fails is tried again."""
        task_status.started()
        if not self.done:
            log.info("URLs are folded by the rules that hold now", rules=self._rules, after=self.after)
        while not self.done:
            try:
                await self._work()
                self.fault = None
            except trio.ClosedResourceError:
                # The daemon is shutting down; the next start goes on.
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
        if self._first:
            # The drainer is at these.
            await self._prepared.wait()
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
                # A merge that waits folds its URLs itself, in its turn.
                new = self._totals.settled_name(by_now)
                if new != url:
                    folds.append(self._to(url, new))
        return folds

    def _to(self, old: str, new: str) -> Fold:
        return Fold(old, new, self._names.keys.of_url(old), self._names.keys.of_url(new))

    async def _fold_while_acts_wait(self, folds: list[Fold]) -> None:
        """Fold, and let nobody decide meanwhile whether somebody likes one of the new URLs."""
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
            # All that comes before them is looked through, and none of the folded is there any more.
            await self._store.fold(folds, self._state, changing)
        finally:
            # An answer that got lost may have been a yes.
            self._totals.forget(urls)
            self._actors.forget()
        self.folded += len(folds)

    async def _finish(self) -> None:
        # What an act knows of its actor is asked of the store anew, once nothing comes from under old names any more.
        self._actors.forget()
        await self._intake.barrier()
        await self._note_done()

    async def _note_done(self) -> None:
        await self._store.fold([], Folding(self._rules))
        self.done = True
        self._actors.folding = False
