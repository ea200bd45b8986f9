"""Bodies with actors or counts, read event by event, because an actor's event depends on the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs
import msgspec

from likd.ingest.arrays import read_array
from likd.ingest.bodies import OBJECT_BYTES_MAX, PIECE_BYTES_MAX, strip
from likd.ingest.schema import (
    ActorMissing,
    Checker,
    CountRefused,
    Event,
    IngestError,
    check_actor,
    check_count,
    decode_event,
    explain,
    too_long,
)
from likd.model import LIKE, UNLIKE, ActorEvent, Events
from likd.runtime.cooperative import SLICE_BYTES, Steps

EVENT_WORK_BYTES = SLICE_BYTES // 200
"""Each event is at least as much work as this many bytes, however short it is."""

LIKED: Mapping[str, str] = {LIKE: LIKE, UNLIKE: LIKE}

ActorKey = Callable[[str, str], bytes]
"""The key of an actor and a URL."""


@attrs.frozen
class Terms:
    """The terms on which a caller's events are accepted."""

    actor_required: bool = False
    """Whether each like has to name an actor."""
    actor: str | None = None
    """The actor that all likes belong to, whatever actors they name."""
    counts: bool = True
    """Whether an event may stand for many."""


OPEN_TERMS = Terms()


@attrs.define
class _Read:
    terms: Terms
    events: Events = attrs.field(factory=dict)
    acts: list[ActorEvent] = attrs.field(factory=list)
    size: int = 0


def read_in_order(
    body: bytes, checker: Checker, actor_key: ActorKey, terms: Terms = OPEN_TERMS
) -> Steps[tuple[Events, int, list[ActorEvent]]]:
    """The events of one JSON object, an array or NDJSON: those without an actor, the number of all events, the acts.

    Raises IngestError.
    """
    read = _Read(terms)
    text = yield from strip(body)
    if text.startswith(b"["):
        items: Iterable[tuple[dict[str, int], bytes | Event]] = _elements((yield from read_array(text)))
    else:
        items = _lines(body, text)
    work = 0
    for place, item in items:
        work += EVENT_WORK_BYTES + (len(item) if isinstance(item, bytes) else 0)
        if work >= SLICE_BYTES:
            work = 0
            yield
        if isinstance(item, bytes) and not item.strip():
            continue
        try:
            event = decode_event(item) if isinstance(item, bytes) else item
            _add(read, event, checker, actor_key)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            bad = explain(error)
            bad.place.update(place)
            raise bad from None
        except IngestError as error:
            error.place.update(place)
            raise
    return read.events, read.size, read.acts


def _elements(decoded: list[Event]) -> Iterator[tuple[dict[str, int], Event]]:
    for index, event in enumerate(decoded):
        yield {"index": index}, event


def _lines(body: bytes, text: bytes) -> Iterator[tuple[dict[str, int], bytes | Event]]:
    if len(text) <= OBJECT_BYTES_MAX:
        try:
            # An object may span several lines.
            yield {}, decode_event(text)
            return
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    begin, number = 0, 1
    while begin <= len(body):
        end = body.find(b"\n", begin, begin + PIECE_BYTES_MAX + 1)
        if end == -1:
            end = len(body)
            if end - begin > PIECE_BYTES_MAX:
                raise too_long(PIECE_BYTES_MAX, number)
        yield {} if end - begin == len(body) else {"line": number}, body[begin:end]
        begin, number = end + 1, number + 1


def _add(read: _Read, event: Event, checker: Checker, actor_key: ActorKey) -> None:
    kind, url = checker.check(event.kind, event.url)
    read.size += 1
    times = check_count(event)
    if event.count is not None and not read.terms.counts:
        raise CountRefused
    actor = None if event.actor is None else check_actor(event.actor)
    done = checker.done.get(kind)
    if done is not None:
        actor = read.terms.actor or actor
        if actor is not None:
            about = b"" if done == LIKE else done.encode()
            read.acts.append(ActorEvent(kind, url, actor_key(actor, url) + about))
            return
        if read.terms.actor_required:
            raise ActorMissing
    urls = read.events.setdefault(kind, {})
    urls[url] = urls.get(url, 0) + times
