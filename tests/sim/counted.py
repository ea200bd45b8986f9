"""What is counted in a simulated world: the URLs there are, requests, and sums of what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import attrs

from likd.counting.actors import ActorKeys
from likd.model import IMPRESSION, IMPRESSIONS, LIKE, LIKES, UNLIKE, UNLIKES, Events, IdempotencyKey, add_events

MOOD, MOODS = "mood", "moods"
"""A kind of events, and what is counted of it, by a handler that fails."""
NAMES = {LIKE: LIKES, UNLIKE: UNLIKES, IMPRESSION: IMPRESSIONS, MOOD: MOODS}
URLS = [f"https://example.com/{n}" for n in range(7)]
TWINS = [f"{scheme}://twin.example/{n}" for n in range(2) for scheme in ("http", "https")]
LIKED = [f"https://liked.example/{n}" for n in range(2)]
"""Only actors like these, and the next."""
LIKED_TWINS = [f"{scheme}://liked.example/twin" for scheme in ("http", "https")]
COUNTED = [*URLS, *TWINS]
ERASED_SITE = "//erased.example"
ERASED = [f"https:{ERASED_SITE}/{n}" for n in range(2)]
"""These are erased now and then, by themselves or with their site, and so are the next, which only actors like."""
FORGOTTEN = [f"https:{ERASED_SITE}/liked"]
ACTED = [*LIKED, *LIKED_TWINS, *FORGOTTEN]
MERGED = [URLS[:3], [*LIKED, LIKED_TWINS[1]]]
"""URLs of one of these may be merged."""
ACTORS = ["actor 0", "actor 1"]
ROAMING = ["roaming actor"]
"""An actor who likes by whichever node."""
KEYS = ActorKeys(b"a secret")

Counted = Counter[tuple[str, str]]
"""(URL, count name) → n"""


class Broken(AssertionError):
    """A promise is broken."""


@attrs.define(eq=False)
class Request:
    """What a client wants counted."""

    events: Events
    key: IdempotencyKey | None

    @property
    def counted(self) -> Counted:
        """What that adds to the counts."""
        return Counter({(url, NAMES[kind]): n for kind, urls in self.events.items() for url, n in urls.items()})

    @property
    def size(self) -> int:
        """How many events it has."""
        return sum(n for urls in self.events.values() for n in urls.values())

    def events_by(self, rules: Callable[[str], str]) -> Events:
        """Its events, as a daemon that has these rules understands them."""
        events: Events = {}
        for kind, urls in self.events.items():
            for url, n in urls.items():
                add_events(events, {kind: {rules(url): n}})
        return events


@attrs.define
class Ledger:
    """What clients asked for, as far as it was not refused; what of it was acknowledged; and what may count or not."""

    sent: Counted = attrs.field(factory=Counter)
    acknowledged: Counted = attrs.field(factory=Counter)
    doubtful: Counted = attrs.field(factory=Counter)
    loaded: Counted = attrs.field(factory=Counter)
    """Starting counts, which no history has."""


def summed(counted: Counted, by: Mapping[str, str]) -> Counted:
    """`counted` by what the URLs count for."""
    sums: Counted = Counter()
    for (url, name), n in counted.items():
        sums[by[url], name] += n
    return sums


def flat(rows: Mapping[str, Mapping[str, int]]) -> Counted:
    """`rows` as one sum."""
    return Counter({(url, name): n for url, counts in rows.items() for name, n in counts.items() if n})
