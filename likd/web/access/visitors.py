"""Visitors: what is known about callers without a token, and which of their likes and views count."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from likd.ingest.actor_events import OPEN_TERMS, Terms
from likd.model import Accepted, Outcome
from likd.web.access.crawlers import is_crawler

PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""Headers by which browsers say that nobody is looking at what they request."""

_NAMED = Terms(actor_required=True, counts=False)
_FREE = Terms(counts=False)


@attrs.frozen
class Visitor:
    """What a visitor's request reveals: its address (for IPv6, its network), its browser and its purpose."""

    address: str
    agent: str = ""
    purpose: str = ""


@attrs.frozen
class VisitorsStatistics:
    """Visitors' events that were not counted, since the start."""

    ignored: int
    """Impressions that were accepted and did not count."""


@attrs.define(eq=False)
class Visitors:
    """Decides which of the public's events count, by the settings `public_actors` and `ignore_bots`.

    `actor` derives an actor from an address and a browser.
    """

    public_actors: str
    ignore_bots: bool
    actor: Callable[[str, str], str]
    ignored: int = 0
    """Impressions that were accepted but not counted."""

    def statistics(self) -> VisitorsStatistics:
        """What was not counted."""
        return VisitorsStatistics(self.ignored)

    def terms(self, visitor: Visitor | None) -> Terms:
        """The terms on which events from `visitor` are accepted; None is a caller with a token."""
        if visitor is None:
            return OPEN_TERMS
        if self.public_actors == "address":
            return Terms(actor=self.actor(visitor.address, visitor.agent), counts=False)
        return _NAMED if self.public_actors == "required" else _FREE

    def looks(self, visitor: Visitor | None) -> bool:
        """Whether a person is looking at what `visitor` (None: a caller with a token) requests, now and not later."""
        if visitor is None or not self.ignore_bots:
            return True
        return "pre" not in visitor.purpose.lower() and not is_crawler(visitor.agent)

    def ignore(self, events: int, outcome: Outcome) -> None:
        """Note how many events were not counted, once the others in their request are."""
        if isinstance(outcome, Accepted):
            self.ignored += events
