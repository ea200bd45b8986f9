"""Pending: what is committed but not in the store yet, as one sum per URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from likd.model import Counts, Rows, add
from likd.runtime.cooperative import Steps

SHARDS = 256
"""How many dicts hold the sums: each can be scanned in one step, and none takes long to grow."""
LEAVING_AT_ONCE = 1000
"""How many rows a step hands over to the store: well under a millisecond."""
SHARED_MAX = 1000
"""Counts that equal rows share: most waiting rows have one like, and a dict takes 200 bytes."""


class Pending:
    """Sums by URL of all added rows. They may be a row's own counts, which nobody changes in place.

    Rows that are being given to the store leave in steps, and are part of the sums until they are `gone`.
    """

    def __init__(self) -> None:
        self._shards: list[Rows] = [{} for _ in range(SHARDS)]
        self._leaving: Rows = {}
        self._shared: dict[tuple[tuple[str, int], ...], Counts] = {}

    def add_to(self, url: str, counts: Counts) -> None:
        """Add the sum of `url` to `counts`."""
        pending, leaving = self._shards[hash(url) % SHARDS].get(url), self._leaving.get(url)
        if pending:
            add(counts, pending)
        if leaving:
            add(counts, leaving)

    def add(self, rows: Rows) -> None:
        """Add `rows`. Their counts must not be changed from now on, and may be replaced by equal ones."""
        shards = self._shards
        share = self._shared.setdefault if len(self._shared) < SHARED_MAX else self._shared.get
        for url, counts in rows.items():
            counts = rows[url] = share(tuple(counts.items()), counts)
            shard = shards[hash(url) % SHARDS]
            mine = shard.get(url)
            if mine is None:
                shard[url] = counts
            else:
                shard[url] = total = mine.copy()
                add(total, counts)

    def subtract(self, rows: Mapping[str, Counts]) -> None:
        """Remove `rows`, which were added before."""
        for url, counts in rows.items():
            shard = self._shards[hash(url) % SHARDS]
            # Nothing may be left of a row of zeros.
            mine = shard.pop(url, None)
            if mine is not None and mine is not counts:
                left = {name: rest for name, n in mine.items() if (rest := n - counts.get(name, 0))}
                if left:
                    shard[url] = left

    def leave(self, rows: Rows) -> Steps[None]:
        """Move `rows`, which were added before, aside; those already aside stay there."""
        urls = iter([url for url in rows if url not in self._leaving])
        while some := {url: rows[url] for url in islice(urls, LEAVING_AT_ONCE)}:
            self.subtract(some)
            self._leaving |= some
            yield

    def stay(self) -> None:
        """What was moved aside is not given to the store after all."""
        rows, self._leaving = self._leaving, {}
        self.add(rows)

    def gone(self) -> None:
        """What was moved aside is no longer part of the sums."""
        self._leaving = {}

    def parts(self) -> Iterator[Mapping[str, Counts]]:
        """All sums, some thousand at once; a URL may come twice, one of them complete."""
        leaving = iter(list(self._leaving))
        while urls := list(islice(leaving, LEAVING_AT_ONCE)):
            part: Rows = {url: {} for url in urls}
            for url, counts in part.items():
                self.add_to(url, counts)
            yield part
        yield from self._shards
