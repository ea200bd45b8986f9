"""Totals: the store's counts plus every table it does not have yet, exact as of one moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

import trio

from likd.counting.ledger import NO_OLD_NAMES, Ledger, OldNames
from likd.model import Counts, Rows, add
from likd.queries.bases import Bases
from likd.queries.other_marks import OtherMarks
from likd.runtime.cooperative import Steps
from likd.runtime.notice import Notice
from likd.stores.protocol import Applied, AsOf, CountStore, FeedStore, Increments, Marks, in_time

AGAIN_SECONDS = 0.1
"""After that a store is asked again that lacks what other nodes gave it."""


class Totals:
    """Adds up what the store has and what the `ledger` has, in one step: no table is missed or counted twice.

    What was read from the store is kept for `cache_urls_max` URLs, and follows what is applied. A merged URL has the
    total of the one that it counts for. Until the store has carried out the merge, that is the sum of both.
    """

    def __init__(self, store: CountStore, ledger: Ledger, *, cache_urls_max: int, behind: Notice | None = None) -> None:
        self._store = store
        self.ledger = ledger
        self._behind = behind or Notice()
        self._epoch = 0
        self._cache_urls_max = cache_urls_max
        self._bases = Bases(cache_urls_max)
        self.other_marks = OtherMarks()
        ledger.readers.append(self)

    def applied(self, increments: Increments, applied: Applied | None) -> None:
        """The store has `increments`; `applied` is what they became there, None if unknown."""
        self._bases.applied(increments.rows.copy())
        if applied is not None:
            self._bases.add(applied.corrections)
            if applied.corrections:
                self.ledger.forgotten(applied.corrections)
        elif increments.actors:
            self.forget(increments.rows)
        late = self.ledger.late_names(increments.rows)
        if late:
            self.forget({*late, *map(self.ledger.aliases, late)})
        merge = increments.merge
        if merge is not None and merge.host:
            # Its URLs may be very many: to look for those that are known would take long.
            self.forget_all()
        elif merge is not None and merge.erases:
            self.forget([merge.old])
        elif merge is not None:
            self.forget([merge.old, merge.new])

    def settle(self) -> Steps[None]:
        """Do the rest of `applied`'s work, for which nobody waits."""
        return self._bases.settle()

    def store_went_back(self) -> None:
        """The store has less than before: nothing is known about it any more."""
        self._epoch += 1
        self._bases = Bases(self._cache_urls_max)

    @property
    def stored(self) -> tuple[int, int]:
        """The same for what the store has, once that is known."""
        return self.ledger.applied, self._epoch

    def counts_nowait(self, url: str, also: OldNames = NO_OLD_NAMES) -> Counts | None:
        """The total of `url` if that needs no look into the store, else None."""
        names = self.ledger.names(url, also)
        bases: Rows = {}
        for name in names:
            base = self._bases.get(name)
            if base is None:
                return None
            bases[name] = base
        return self._add_up(names, bases)

    async def counts(self, urls: Sequence[str], also: OldNames = NO_OLD_NAMES, *, keep: bool = True) -> Rows:
        """The totals of `urls`, all as of one moment. Raises StoreError.

        They include what the store still has under the old names in `also`. What is read is cached for the next caller,
        unless `keep` says that one is unlikely.
        """
        bases: Rows | None = None
        with in_time():
            moved = False
            while bases is None:
                asked = [self.ledger.names(url, also) for url in urls]
                bases = await self._look(asked, use_cache=not moved, keep=keep)
                moved = True
        return {url: self._add_up(names, bases) for url, names in zip(urls, asked, strict=True)}

    def increments(self, url: str) -> Counts:
        """What the store does not have yet of `url`."""
        return self._add_up(self.ledger.names(url), {})

    def forget(self, urls: Collection[str]) -> None:
        """Others than the drainer changed the store's counts of `urls`."""
        self._epoch += 1
        self._bases.forget(urls)
        self.ledger.forgotten(urls)

    def forget_all(self) -> None:
        """Others may have changed the store's counts of any URL."""
        self.store_went_back()
        self.ledger.any_forgotten()

    def merged_elsewhere(self, aliases: Iterable[tuple[str, str]]) -> None:
        """The store has these merges, which may be other nodes'."""
        moved = self.ledger.merged_elsewhere(aliases)
        if moved:
            self.forget(moved)

    def parted_elsewhere(self, olds: Iterable[str]) -> None:
        """The store does not have these merges any more: others removed the aliases."""
        moved = self.ledger.parted_elsewhere(olds)
        if moved:
            self.forget(moved)

    async def _read(self, urls: Sequence[str]) -> tuple[AsOf, Rows] | None:
        """What the store has of `urls`; None if it has to be asked again."""
        if "feed" not in self._store.parts:
            return await self._store.read(urls)
        read = await cast(FeedStore, self._store).read_shared(urls)
        if not self.take_marks(read.marks):
            await trio.sleep(AGAIN_SECONDS)
            return None
        if all(self.ledger.aliases(old) == new for old, new in read.merged.items()):
            return read.as_of, read.rows
        self.merged_elsewhere(read.merged.items())
        return None

    def take_marks(self, marks: Mapping[int, int]) -> bool:
        """Whether what the store has as of these marks of other nodes is to be taken: it may lack what they gave it."""
        given_up = self.other_marks.given_up
        taken = self.other_marks.take(marks)
        if self.other_marks.given_up != given_up:
            self.forget_all()
        return taken

    async def _look(self, asked: Sequence[Sequence[str]], *, use_cache: bool, keep: bool) -> Rows | None:
        """The store's counts under all the `asked` names, as of `applied`, in the step in which this returns.

        None if tables or URLs moved meanwhile, so that they have to be read again. It does not matter if the cache
        forgets something meanwhile: an answer goes to its caller, whatever happens to the cache.
        """
        kept = self._bases
        bases: Rows = {}
        unknown: set[str] = set()
        for names in asked:
            # All names of a URL are read together, because counts may just be moving from one to another.
            if use_cache and all(map(kept.__contains__, names)):
                bases |= {name: base for name in names if (base := kept.get(name)) is not None}
            else:
                unknown.update(names)
        if unknown:
            epoch, before = self._epoch, self.ledger.applied
            read = await self._read(sorted(unknown))
            if read is None:
                return None
            as_of, rows = read
            applied = as_of.lowest if isinstance(as_of, Marks) else as_of
            if epoch == self._epoch and applied < before:
                # It had more when it was asked before. The part that writes to it finds out and continues from there.
                self._behind.give()
                await self.ledger.wait_moved()
            if epoch != self._epoch or applied < self.ledger.applied:
                return None
            if before != self.ledger.applied and any(kept.get(url) is not base for url, base in bases.items()):
                return None
            found = {url: rows.get(url) or {} for url in unknown}
            if applied != self.ledger.applied or isinstance(as_of, Marks):
                if not self._take_off(found, as_of):
                    self.ledger.store_ahead.set()
                    await self.ledger.wait_moved()
                    return None
                # What others brought since is in this answer, and would not be in the next.
                kept.forget(found)
            elif keep:
                kept.keep(found)
            bases |= found
        return bases

    def _take_off(self, bases: Rows, as_of: AsOf) -> bool:
        """Turn bases as of later tables into those as of `self.ledger.applied`.

        The store is ahead if its answer was lost, and parts of it are while others are still being written. A reader
        need not wait for either. Returns False if it is unknown what the store did with actors and merges.
        """
        marks = as_of if isinstance(as_of, Marks) else Marks(as_of)
        newest = max([marks.lowest, *marks.ahead.values()])
        ahead = [item.increments for item in self.ledger.waiting if item.increments.last <= newest]
        told = isinstance(as_of, Marks) and len(ahead) == 1
        if any((it.actors and not told) or it.merge is not None or self.ledger.late_names(it.rows) for it in ahead):
            return False
        for increments in ahead:
            for url in bases.keys() & increments.rows.keys():
                if increments.last <= marks.of(url):
                    add(bases[url], {name: -n for name, n in increments.rows[url].items()})
                    if increments.actors:
                        add(bases[url], {name: -n for name, n in marks.corrections.get(url, {}).items()})
        return True

    def _add_up(self, names: Sequence[str], bases: Mapping[str, Counts]) -> Counts:
        counts: Counts = {}
        for name in names:
            erased_with = self.ledger.erased_with(name) if self.ledger.merging else None
            if erased_with is not None:
                self.ledger.add_later(name, erased_with, counts)
                continue
            base = bases.get(name)
            if base:
                add(counts, base)
            self.ledger.add_to(name, counts)
        return counts
