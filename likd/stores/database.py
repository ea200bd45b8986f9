"""A store as its thread sees it: plain methods that may block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from likd.errors import StoreError, Unsupported
from likd.model import Counts, Fold, Rows
from likd.stores.chain import Chain
from likd.stores.protocol import Applied, Folding, Increments, News, Part, Unit
from likd.stores.sites import PagesQuery, PagesRead, PastRead, SitesRead, Span

SITES_LACKED = "does not sum up by site"
PART_METHODS: Mapping[Part, str] = {
    "actors": "read_actors",
    "top lists": "top",
    "history": "history",
    "pages": "page",
    "merging": "fold",
    "starting counts": "load",
    "feed": "news",
    "sites": "sites",
}
"""A database has a part if it has this method of its own."""


class Database(ABC):
    """Does what the protocols ask of a store, one call that writes and one that reads at a time.

    A subclass has what counting and draining need, and such other parts as it overrides. `now` is the time by which
    old history is removed, in minutes since 1970.
    """

    kind: ClassVar[str]
    faults: ClassVar[tuple[type[Exception], ...]]
    """What its driver raises."""

    replay_seconds: float = 0.0
    """How long it may go back in time, if nothing else is said. One that can't does not keep a daemon from starting by
    being away, either: it is beside it."""

    chain: Chain

    @classmethod
    def parts(cls) -> frozenset[Part]:
        """The parts that it has."""
        return frozenset(p for p, name in PART_METHODS.items() if getattr(cls, name) is not getattr(Database, name))

    def explain(self, fault: Exception) -> StoreError:
        """What one of `faults` means to likd."""
        return StoreError(f"{self.kind}: {fault}")

    @abstractmethod
    def open(self, names: tuple[str, ...]) -> int:
        """As CountStore.open; again after a fault, too."""

    @abstractmethod
    def apply(self, increments: Increments, now: int) -> Applied | None:
        """As CountStore.apply."""

    def erase_part(self, increments: Increments) -> bool:
        """Erase a part of what `increments` erase, if that is much; whether that is to be asked once more.

        It is asked before they are applied, which erases what is left.
        """
        return False

    @abstractmethod
    def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        """As CountStore.read."""

    @abstractmethod
    def peek(self) -> int:
        """The applied mark of a database that is not open, and in which nothing is changed. Raises StoreError."""

    def newest(self) -> float:
        """When anything was counted last (seconds since 1970), 0 if it does not know.

        As `peek`, it may be asked before `open`, and changes nothing. Raises StoreError.
        """
        return 0.0

    @abstractmethod
    def close(self) -> None:
        """Let go of all connections. Nothing reads or writes meanwhile."""

    def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        """As ActorStore.read_actors."""
        raise self._lacks("does not know actors")

    def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        """As RankingStore.top."""
        raise self._lacks("has no top lists")

    def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        """As HistoryStore.history."""
        raise self._lacks("keeps no history")

    def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        """As PageStore.page."""
        raise self._lacks("can't be exported")

    def aliases(self) -> dict[str, str]:
        """As MergingStore.aliases."""
        raise self._lacks("can't merge URLs")

    def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]) -> None:
        """As MergingStore.fold."""
        raise self._lacks("can't merge URLs")

    def folding(self) -> Folding:
        """As MergingStore.folding."""
        raise self._lacks("can't merge URLs")

    def load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int) -> bool:
        """As ImportStore.load."""
        raise self._lacks("takes no starting counts")

    def loaded(self, name: str) -> bool:
        """As ImportStore.loaded."""
        raise self._lacks("takes no starting counts")

    def news(self, last: News | None) -> News:
        """As FeedStore.news."""
        raise self._lacks("has no other nodes")

    def sum_up(self) -> bool:
        """As SiteStore.sum_up."""
        raise self._lacks(SITES_LACKED)

    def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None) -> SitesRead:
        """As SiteStore.sites."""
        raise self._lacks(SITES_LACKED)

    def past(self, spans: Sequence[Span], url: str, site: str) -> PastRead:
        """As SiteStore.past."""
        raise self._lacks(SITES_LACKED)

    def pages(self, query: PagesQuery) -> PagesRead:
        """As SiteStore.pages."""
        raise self._lacks(SITES_LACKED)

    def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        """As SiteStore.liked_both."""
        raise self._lacks(SITES_LACKED)

    def remove_alias(self, old: str) -> None:
        """As SiteStore.remove_alias."""
        raise self._lacks(SITES_LACKED)

    def _lacks(self, what: str) -> Unsupported:
        return Unsupported(f"a store of the kind {self.kind} {what}")
