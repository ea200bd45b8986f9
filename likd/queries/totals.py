"""Totals: the store's counts plus every table it does not have yet, exact, of one moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

from likd.counting.ledger import NO_OLD_NAMES, Ledger, OldNames
from likd.model import Counts, Rows, add
from likd.queries.bases import Bases
from likd.runtime.cooperative import Steps
from likd.runtime.notice import Notice
from likd.stores.protocol import Applied, CountStore, FeedStore, Increments, in_time


class Totals:
    """Adds up what the store has and what the `ledger` has, in one step: no table is missed, and none counted twice.

    What was read from the store is kept for `cache_urls_max` URLs, and follows what is applied. A URL that was merged
    has the total of the one it counts for. Until the store has done it, that is the sum of both.
    """

    def __init__(self, store: CountStore, ledger: Ledger, *, cache_urls_max: int, behind: Notice | None = None) -> None:
        self._store = store
        self.ledger = ledger
        self._behind = behind or Notice()
        self._epoch = 0
        self._cache_urls_max = cache_urls_max
        self._bases = Bases(cache_urls_max)
        ledger.reader = self

    def applied(self, increments: Increments, applied: Applied | None) -> None:
        """The store has `increments`, and made `applied` of them, None if that is not known."""
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
        if merge is not None and merge.erases:
            self.forget({merge.old, *self._bases.of_host(merge.host), *(applied.erased if applied else ())})
        elif merge is not None:
            self.forget([merge.old, merge.new])

    def settle(self) -> Steps[None]:
        """Do what `applied` left to be done, which nobody waits for."""
        return self._bases.settle()

    def store_went_back(self) -> None:
        """The store has less than it had: nothing is known of it any more."""
        self._epoch += 1
        self._bases = Bases(self._cache_urls_max)

    @property
    def stored(self) -> tuple[int, int]:
        """The same of what the store has, once that is known."""
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
        """The totals of `urls`, all of one moment. Raises StoreError.

        What the store still has under the old names in `also` is a part of them. What is read is kept for the next
        who asks, unless `keep` says that this is not likely.
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
        """The store's counts of `urls` were changed by others than the drainer."""
        self._epoch += 1
        self._bases.forget(urls)
        self.ledger.forgotten(urls)

    def forget_all(self) -> None:
        """The store's counts of any URL may have been changed by others."""
        self.store_went_back()
        self.ledger.any_forgotten()

    def merged_elsewhere(self, aliases: Iterable[tuple[str, str]]) -> None:
        """The store has these merges, which others may have done."""
        moved = self.ledger.merged_elsewhere(aliases)
        if moved:
            self.forget(moved)

    async def _read(self, urls: Sequence[str]) -> tuple[int, Rows] | None:
        """What the store has of `urls`, None if some of them turn out to be merged into others."""
        if "feed" not in self._store.parts:
            return await self._store.read(urls)
        applied, rows, merged = await cast(FeedStore, self._store).read_shared(urls)
        if all(self.ledger.aliases(old) == new for old, new in merged.items()):
            return applied, rows
        self.merged_elsewhere(merged.items())
        return None

    async def _look(self, asked: Sequence[Sequence[str]], *, use_cache: bool, keep: bool) -> Rows | None:
        """The store's counts under all the names that are `asked`, as of `applied`, in the step in which this returns.

        None if tables or URLs moved meanwhile, so that they have to be asked for again. What others let the
        cache forget meanwhile does no harm: an answer goes to who asked for it, whatever becomes of the cache.
        """
        kept = self._bases
        bases: Rows = {}
        unknown: set[str] = set()
        for names in asked:
            # All names of a URL are read together: what one of them has may just be moving to another.
            if use_cache and all(map(kept.__contains__, names)):
                bases |= {name: base for name in names if (base := kept.get(name)) is not None}
            else:
                unknown.update(names)
        if unknown:
            epoch, before = self._epoch, self.ledger.applied
            read = await self._read(sorted(unknown))
            if read is None:
                return None
            applied, rows = read
            if epoch == self._epoch and applied < before:
                # It had more when it was asked. Who writes to it finds out, and goes on from there.
                self._behind.give()
                await self.ledger.wait_moved()
            if epoch != self._epoch or applied < self.ledger.applied:
                return None
            if before != self.ledger.applied and any(kept.get(url) is not base for url, base in bases.items()):
                return None
            found = {url: rows.get(url) or {} for url in unknown}
            if applied != self.ledger.applied:
                if not self._take_off(found, applied):
                    self.ledger.store_ahead.set()
                    await self.ledger.wait_moved()
                    return None
                # What others brought since is in this answer, and would not be in the next.
                kept.forget(found)
            elif keep:
                kept.keep(found)
            bases |= found
        return bases

    def _take_off(self, bases: Rows, applied: int) -> bool:
        """Make bases as of table `applied` such as of `self.ledger.applied`: the store is ahead if its word was lost.

        How long the drainer takes to ask it again is nothing that a reader has to wait for. False where it can't be
        told what the store made of actors and merges.
        """
        ahead = [item.increments for item in self.ledger.waiting if item.increments.last <= applied]
        if any(it.actors or it.merge is not None or self.ledger.late_names(it.rows) for it in ahead):
            return False
        for increments in ahead:
            for url in bases.keys() & increments.rows.keys():
                add(bases[url], {name: -n for name, n in increments.rows[url].items()})
        return True

    def _add_up(self, names: Sequence[str], bases: Mapping[str, Counts]) -> Counts:
        counts: Counts = {}
        for name in names:
            base = bases.get(name)
            if base:
                add(counts, base)
            self.ledger.add_to(name, counts)
        return counts
