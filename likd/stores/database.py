"""A store as its thread sees it: plain methods that may block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from likd.errors import StoreError, Unsupported
from likd.model import Counts, Fold, IdempotencyKey, Rows
from likd.stores.keys import Claim, Settled
from likd.stores.marks import Chain
from likd.stores.nodes import Node
from likd.stores.protocol import Applied, Folding, Increments, News, Part, SharedRead, Unit
from likd.stores.sites import PagesQuery, PagesRead, PastRead, SitesRead, Span

SITES_LACKED = "keeps no sums by site"
PART_METHODS: Mapping[Part, str] = {
    "actors": "read_actors",
    "top lists": "top",
    "history": "history",
    "pages": "page",
    "merging": "fold",
    "starting counts": "load",
    "feed": "news",
    "nodes": "beat",
    "keys": "claim_keys",
    "sites": "sites",
}
"""A database has a part if it overrides this method."""


class Database(ABC):
    """Does what the protocols require of a store; one write and one read at a time.

    A subclass has what counting and draining need, plus the parts that it overrides. `now` is the time by which old
    history is removed, in minutes since 1970.
    """

    kind: ClassVar[str]
    faults: ClassVar[tuple[type[Exception], ...]]
    """The exceptions that its driver raises."""

    replay_seconds: float = 0.0
    """How far back in time it may go, by default, in seconds; 0 for a local one, without which no daemon starts."""

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
        """Like CountStore.open; also called again after a fault."""

    @abstractmethod
    def apply(self, increments: Increments, now: int) -> Applied | None:
        """Like CountStore.apply."""

    def erase_part(self, increments: Increments) -> bool:
        """Erase a part of what `increments` erase, if that is much; whether that is to be asked once more.

        It is asked before they are applied, which erases what is left.
        """
        return False

    @abstractmethod
    def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        """Like CountStore.read."""

    @abstractmethod
    def peek(self) -> int:
        """The applied mark of a database that is not open; changes nothing. Raises StoreError."""

    def newest(self) -> float:
        """When anything was last counted (seconds since 1970), 0 if unknown.

        Like `peek`, it may be called before `open`, and changes nothing. Raises StoreError.
        """
        return 0.0

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Nothing may be reading or writing."""

    def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        """Like ActorStore.read_actors."""
        raise self._lacks("does not know actors")

    def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        """Like RankingStore.top."""
        raise self._lacks("has no top lists")

    def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        """Like HistoryStore.history."""
        raise self._lacks("keeps no history")

    def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        """Like PageStore.page."""
        raise self._lacks("can't be exported")

    def aliases(self) -> dict[str, str]:
        """Like MergingStore.aliases."""
        raise self._lacks("can't merge URLs")

    def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes]) -> None:
        """Like MergingStore.fold."""
        raise self._lacks("can't merge URLs")

    def folding(self) -> Folding:
        """Like MergingStore.folding."""
        raise self._lacks("can't merge URLs")

    def load(self, name: str, rows: Rows, past: Mapping[int, Rows], now: int) -> bool:
        """Like ImportStore.load."""
        raise self._lacks("takes no starting counts")

    def loaded(self, name: str) -> bool:
        """Like ImportStore.loaded."""
        raise self._lacks("takes no starting counts")

    def news(self, last: News | None) -> News:
        """Like FeedStore.news."""
        raise self._lacks("has no other nodes")

    def read_shared(self, urls: Sequence[str]) -> SharedRead:
        """Like FeedStore.read_shared."""
        raise self._lacks("has no other nodes")

    def beat(self, name: str, lag_seconds: float) -> list[Node]:
        """As NodeStore.beat."""
        raise self._lacks("has no other nodes")

    def retire(self, which: str, *, force: bool) -> Node:
        """Let the node of that number or name be one that is gone for good: what it counted is nobody's from now on.

        It may be asked before `open`. One that is alive is refused but with `force`. Raises RetireError, StoreError.
        """
        raise self._lacks("has no other nodes")

    def claim_keys(self, asked: Sequence[IdempotencyKey], settled: Settled, window_seconds: float) -> list[Claim]:
        """As KeyStore.claim_keys."""
        raise self._lacks("knows no idempotency keys")

    def claims_left(self) -> list[IdempotencyKey]:
        """As KeyStore.claims_left."""
        raise self._lacks("knows no idempotency keys")

    def sum_up(self) -> bool:
        """Like SiteStore.sum_up."""
        raise self._lacks(SITES_LACKED)

    def sites(self, spans: Sequence[Span], hosts: Sequence[str] | None) -> SitesRead:
        """Like SiteStore.sites."""
        raise self._lacks(SITES_LACKED)

    def past(self, spans: Sequence[Span], url: str, site: str) -> PastRead:
        """Like SiteStore.past."""
        raise self._lacks(SITES_LACKED)

    def pages(self, query: PagesQuery) -> PagesRead:
        """Like SiteStore.pages."""
        raise self._lacks(SITES_LACKED)

    def liked_both(self, old_key: bytes, new_key: bytes) -> int:
        """Like SiteStore.liked_both."""
        raise self._lacks(SITES_LACKED)

    def remove_alias(self, old: str) -> None:
        """Like SiteStore.remove_alias."""
        raise self._lacks(SITES_LACKED)

    def _lacks(self, what: str) -> Unsupported:
        return Unsupported(f"a {self.kind} store {what}")
