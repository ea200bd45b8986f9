"""Bodies with actors: read event by event, because what an actor's event changes depends on the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import msgspec

from likd.events import LIKE, UNLIKE, Act, Events
from likd.steps import Steps
from likd.wire import Checker, Event, IngestError, check_actor, decode_event, decode_events, explain

SLICE_EVENTS = 200

ActorKey = Callable[[str, str], bytes]
"""What an actor and a URL are known by."""


@attrs.define
class _Read:
    events: Events = attrs.field(factory=dict)
    acts: list[Act] = attrs.field(factory=list)
    size: int = 0


def read_in_order(body: bytes, checker: Checker, actor_key: ActorKey) -> Steps[tuple[Events, int, list[Act]]]:
    """The events of one JSON object, an array, or NDJSON: those without an actor, how many in all, the acts.

    Raises IngestError.
    """
    read = _Read()
    for place, item in _items(body):
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
        if read.size % SLICE_EVENTS == 0:
            yield
    return read.events, read.size, read.acts


def _items(body: bytes) -> Iterable[tuple[dict[str, int], bytes | Event]]:
    text = body.strip()
    if text.startswith(b"["):
        try:
            decoded = decode_events(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise explain(error) from None
        for index, event in enumerate(decoded):
            yield {"index": index}, event
        return
    try:
        # An object may be laid out over several lines.
        yield {}, decode_event(text)
        return
    except (msgspec.DecodeError, UnicodeDecodeError):
        lines = body.split(b"\n")
    alone = len(lines) == 1
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield {} if alone else {"line": number}, line


def _add(read: _Read, event: Event, checker: Checker, actor_key: ActorKey) -> None:
    kind, url = checker.check(event.kind, event.url)
    read.size += 1
    if event.actor is not None:
        actor = check_actor(event.actor)
        if kind in (LIKE, UNLIKE):
            read.acts.append(Act(kind, url, actor_key(actor, url)))
            return
    urls = read.events.setdefault(kind, {})
    urls[url] = urls.get(url, 0) + 1
