"""Visitors: what is known of callers without a token, and whose likes and views theirs are."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from likd.ingest.actor_events import OPEN_TERMS, Terms
from likd.model import Accepted, Outcome
from likd.web.access.crawlers import is_crawler

PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""Headers in which browsers tell that nobody looks at what they ask for."""

_NAMED = Terms(actor_required=True, counts=False)
_FREE = Terms(counts=False)


@attrs.frozen
class Visitor:
    """What the request of a visitor tells: where from (an IPv6 address as its network), with which browser, and why."""

    address: str
    agent: str = ""
    purpose: str = ""


@attrs.frozen
class VisitorsStatistics:
    """What visitors did that did not count, since the start."""

    ignored: int
    """Impressions that were accepted and did not count."""


@attrs.define(eq=False)
class Visitors:
    """Decides what counts of the public's events, by the settings `public_actors` and `ignore_bots`.

    `actor` makes one of an address and a browser.
    """

    public_actors: str
    ignore_bots: bool
    actor: Callable[[str, str], str]
    ignored: int = 0
    """Impressions that were accepted and did not count."""

    def statistics(self) -> VisitorsStatistics:
        """What did not count."""
        return VisitorsStatistics(self.ignored)

    def terms(self, visitor: Visitor | None) -> Terms:
        """On what terms events are taken that come from `visitor`, or from a caller who is none."""
        if visitor is None:
            return OPEN_TERMS
        if self.public_actors == "address":
            return Terms(actor=self.actor(visitor.address, visitor.agent), counts=False)
        return _NAMED if self.public_actors == "required" else _FREE

    def looks(self, visitor: Visitor | None) -> bool:
        """Whether it is a person who looks at what `visitor`, or a caller who is none, asks for; and now, not later."""
        if visitor is None or not self.ignore_bots:
            return True
        return "pre" not in visitor.purpose.lower() and not is_crawler(visitor.agent)

    def ignore(self, events: int, outcome: Outcome) -> None:
        """So many events did not count, if the others of their request do."""
        if isinstance(outcome, Accepted):
            self.ignored += events
