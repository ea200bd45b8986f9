"""The words every other module uses: events, counts, submissions. Imports nothing from likd."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import attrs
import msgspec
import structlog
import trio

LIKE = "like"
UNLIKE = "unlike"
IMPRESSION = "impression"

LIKES = "likes"
UNLIKES = "unlikes"
IMPRESSIONS = "impressions"

LIKE_KEY_BYTES = 20
"""The part of an actor's key that stands for URL and actor: all of it, for likes."""

log = structlog.get_logger(__name__)

Events: TypeAlias = dict[str, dict[str, int]]
"""Coalesced events: kind → canonical URL → how many times."""

Counts: TypeAlias = dict[str, int]
"""Named counts of one URL, without those that are zero. Every count only grows."""

Rows: TypeAlias = dict[str, Counts]
"""Counts of many URLs."""


Columns: TypeAlias = dict[str, dict[str, int]]
"""Counts of many URLs the other way round: name → URL → its growth."""


def host_of(url: str) -> str:
    """The host of a canonical URL, without its port: its site."""
    authority = url.partition("//")[2].partition("/")[0].rpartition("@")[2]
    return authority if authority.endswith("]") else authority.rsplit(":", 1)[0] if ":" in authority else authority


def add(counts: Counts, increments: Mapping[str, int]) -> None:
    """Add `increments` to `counts` in place."""
    for name, n in increments.items():
        counts[name] = counts.get(name, 0) + n


def add_columns(rows: Rows, columns: Mapping[str, Mapping[str, int]]) -> None:
    """Add `columns` to `rows` in place."""
    for name, urls in columns.items():
        for url, n in urls.items():
            counts = rows.setdefault(url, {})
            counts[name] = counts.get(name, 0) + n


def add_events(events: Events, more: Mapping[str, Mapping[str, int]]) -> None:
    """Add the events of `more` to `events` in place."""
    for kind, urls in more.items():
        mine = events.setdefault(kind, {})
        if mine.keys().isdisjoint(urls):
            mine.update(urls)
        else:
            for url, n in urls.items():
                mine[url] = mine.get(url, 0) + n


def total(rows: Collection[Mapping[str, int]]) -> Counts:
    """The sums over `rows`, by name."""
    return {name: sum([counts.get(name, 0) for counts in rows]) for name in set().union(*rows)}


def undo_of(kind: str) -> str:
    """The kind of event that takes back one of `kind`."""
    return f"un{kind}"


def count_of(kind: str) -> str:
    """The count that grows by one with each event of `kind`."""
    return f"{kind}s"


def done_by(key: bytes) -> str:
    """The kind of event that an actor's key is about: named after the part for URL and actor, except for likes."""
    return key[LIKE_KEY_BYTES:].decode() or LIKE


class ActorEvent(msgspec.Struct, frozen=True, gc=False):
    """A like by an actor, or another event of which an actor has at most one, or the event that takes it back.

    What it changes depends on what the actor did before. `key` stands for actor and URL together, without revealing
    either, and names the kind if it is not a like. There are many of these, so they are kept from the cyclic collector.
    """

    kind: str
    url: str
    key: bytes


class Liking(NamedTuple):
    """Whether an actor likes a URL from now on, and by how much the events that say so change its likes minus unlikes.

    The second is what the actor was thought to change; if that was wrong, the store makes up for it. Files of earlier
    versions do not have it (None), and are taken to be right.
    """

    likes: bool
    net: int | None


Likings: TypeAlias = dict[bytes, Liking]
"""An actor's key → its liking."""


def add_likings(likings: Likings, more: Mapping[bytes, Liking]) -> None:
    """Add later likings to `likings` in place."""
    for key, liking in more.items():
        before = likings.get(key)
        likings[key] = liking if before is None else Liking(liking.likes, _sum(before.net, liking.net))


def _sum(net: int | None, more: int | None) -> int | None:
    return None if net is None or more is None else net + more


class Fold(NamedTuple):
    """A URL that becomes part of another, with the beginnings of the keys of each one's actors.

    Or an erasure, which removes counts, history and actors: then `new` is the same URL if it stays known (a reset), or
    empty. Instead of a URL it may be about a whole site: "//" and its host.
    """

    old: str
    new: str
    old_key: bytes
    new_key: bytes

    @property
    def erases(self) -> bool:
        """Whether it is an erasure."""
        return self.new in ("", self.old)

    @property
    def host(self) -> str:
        """The site that is erased, if it is one."""
        return self.old[2:] if self.old.startswith("//") else ""

    def takes(self, url: str) -> bool:
        """Whether it erases `url`."""
        return url == self.old or (bool(self.host) and host_of(url) == self.host)


class DeadLetter(NamedTuple):
    """An event that a handler could not count, kept for a replay."""

    handler: str
    kind: str
    url: str
    times: int


def rename_likings(changes: Likings, keys: Mapping[bytes, bytes]) -> Likings:
    """`changes`, with keys that begin with one of `keys` renamed to the URLs of which those are part now.

    An actor who likes either of two URLs likes the merged one.
    """
    if not keys:
        return changes
    length = len(next(iter(keys)))
    renamed: Likings = {}
    for key, liking in changes.items():
        new = keys.get(key[:length], key[:length]) + key[length:]
        other = renamed.get(new)
        if other is not None:
            net = None if liking.net is None or other.net is None else liking.net + other.net
            liking = Liking(liking.likes or other.likes, net)
        renamed[new] = liking
    return renamed


@attrs.frozen
class IdempotencyKey:
    """What identifies a request across its retries: the client's key, and a digest of the body it came with."""

    key: str
    digest: bytes


@attrs.frozen
class Accepted:
    """The outcome of a submission that is on disk and counted: how many events it had."""

    events: int


@attrs.frozen
class Refused:
    """The outcome of a submission of which nothing is counted, and after how many seconds a retry may help.

    If it is not `certain`, it may be counted after a crash, unless it is retried with its idempotency key.
    """

    reason: str
    retry_after: int = 1
    certain: bool = True


Outcome: TypeAlias = Accepted | Refused


@attrs.define(eq=False)
class Submission:
    """The coalesced events of a request (or of several small ones), its `acts`, and the listeners for the outcome.

    Or a `merge` alone: it has its place in the order of all submissions.

    The event manager settles it once: `Accepted` when it is durable and counted, else `Refused`.
    """

    events: Events
    event_count: int
    key: IdempotencyKey | None = None
    requests: int = 1
    acts: Sequence[ActorEvent] = ()
    merge: Fold | None = None
    ignored: int = 0
    """How many of the `event_count` events are in neither `events` nor `acts`, because they do not count."""
    act_urls: int | None = None
    """How many URLs its acts have, if that was counted before."""
    outcome: Outcome | None = None
    _listeners: list[Callable[[Outcome], object]] = attrs.field(factory=list, init=False)

    @property
    def urls(self) -> int:
        """How many URLs its events have, counted separately for each kind: never fewer than the counters it needs."""
        acts = len({act.url for act in self.acts}) if self.act_urls is None else self.act_urls
        return sum(map(len, self.events.values())) + acts

    @property
    def single(self) -> tuple[str, str] | None:
        """The kind and URL, if it is a single event without an actor that counts once."""
        if self.event_count != 1 or self.acts or self.ignored:
            return None
        ((kind, urls),) = self.events.items()
        ((url, times),) = urls.items()
        return (kind, url) if times == 1 else None

    def on_settled(self, listener: Callable[[Outcome], object]) -> None:
        """Call `listener` with the outcome: once it is known, or now if it already is.

        If it is called later, anything it raises is logged, and reaches neither the caller of `settle` nor other
        listeners.
        """
        if self.outcome is not None:
            listener(self.outcome)
        else:
            self._listeners.append(listener)

    def settle(self, outcome: Outcome) -> int:
        """Call all listeners. Returns how many of them failed.

        A second call does nothing: the first outcome stands.
        """
        if self.outcome is not None:
            return 0
        self.outcome = outcome
        listeners, self._listeners = self._listeners, []
        failed = 0
        for listener in listeners:
            try:
                listener(outcome)
            except Exception as error:
                failed += 1
                log.error("listener failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        return failed

    async def settled(self) -> Outcome:
        """Wait for the outcome."""
        if self.outcome is None:
            known = trio.Event()
            self.on_settled(lambda _: known.set())
            await known.wait()
        assert self.outcome is not None
        return self.outcome
