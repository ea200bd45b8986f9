"""Pending: what is committed and the store does not have yet, as one sum a URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from likd.model import Counts, Rows, add
from likd.runtime.cooperative import Steps

SHARDS = 256
"""So many dicts have the sums: each can be looked through in one step, and none takes long to grow."""
LEAVING_AT_ONCE = 1000
"""Rows that a step hands over to the store: well under a millisecond."""
SHARED_MAX = 1000
"""Counts that all rows share which have the same: most rows that wait have one like, and a dict takes 200 bytes."""


class Pending:
    """Sums by URL of all rows that were added. They may be a row's own counts, which nobody changes in place.

    Rows that the store is being given leave in steps, and are part of the sums until they are `gone`.
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
        """Add `rows`. Their counts must not be changed from now on, and may be replaced by others that are equal."""
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
        """Take `rows`, which were added, out again."""
        for url, counts in rows.items():
            shard = self._shards[hash(url) % SHARDS]
            # Of a row that is all zeros there may be nothing left.
            mine = shard.pop(url, None)
            if mine is not None and mine is not counts:
                left = {name: rest for name, n in mine.items() if (rest := n - counts.get(name, 0))}
                if left:
                    shard[url] = left

    def leave(self, rows: Rows) -> Steps[None]:
        """Take `rows`, which were added, aside; those that were before stay there."""
        urls = iter([url for url in rows if url not in self._leaving])
        while some := {url: rows[url] for url in islice(urls, LEAVING_AT_ONCE)}:
            self.subtract(some)
            self._leaving |= some
            yield

    def stay(self) -> None:
        """What left is not given to the store yet."""
        rows, self._leaving = self._leaving, {}
        self.add(rows)

    def gone(self) -> None:
        """What left is no part of the sums any more."""
        self._leaving = {}

    def parts(self) -> Iterator[Mapping[str, Counts]]:
        """All sums, some thousand at once; a URL may come twice, once of them with all that it has."""
        leaving = iter(list(self._leaving))
        while urls := list(islice(leaving, LEAVING_AT_ONCE)):
            part: Rows = {url: {} for url in urls}
            for url, counts in part.items():
                self.add_to(url, counts)
            yield part
        yield from self._shards
