"""The words every other module uses: events, counts, submissions. Imports nothing of likd."""

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
"""The part of an actor's key that stands for URL and actor: all of it, if it is about likes."""

log = structlog.get_logger(__name__)

Events: TypeAlias = dict[str, dict[str, int]]
"""Coalesced events: kind → canonical URL → how many times."""

Counts: TypeAlias = dict[str, int]
"""Named counts of one URL, those that are zero left out. Every count only grows."""

Rows: TypeAlias = dict[str, Counts]
"""Counts of many URLs."""


Columns: TypeAlias = dict[str, dict[str, int]]
"""Counts of many URLs the other way round: name → URL → by how much it grew."""


def host_of(url: str) -> str:
    """The host of a canonical URL, without its port: the site that it belongs to."""
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
    """Which kind of event an actor's key is about: behind what stands for URL and actor it says so, if not of likes."""
    return key[LIKE_KEY_BYTES:].decode() or LIKE


class ActorEvent(msgspec.Struct, frozen=True, gc=False):
    """A like by an actor, or another event of which an actor has one at a time, or what takes it back.

    What it changes depends on what the actor did before. `key` stands for the actor and the URL together, neither of
    which can be told from it, and says what is done, if it is not liked. There are many, and the cyclic collector has
    nothing to do with them.
    """

    kind: str
    url: str
    key: bytes


class Liking(NamedTuple):
    """Whether an actor likes a URL from now on, and by how much the events that tell so add to its likes less unlikes.

    The second is what the actor was thought to change: where that was wrong, the store makes up for it. Files of
    earlier versions do not tell (None), and are taken to be right.
    """

    likes: bool
    net: int | None


Likings: TypeAlias = dict[bytes, Liking]
"""Key of an actor and a URL → what became of it."""


def add_likings(likings: Likings, more: Mapping[bytes, Liking]) -> None:
    """Add what came later to `likings` in place."""
    for key, liking in more.items():
        before = likings.get(key)
        likings[key] = liking if before is None else Liking(liking.likes, _sum(before.net, liking.net))


def _sum(net: int | None, more: int | None) -> int | None:
    return None if net is None or more is None else net + more


class Fold(NamedTuple):
    """A URL that becomes part of another, and how the keys of the actors of each begin.

    Or one that begins anew, without counts, history and actors: then `new` is the same, or empty if it is to be
    unknown. Instead of a URL that may be a whole site, "//" and its host.
    """

    old: str
    new: str
    old_key: bytes
    new_key: bytes

    @property
    def erases(self) -> bool:
        """Whether what there is is erased."""
        return self.new in ("", self.old)

    @property
    def host(self) -> str:
        """The site that is erased, if it is one."""
        return self.old[2:] if self.old.startswith("//") else ""

    def takes(self, url: str) -> bool:
        """Whether it is about `url` that is erased."""
        return url == self.old or (bool(self.host) and host_of(url) == self.host)


class DeadLetter(NamedTuple):
    """An event that a handler could not count, kept for replay."""

    handler: str
    kind: str
    url: str
    times: int


def rename_likings(changes: Likings, keys: Mapping[bytes, bytes]) -> Likings:
    """`changes`, of actors whose keys begin with one of `keys`, as those of the URLs that these are part of now.

    Who likes one of two URLs likes what became of them.
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
    """What identifies one request over its retries: the client's key, and a digest of the body it came with."""

    key: str
    digest: bytes


@attrs.frozen
class Accepted:
    """The outcome of a submission that is on disk and counted: how many events it held."""

    events: int


@attrs.frozen
class Refused:
    """The outcome of a submission of which nothing is counted, and when trying again may help (seconds).

    If it is not `certain`, a crash may count it after all, unless it is tried again with its idempotency key.
    """

    reason: str
    retry_after: int = 1
    certain: bool = True


Outcome: TypeAlias = Accepted | Refused


@attrs.define(eq=False)
class Submission:
    """The coalesced events of a request (or of several small ones), its `acts`, and those who wait for the outcome.

    Or a `merge` and nothing else: it has its place in the order of all submissions.

    It is settled once, by the event manager: `Accepted` when it is durable and counted, else `Refused`.
    """

    events: Events
    event_count: int
    key: IdempotencyKey | None = None
    requests: int = 1
    acts: Sequence[ActorEvent] = ()
    merge: Fold | None = None
    ignored: int = 0
    """Of `event_count` so many events are in neither `events` nor `acts`: they are not to count."""
    act_urls: int | None = None
    """How many URLs its acts have, where that was counted before."""
    outcome: Outcome | None = None
    _listeners: list[Callable[[Outcome], object]] = attrs.field(factory=list, init=False)

    @property
    def urls(self) -> int:
        """How many URLs its events have, those of each kind counted apart: never fewer than it needs counters."""
        acts = len({act.url for act in self.acts}) if self.act_urls is None else self.act_urls
        return sum(map(len, self.events.values())) + acts

    @property
    def single(self) -> tuple[str, str] | None:
        """The kind and URL, if it is one event that counts once whoever it is from, and nothing else."""
        if self.event_count != 1 or self.acts or self.ignored:
            return None
        ((kind, urls),) = self.events.items()
        ((url, times),) = urls.items()
        return (kind, url) if times == 1 else None

    def on_settled(self, listener: Callable[[Outcome], object]) -> None:
        """Call `listener` with the outcome: when it is known, or now if it already is.

        What it raises when it is called later is logged, and reaches neither who settles nor other listeners.
        """
        if self.outcome is not None:
            listener(self.outcome)
        else:
            self._listeners.append(listener)

    def settle(self, outcome: Outcome) -> int:
        """Tell everyone who waits; how many of them failed to hear it.

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
