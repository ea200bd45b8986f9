"""The table: the unique URLs counted since the last swap, each with its counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import attrs

from likd.counting.counter import UrlCounter
from likd.durability.dead_letters import DeadLetters
from likd.model import Counts, Fold, IdempotencyKey, Likings, Rows, add, total
from likd.runtime.cooperative import Steps

SLICE_COUNTERS = 500
"""How many counters are committed in one step."""


@attrs.define(eq=False)
class Table:
    """One table's path: open (URLs are allotted to it), swapped, committed (`rows`), written as a batch file.

    `closed_at` is when it took its newest events; all of them came in one minute. `journaled` is the sum of what was
    journaled for it, kept apart from the counters for double entry.
    """

    id: int
    opened_at: float
    closed_at: float = 0.0
    urls: set[str] = attrs.field(factory=set, repr=False)
    counters: dict[str, UrlCounter] = attrs.field(factory=dict, repr=False)
    journaled: Counts = attrs.field(factory=dict)
    posts: int = 0
    """How often something was counted in it."""
    keys: list[tuple[IdempotencyKey, int]] = attrs.field(factory=list, repr=False)
    dead_letters: DeadLetters = attrs.field(factory=dict, repr=False)
    actors: Likings = attrs.field(factory=dict, repr=False)
    actors_allotted: int = 0
    merge: Fold | None = None
    """The merge that closed the table, if any."""
    rows: Rows | None = attrs.field(default=None, repr=False)
    unsummed: Rows = attrs.field(factory=dict, repr=False)
    """Those of `rows` that are not part of the ledger's sums yet."""
    committed: bool = False
    """Whether `rows` has all counts."""
    sums: Counts = attrs.field(factory=dict)
    """The sums of `rows`, which are complete once it is `committed`."""

    def take_all(self, urls: Mapping[str, int], limit: int) -> bool:
        """Take in all of `urls` if there clearly is room below `limit` unique URLs; else none. Returns which."""
        if not self.urls.issuperset(urls):
            if len(self.urls) + len(urls) >= limit:
                return False
            self.urls.update(urls)
        return True

    def take(self, items: Iterator[tuple[str, int]], limit: int) -> dict[str, int]:
        """Take in URLs with their times from `items`, as long as there is room for them up to `limit` unique URLs.

        The URLs are added at once; their counts follow when the events are durable.
        """
        taken: dict[str, int] = {}
        while chunk := dict(islice(items, limit - len(self.urls))):
            self.urls.update(chunk)
            taken.update(chunk)
        return taken

    def counts(self, url: str) -> Counts | None:
        """The counts of `url` in this table so far, None if it has none."""
        counter = self.counters.get(url)
        if counter is not None:
            return counter.settle()
        return self.rows.get(url) if self.rows is not None else None

    def unsummed_counts(self, url: str) -> Counts | None:
        """The same, without what is already part of the ledger's sums."""
        counter = self.counters.get(url)
        return counter.settle() if counter is not None else self.unsummed.get(url)

    def commit(self, give_back: Callable[[Sequence[UrlCounter]], object]) -> Steps[Rows]:
        """Move the counts of all counters into `rows`, and give the counters back, free again.

        In steps: each count is either with its counter or in `rows`; `committed` once all are in `rows`.
        """
        rows = self.rows = self.rows or {}
        while self.counters:
            free: list[UrlCounter] = []
            some: Rows = {}
            for _ in range(min(len(self.counters), SLICE_COUNTERS)):
                url, counter = self.counters.popitem()
                counts = counter.commit()
                if counts:
                    some[url] = counts
                free.append(counter)
            rows.update(some)
            self.unsummed.update(some)
            add(self.sums, total(some.values()))
            give_back(free)
            if self.counters:
                yield
        self.committed = True
        return rows
