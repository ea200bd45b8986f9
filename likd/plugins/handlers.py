"""Event handlers: plug-ins that turn an event's kind into increments of named counts, isolated as in gen_event."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import attrs
import structlog

from likd.errors import StartError
from likd.model import (
    IMPRESSION,
    IMPRESSIONS,
    LIKE,
    LIKES,
    UNLIKE,
    UNLIKES,
    Columns,
    Counts,
    DeadLetter,
    Events,
    Rows,
    add_columns,
    count_of,
    undo_of,
)

ENTRY_POINT_GROUP = "likd.handlers"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
INCREMENT_MAX = 2**32
"""How much one event may add to a count, so that sums stay within 63 bits."""

log = structlog.get_logger(__name__)


@runtime_checkable
class Handler(Protocol):
    """What a class named in the entry point group `likd.handlers` must provide; it is created without arguments.

    `kinds` are the event kinds it wants, `counts` the names of the counts it increments
    (`[a-z][a-z0-9_]{0,31}`, unique among handlers).

    A handler may also have an attribute `adds`: the kinds that just add one to a count for each event. It is not called
    for these, which is much faster.
    """

    kinds: tuple[str, ...]
    counts: tuple[str, ...]

    def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
        """How much each count of `url` grows when `kind` happens `times` times: 0 to 2^32 for each time.

        It must not block, because it runs on the event loop. It should depend only on its arguments, because recovery
        calls it again for events that a crash left in the journal.
        """
        ...


class Likes:
    """Counts likes and unlikes separately, so both only grow."""

    kinds: tuple[str, ...] = (LIKE, UNLIKE)
    counts: tuple[str, ...] = (LIKES, UNLIKES)
    adds: Mapping[str, str] = MappingProxyType({LIKE: LIKES, UNLIKE: UNLIKES})
    done: Mapping[str, str] = MappingProxyType({LIKE: LIKE, UNLIKE: LIKE})

    def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
        """See Handler."""
        return {self.adds[kind]: times}


class Kinds:
    """Counts the additional `kinds` in the settings, and the kinds that take them back, like `Likes`."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.done = {kind: done for done in kinds for kind in (done, undo_of(done))}
        self.kinds = tuple(self.done)
        self.counts = tuple(map(count_of, self.kinds))
        self.adds = dict(zip(self.kinds, self.counts, strict=True))

    def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
        """One for each event."""
        return {self.adds[kind]: times}


class Impressions:
    """Counts impressions."""

    kinds: tuple[str, ...] = (IMPRESSION,)
    counts: tuple[str, ...] = (IMPRESSIONS,)
    adds: Mapping[str, str] = MappingProxyType({IMPRESSION: IMPRESSIONS})

    def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
        """One for each event."""
        return {self.adds[kind]: times}


class HandlerError(StartError):
    """An installed handler can't be used; the message says which and why."""


@attrs.define(eq=False)
class Registration:
    """A handler in use: its name, how often it failed, and whether it was removed for that."""

    name: str
    handler: Handler
    adds: Mapping[str, str] = attrs.field(factory=dict)
    faults: int = 0
    last_fault: str = ""
    off: bool = False


@attrs.frozen
class HandlerStatistics:
    """A handler in numbers, since the start."""

    name: str
    """The name of its entry point."""
    faults: int
    """How often it failed."""
    last_fault: str
    """Its last fault; empty if it never failed."""
    off: bool
    """Whether it was removed because of its faults."""


ANY = ""
"""In place of a handler's name: all handlers that want the kind."""


class Handlers:
    """All handlers in use. A handler that raises affects neither the others nor the caller.

    Its event is set aside and the fault is logged; after `faults_max` faults the handler is removed, and from then on
    all its events are set aside.
    """

    def __init__(self, handlers: Mapping[str, Handler], *, faults_max: int = 100) -> None:
        self._faults_max = faults_max
        self.registered = [
            Registration(name, handler, getattr(handler, "adds", {})) for name, handler in handlers.items()
        ]
        self._by_kind: dict[str, list[Registration]] = {}
        owner: dict[str, str] = {}
        for registration in self.registered:
            for count in registration.handler.counts:
                if not NAME.fullmatch(count):
                    raise HandlerError(f"handler {registration.name}: count {count!r} must match {NAME.pattern}")
                if count in owner or count == "net":
                    other = owner.get(count, "likd")
                    raise HandlerError(f"handler {registration.name}: count {count!r} belongs to {other}")
                owner[count] = registration.name
            for kind, count in registration.adds.items():
                if kind not in registration.handler.kinds or count not in registration.handler.counts:
                    raise HandlerError(
                        f"handler {registration.name}: adds {kind!r} to {count!r}, which it does not have"
                    )
            for kind in registration.handler.kinds:
                if not NAME.fullmatch(kind):
                    raise HandlerError(f"handler {registration.name}: kind {kind!r} must match {NAME.pattern}")
                self._by_kind.setdefault(kind, []).append(registration)

    def statistics(self) -> tuple[HandlerStatistics, ...]:
        """All handlers in numbers, in order."""
        return tuple(HandlerStatistics(r.name, r.faults, r.last_fault, r.off) for r in self.registered)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every event kind that some handler wants."""
        return tuple(self._by_kind)

    @property
    def done(self) -> Mapping[str, str]:
        """Kinds of which an actor has at most one per URL, and those that take them back, each with the former."""
        done: dict[str, str] = {}
        for registration in self.registered:
            if isinstance(registration.handler, Likes | Kinds):
                done |= registration.handler.done
        return done

    @property
    def counts(self) -> tuple[str, ...]:
        """The names of all counts, the built-in ones first."""
        return tuple(count for r in self.registered for count in r.handler.counts)

    def increments(self, events: Events) -> tuple[Columns, list[DeadLetter]]:
        """What `events` add to the counts, all handlers together, and what had to be set aside.

        The columns may be those of `events` itself: they are for reading only.
        """
        columns: Columns = {}
        dead_letters: list[DeadLetter] = []
        for kind, urls in events.items():
            for registration in self._by_kind.get(kind, ()):
                self._count(registration, kind, urls, columns, dead_letters)
        return columns, dead_letters

    def replay(self, events: Iterable[DeadLetter]) -> tuple[Rows, list[DeadLetter]]:
        """What events that were set aside add now, by their own handlers; and what is still set aside."""
        rows: Rows = {}
        dead_letters: list[DeadLetter] = []
        for event in events:
            wanting = self._by_kind.get(event.kind, [])
            if event.handler != ANY:
                wanting = [registration for registration in wanting if registration.name == event.handler]
            if not wanting:
                dead_letters.append(event)
            columns: Columns = {}
            for registration in wanting:
                self._count(registration, event.kind, {event.url: event.times}, columns, dead_letters)
            add_columns(rows, columns)
        return rows, dead_letters

    def _count(
        self,
        registration: Registration,
        kind: str,
        urls: dict[str, int],
        columns: Columns,
        dead_letters: list[DeadLetter],
    ) -> None:
        count = registration.adds.get(kind)
        grown = self._ask(registration, kind, urls, dead_letters) if count is None else {count: urls}
        for name, column in grown.items():
            mine = columns.get(name)
            if mine is None:
                columns[name] = column
            else:
                # A handler with two kinds: the dict in `columns` may belong to the events.
                columns[name] = {url: mine.get(url, 0) + column.get(url, 0) for url in {**mine, **column}}

    def _ask(
        self, registration: Registration, kind: str, urls: dict[str, int], dead_letters: list[DeadLetter]
    ) -> Columns:
        allowed = registration.handler.counts
        grown: Columns = {}
        for url, times in urls.items():
            if registration.off:
                dead_letters.append(DeadLetter(registration.name, kind, url, times))
                continue
            try:
                delta = dict(registration.handler.increments(kind, url, times))
                for name, n in delta.items():
                    if name not in allowed or not isinstance(n, int) or not 0 <= n <= times * INCREMENT_MAX:
                        raise ValueError(f"increment {name}={n} is not allowed, counts are {', '.join(allowed)}")
            except Exception as error:
                self._fault(registration, error)
                dead_letters.append(DeadLetter(registration.name, kind, url, times))
                continue
            for name, n in delta.items():
                if n:
                    grown.setdefault(name, {})[url] = n
        return grown

    def _fault(self, registration: Registration, error: Exception) -> None:
        registration.faults += 1
        registration.last_fault = f"{type(error).__name__}: {error}"
        registration.off = registration.faults >= self._faults_max
        log.error(
            "handler failed",
            handler=registration.name,
            fault=registration.last_fault,
            faults=registration.faults,
            taken_off=registration.off,
        )


def load_handlers(kinds: Sequence[str] = ()) -> dict[str, Handler]:
    """The built-in handlers, the one for the settings' `kinds`, then those of installed packages, by name.

    Raises HandlerError for one that can't be loaded or is not a handler.
    """
    handlers: dict[str, Handler] = {"likes": Likes(), "impressions": Impressions()}
    if kinds:
        handlers["--kinds"] = Kinds(kinds)
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        if entry_point.name in handlers:
            continue
        try:
            handler = entry_point.load()()
        except Exception as error:
            raise HandlerError(f"handler {entry_point.name}: {type(error).__name__}: {error}") from error
        if not isinstance(handler, Handler):
            raise HandlerError(f"handler {entry_point.name}: {entry_point.value} has no kinds, counts, increments")
        handlers[entry_point.name] = handler
    return handlers


def columns(rows: Iterable[Counts], known: Iterable[str]) -> tuple[str, ...]:
    """The count names for a table of `rows`: the known ones in their order, then any others by name."""
    names = list(known)
    others = set().union(*rows).difference(names)
    return (*names, *sorted(others))
