"""Bases: the store's counts of some URLs, kept in memory, as of the last applied table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from likd.model import Counts, Rows, add
from likd.runtime.cooperative import Steps, finish

SETTLED_AT_ONCE = 2000
"""How many rows a step of settling handles: well under a millisecond."""


class Bases:
    """Keeps the store's counts of up to `urls_max` URLs, the most recently requested ones.

    Applied rows are added to them in steps, or when one of them is requested before its turn. So each always is what
    the store has now, and no step handles a whole transaction.
    """

    def __init__(self, urls_max: int) -> None:
        self._urls_max = urls_max
        self._kept: OrderedDict[str, Counts] = OrderedDict()
        self._unsettled: Rows = {}

    def __contains__(self, url: str) -> bool:
        return url in self._kept

    def get(self, url: str) -> Counts | None:
        """The counts of `url`, if they are kept. Later applied rows change them in place."""
        base = self._kept.get(url)
        if base is not None:
            self._kept.move_to_end(url)
            news = self._unsettled.pop(url, None)
            if news:
                add(base, news)
        return base

    def keep(self, bases: Mapping[str, Counts]) -> None:
        """Keep these counts, which the store has now; they belong to this object."""
        for url, base in bases.items():
            self._unsettled.pop(url, None)
            self._kept[url] = base
            self._kept.move_to_end(url)
        while len(self._kept) > self._urls_max:
            self._kept.popitem(last=False)

    def forget(self, urls: Iterable[str]) -> None:
        """Forget `urls`: the store's counts of them are no longer known."""
        for url in urls:
            self._kept.pop(url, None)

    def add(self, rows: Mapping[str, Counts]) -> None:
        """The store has these `rows` in addition; they are few."""
        for url in self._kept.keys() & rows.keys():
            add(self._kept[url], rows[url])

    def applied(self, rows: Rows) -> None:
        """The store has `rows` in addition; the dict belongs to this object, its counts don't. `settle` must follow."""
        finish(self.settle())
        self._unsettled = rows

    def settle(self) -> Steps[None]:
        """Add the applied rows to the kept counts."""
        rows = self._unsettled
        while rows:
            for _ in range(min(SETTLED_AT_ONCE, len(rows))):
                url, news = rows.popitem()
                base = self._kept.get(url)
                if base is not None:
                    add(base, news)
            yield
