"""Ingest: turns a request body into coalesced events, or an error that says what is wrong and where."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, islice
from operator import itemgetter
from typing import cast

import msgspec

from likd.ingest.actor_events import LIKED, OPEN_TERMS, ActorKey, Terms, read_in_order
from likd.ingest.arrays import WINDOW_BYTES, read_array
from likd.ingest.bodies import (
    OBJECT_BYTES_MAX,
    PIECE_BYTES_MAX,
    LongPiece,
    count_pieces,
    line_of,
    lines_until,
    strip,
    without_bom,
)
from likd.ingest.remembered import CACHED_BYTES_MAX, Remembered
from likd.ingest.schema import Checker, Event, IngestError, TooManyUrls, decode_event, decode_events, explain, too_long
from likd.ingest.urls import UrlRules
from likd.model import ActorEvent, Events
from likd.runtime.cooperative import SLICE_BYTES, Steps

SMALL_BYTES_MAX = 1 << 16
SLICE_EVENTS = 500
"""How many pieces a step adds up, about a millisecond's worth."""
SLICE_CHECKS = 200
"""How many URLs are checked one by one in a step."""

_WHITESPACE = b" \t\r\n"
_BLANKS = (b" ", b"\t", b"\r", b"\n")


class _BadPiece(Exception):
    """A piece of a body is not an event."""

    def __init__(self, piece: bytes, error: IngestError) -> None:
        super().__init__(piece)
        self.piece = piece
        self.error = error


class _InOrder(Exception):
    """Some event of a body has an actor or a count."""


def _add(events: Events, kind: str, found: Sequence[str | None], times: Sequence[int], unknown: int) -> None:
    """Add `times` to the URLs that were found, all but `unknown`, at C speed if all of them are new."""
    new = dict(zip(found, times, strict=True))
    new.pop(None, None)
    urls = events.get(kind)
    if len(new) == len(found) - unknown and (urls is None or urls.keys().isdisjoint(new)):
        if urls is None:
            events[kind] = cast(dict[str, int], new)
        else:
            urls.update(cast(dict[str, int], new))
        return
    urls = events.setdefault(kind, {})
    for url, n in zip(found, times, strict=True):
        if url is not None:
            urls[url] = urls.get(url, 0) + n


class Ingest:
    """Reads bodies with events of the given `kinds`, with URLs as `canonical` counts them.

    Equal lines are counted as bytes and decoded once, and their contents are remembered for later requests.
    """

    def __init__(
        self,
        kinds: Iterable[str],
        canonical: UrlRules | None = None,
        actor_key: ActorKey | None = None,
        done: Mapping[str, str] = LIKED,
        urls_max: int = sys.maxsize,
    ) -> None:
        self._kinds = frozenset(kinds)
        self._urls_max = urls_max
        self._checker = Checker(self._kinds, canonical or UrlRules(), done)
        self._actor_key = actor_key or _no_key
        self._lines = Remembered(self._kinds, (b"", b""))
        self._elements = Remembered(self._kinds, (b"{", b"}"))

    def recall(self, body: bytes) -> tuple[str, str] | None:
        """The kind and URL of a single event, if the same bytes came before and are remembered."""
        return self._lines.get(body) if len(body) <= CACHED_BYTES_MAX else None

    def read(self, body: bytes, terms: Terms = OPEN_TERMS) -> Steps[tuple[Events, int, list[ActorEvent]]]:
        """The events of one JSON object, an array of objects or NDJSON. Raises IngestError, and TooManyUrls early.

        Returns those without an actor, the number of all events, and the acts. Reads in steps of about a millisecond.
        """
        body = without_bom(body)
        try:
            events, size = yield from self._read(body)
            if not (terms.actor_required or terms.actor) or events.keys().isdisjoint(self._checker.done):
                return events, size, []
        except _InOrder:
            pass
        return (yield from read_in_order(body, self._checker, self._actor_key, terms))

    def _read(self, body: bytes) -> Steps[tuple[Events, int]]:
        start = body if body[:1] not in _BLANKS else (yield from strip(body))
        if start.startswith(b"["):
            result = yield from self._read_array((yield from strip(start)))
        elif not start:
            result = {}, 0
        elif body.find(b"\n") not in (-1, len(body) - 1):
            result = yield from self._read_lines(body)
        else:
            if len(start) > PIECE_BYTES_MAX:
                raise too_long(PIECE_BYTES_MAX)
            kind, url = self._read_line(start)
            self._lines.remember(kind, [body], [url])
            result = {kind: {url: 1}}, 1
        return result

    def _read_lines(self, body: bytes) -> Steps[tuple[Events, int]]:
        if len(body) <= SMALL_BYTES_MAX and (known := self._recall_lines(body)) is not None:
            return known
        try:
            return (yield from self._add_up(body, b"\n", 0, len(body), self._lines))
        except LongPiece as long:
            line = 1 + (yield from lines_until(body, long.begin))
            raise too_long(PIECE_BYTES_MAX, line) from None
        except _BadPiece as bad:
            whole = self._read_one_object(body) if len(body) <= OBJECT_BYTES_MAX else None
            if whole is None:
                bad.error.place["line"] = yield from line_of(body, bad.piece)
                raise bad.error from None
            return whole

    def _recall_lines(self, body: bytes) -> tuple[Events, int] | None:
        """The events of two lines or more, if they are all known and of one kind."""
        lines = body.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for kind, known in self._lines.kinds.items():
            if lines[0] in known:
                try:
                    found = itemgetter(*lines)(known)
                except KeyError:
                    return None
                urls = dict.fromkeys(found, 1)
                return {kind: urls if len(urls) == len(found) else dict(Counter(found))}, len(found)
        return None

    def _read_array(self, body: bytes) -> Steps[tuple[Events, int]]:
        # Cut between objects, as common JSON writers separate them, the array is counted like lines. A cut
        # inside a string leaves a piece that is not JSON, and then the array is read the slow and exact way.
        for separator in (b"},{", b"}, {"):
            if body.startswith(b"[{") and body.endswith(b"}]") and body.find(separator, 0, WINDOW_BYTES) != -1:
                try:
                    return (yield from self._add_up(body, separator, 2, len(body) - 2, self._elements))
                except (_BadPiece, LongPiece):
                    break
        return (yield from self._read_whole_array(body))

    def _add_up(
        self, body: bytes, separator: bytes, begin: int, end: int, known: Remembered
    ) -> Steps[tuple[Events, int]]:
        """The events in the pieces of `body` from `begin` to `end`. Raises _BadPiece, LongPiece."""
        events: Events = {}
        size = 0
        while begin <= end:
            counted, begin = yield from count_pieces(body, separator, begin, end)
            size += yield from self._add_counted(events, counted, known)
            if sum(map(len, events.values())) > self._urls_max:
                raise TooManyUrls
        return events, size

    def _add_counted(self, events: Events, counted: Mapping[bytes, int], known: Remembered) -> Steps[int]:
        """Add the events of pieces to `events`, as often as each occurs. Returns their number. Raises _BadPiece."""
        size = 0
        left = iter(counted.items())
        while chunk := list(islice(left, SLICE_EVENTS)):
            pieces, times = [piece for piece, _ in chunk], [n for _, n in chunk]
            size += sum(times)
            for kind, memory in known.likeliest_first(pieces[0]):
                if memory.keys().isdisjoint(pieces):
                    continue
                found = list(map(memory.get, pieces))
                unknown = found.count(None)
                _add(events, kind, found, times, unknown)
                if not unknown:
                    break
                pieces = [piece for piece, url in zip(pieces, found, strict=True) if url is None]
                times = [n for n, url in zip(times, found, strict=True) if url is None]
            else:
                if sum(map(len, pieces)) <= 2 * SLICE_BYTES:
                    size -= self._add_unknown(events, pieces, times, known)
                else:
                    size -= yield from self._add_long(events, pieces, times, known)
            yield
        return size

    def _add_unknown(self, events: Events, pieces: list[bytes], times: list[int], known: Remembered) -> int:
        """Add the events of pieces that are read for the first time. Returns how many pieces were blank."""
        learned = self._learn(pieces, known.braces)
        if learned is None:
            return self._add_one_by_one(events, pieces, times, known)
        kinds, urls = learned
        for kind in set(kinds):
            wanted = [each == kind for each in kinds]
            mine = list(compress(urls, wanted))
            known.remember(kind, list(compress(pieces, wanted)), mine)
            _add(events, kind, mine, list(compress(times, wanted)), 0)
        return 0

    def _add_long(self, events: Events, pieces: list[bytes], times: list[int], known: Remembered) -> Steps[int]:
        """The same, each in a step of its own."""
        blank = 0
        for piece, n in zip(pieces, times, strict=True):
            blank += self._add_unknown(events, [piece], [n], known)
            yield
        return blank

    def _learn(self, pieces: list[bytes], braces: tuple[bytes, bytes]) -> tuple[list[str], list[str]] | None:
        """The kinds and URLs of `pieces`, decoded at once; None if one of them is in any way unusual.

        No string can extend from one piece into the next, because it would contain a newline. So if each piece begins
        and ends with its braces and there are as many events as pieces, each is one event.
        """
        left, right = braces
        text = b"[%b%b%b]" % (left, (right + b",\n" + left).join(pieces), right)
        if len(pieces) < 2 or text.count(b"},\n{") != len(pieces) - 1 or text[1:2] != b"{" or text[-2:-1] != b"}":
            return None
        try:
            decoded = decode_events(text)
            if len(decoded) != len(pieces):
                return None
            if {event.actor for event in decoded} != {None} or {event.count for event in decoded} != {None}:
                raise _InOrder
            kinds = [event.kind for event in decoded]
            return kinds, self._checker.check_all(kinds, [event.url for event in decoded])
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            return None

    def _add_one_by_one(self, events: Events, pieces: list[bytes], times: list[int], known: Remembered) -> int:
        blank = 0
        for piece, n in zip(pieces, times, strict=True):
            event = self._read_piece(piece, known.braces)
            if event is None:
                blank += n
                continue
            kind, url = event
            known.remember(kind, [piece], [url])
            urls = events.setdefault(kind, {})
            urls[url] = urls.get(url, 0) + n
        return blank

    def _read_piece(self, piece: bytes, braces: tuple[bytes, bytes]) -> tuple[str, str] | None:
        """The event in one piece, None if it is blank. Raises _BadPiece."""
        text = piece.join(braces).strip(_WHITESPACE)
        if not text:
            return None
        try:
            return self._read_line(text)
        except IngestError as error:
            raise _BadPiece(piece, error) from None

    def _read_one_object(self, body: bytes) -> tuple[Events, int] | None:
        """One object that spans several lines, if that is what `body` is."""
        try:
            event = decode_event(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        kind, url = self._check(event)
        return {kind: {url: 1}}, 1

    def _read_whole_array(self, body: bytes) -> Steps[tuple[Events, int]]:
        decoded = yield from read_array(body)
        counted: dict[tuple[str, str], list[int]] = {}
        for begin in range(0, len(decoded), SLICE_EVENTS):
            for index, event in enumerate(decoded[begin : begin + SLICE_EVENTS], start=begin):
                if event.actor is not None or event.count is not None:
                    raise _InOrder
                first_and_times = counted.setdefault((event.kind, event.url), [index, 0])
                first_and_times[1] += 1
            yield
        events: Events = {}
        for number, ((kind, url), (index, times)) in enumerate(counted.items(), start=1):
            try:
                _, href = self._checker.check(kind, url)
            except IngestError as error:
                error.place["index"] = index
                raise
            urls = events.setdefault(kind, {})
            urls[href] = urls.get(href, 0) + times
            if number % SLICE_CHECKS == 0:
                yield
        return events, len(decoded)

    def _read_line(self, line: bytes) -> tuple[str, str]:
        try:
            event = decode_event(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise explain(error) from None
        return self._check(event)

    def _check(self, event: Event) -> tuple[str, str]:
        if event.actor is not None or event.count is not None:
            raise _InOrder
        return self._checker.check(event.kind, event.url)


def _no_key(actor: str, url: str) -> bytes:
    raise IngestError("actors are not counted here", field="actor", expected="no actor")
