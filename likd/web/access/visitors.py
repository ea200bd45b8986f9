"""Visitors: what is known of callers without a token, and whose likes and views theirs are."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from likd.ingest.actor_events import AS_NAMED, Likers

PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
"""Headers in which browsers tell that nobody looks at what they ask for."""

_NAMED = Likers(required=True)


@attrs.frozen
class Visitor:
    """What the request of a visitor tells: where from (an IPv6 address as its network), with which browser, and why."""

    address: str
    agent: str = ""
    purpose: str = ""


@attrs.frozen
class Visitors:
    """Decides what counts of the public's events, by the setting `public_actors`.

    `actor` makes one of an address and a browser.
    """

    public_actors: str
    actor: Callable[[str, str], str]

    def likers(self, visitor: Visitor | None) -> Likers:
        """Whose the likes are that come from `visitor`, or from a caller who is none."""
        if visitor is None or self.public_actors == "free":
            return AS_NAMED
        if self.public_actors == "required":
            return _NAMED
        return Likers(actor=self.actor(visitor.address, visitor.agent))
