"""A simulated store: it goes away and comes back, and sometimes commits without saying so."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import trio

from likd.model import LIKES, UNLIKES, Counts, Fold, Rows, add
from likd.stores.protocol import Applied, Folding, Increments, StoreError
from tests.rows import add_rows


class SimStore:
    """Implements likd.stores.protocol.Store, but for the mapping of what is late. Commits are atomic and durable.

    `url_key` tells how the keys of a URL's actors begin.
    """

    kind = "simulated"

    def __init__(self, rng: random.Random, url_key: Callable[[str], bytes] = str.encode) -> None:
        self._rng = rng
        self._url_key = url_key
        self.faults = 0.0
        self.off = False
        self.applied = 0
        self.rows: Rows = {}
        self.liking: set[bytes] = set()
        self.unliked: set[bytes] = set()
        self.merged: dict[str, str] = {}
        self.made_by = Folding("")
        self.transactions: list[tuple[int, int]] = []
        self.corrections = 0

    async def open(self, names: Sequence[str]) -> int:
        await trio.sleep(self._rng.random() * 0.01)
        return self.applied

    async def apply(self, increments: Increments) -> Applied | None:
        await trio.lowlevel.checkpoint()
        await self._talk()
        applied = None
        if increments.last > self.applied:
            assert increments.first > self.applied, f"{increments} is applied in part"
            self.applied = increments.last
            self.transactions.append((increments.first, increments.last))
            add_rows(self.rows, increments.rows)
            corrections = self._note_actors(increments)
            add_rows(self.rows, corrections)
            both = 0
            if increments.merge is not None:
                both = self._fold(increments.merge, heed_unliked=False)
                for old, new in self.merged.items():
                    if new == increments.merge.old:
                        self.merged[old] = increments.merge.new
                self.merged[increments.merge.old] = increments.merge.new
            applied = Applied(corrections, both)
        await self._talk()
        return applied

    def _note_actors(self, increments: Increments) -> Rows:
        corrections: Rows = {}
        urls = {self._url_key(url): url for url in increments.rows}
        for key, (likes, net) in increments.actors.items():
            off = 0 if net is None else likes - (key in self.liking) - net
            if off:
                self.corrections += 1
                add(corrections.setdefault(urls[key[:8]], {}), {LIKES: off} if off > 0 else {UNLIKES: -off})
            (self.liking.add if likes else self.liking.discard)(key)
            if self.made_by.to is not None:
                (self.unliked.discard if likes else self.unliked.add)(key)
        return corrections

    def _fold(self, fold: Fold, *, heed_unliked: bool) -> int:
        both = 0
        for key in [key for key in self.unliked if key.startswith(fold.old_key)]:
            self.unliked.remove(key)
            self.unliked.add(fold.new_key + key[8:])
        for key in [key for key in self.liking if key.startswith(fold.old_key)]:
            self.liking.remove(key)
            new = fold.new_key + key[8:]
            if new in self.liking or (heed_unliked and new in self.unliked):
                both += 1
            else:
                self.liking.add(new)
        add_rows(self.rows, {fold.new: self.rows.pop(fold.old, {})})
        if both:
            add_rows(self.rows, {fold.new: {UNLIKES: both}})
        return both

    async def fold(self, folds: Sequence[Fold], folding: Folding) -> None:
        await trio.lowlevel.checkpoint()
        await self._talk()
        for fold in folds:
            new = self.merged.get(fold.new, fold.new)
            if new != fold.old:
                self._fold(fold._replace(new=new, new_key=self._url_key(new)), heed_unliked=True)
        self.made_by = folding
        if folding.to is None:
            self.unliked.clear()
        await self._talk()

    async def folding(self) -> Folding:
        return self.made_by

    async def aliases(self) -> dict[str, str]:
        return self.merged.copy()

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        await trio.lowlevel.checkpoint()
        await self._talk()
        return [(url, self.rows[url].copy()) for url in sorted(self.rows) if url > after][:limit]

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        await trio.lowlevel.checkpoint()
        await self._talk()
        found = self.applied, {url: self.rows[url].copy() for url in urls if url in self.rows}
        await self._talk()
        return found

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        await trio.lowlevel.checkpoint()
        await self._talk()
        found = self.applied, self.liking.intersection(keys)
        await self._talk()
        return found

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        await trio.lowlevel.checkpoint()
        await self._talk()
        ranked = sorted(self.rows.items(), key=lambda item: (-item[1].get(by, 0), item[0]))
        return self.applied, ranked[:limit]

    async def aclose(self) -> None:
        pass

    async def _talk(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self._rng.random() * 0.01)
        if self.off:
            await trio.sleep_forever()
        if self._rng.random() < self.faults:
            raise StoreError("the store is away")
