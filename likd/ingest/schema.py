"""Events as clients write them: what an event looks like, and the errors of invalid ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from likd.errors import LikdError
from likd.ingest.urls import UrlRules

ACTOR_BYTES_MAX = 128
EVENT_COUNT_MAX = 1_000_000
"""The largest count of one event."""
COUNT_MAX = 2**53
"""The largest starting count: every JSON reader can represent it exactly."""

_FIELD = re.compile(r"\$(?:\[(?P<index>\d{1,12})\])?(?:\.(?P<field>\w+))?")
_EXPECTED_COUNT = f"a whole number from 1 to {EVENT_COUNT_MAX}"
_NAMED = re.compile(r"(?:required|unknown) field `(?P<field>[^`]*)`")


class IngestError(LikdError):
    """A body is refused: it is `malformed` and could not be read, or an event in it is invalid."""

    def __init__(
        self,
        detail: str,
        *,
        malformed: bool = False,
        line: int | None = None,
        index: int | None = None,
        field: str | None = None,
        expected: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.malformed = malformed
        self.place = {"line": line, "index": index, "field": field, "expected": expected}


class ActorMissing(IngestError):
    """A like without an actor, although each needs one."""

    def __init__(self) -> None:
        expected = f"the visitor's own id, text of 1 to {ACTOR_BYTES_MAX} bytes; or a write token"
        super().__init__("a like without an actor is not counted here", field="actor", expected=expected)


class CountRefused(IngestError):
    """An event with a count, from a caller who may not send counts."""

    def __init__(self) -> None:
        super().__init__("a count needs a write token", field="count", expected="no count, or a write token")


class TooManyUrls(LikdError):
    """A body has events for more URLs than allowed."""


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """One event as sent."""

    kind: str
    url: str
    actor: str | None = None
    count: int | None = None


decode_event = msgspec.json.Decoder(Event).decode
decode_events = msgspec.json.Decoder(list[Event]).decode


class Checker:
    """Checks the fields of events of the given `kinds`, with URLs as `canonical` counts them."""

    def __init__(self, kinds: frozenset[str], canonical: UrlRules, done: Mapping[str, str]) -> None:
        self._kinds = kinds
        self.done = done
        """Kinds of which an actor has at most one per URL, and those that take them back, each with the former."""
        self._canonical = canonical
        self._expected_kinds = f"one of {', '.join(sorted(kinds))}"

    def check(self, kind: str, url: str) -> tuple[str, str]:
        """The kind, and the URL that the event's URL counts as. Raises IngestError."""
        if kind not in self._kinds:
            raise IngestError(f"kind is {short(kind)}", field="kind", expected=self._expected_kinds)
        try:
            return kind, self._canonical(url)
        except ValueError as error:
            expected = str(error).removeprefix("expected ")
            raise IngestError(f"url is {short(url)}", field="url", expected=expected) from None

    def check_all(self, kinds: list[str], urls: list[str]) -> list[str]:
        """What the URLs of all these events count as. Raises ValueError if any event is invalid."""
        if not self._kinds.issuperset(kinds):
            raise ValueError("a kind is unknown")
        return self._canonical.all(urls)


def too_long(bytes_max: int, line: int | None = None) -> IngestError:
    """The error of a line that is too long for an event."""
    return IngestError(f"an event is larger than {bytes_max} bytes", malformed=True, line=line)


def check_actor(actor: str) -> str:
    """`actor`, if it is valid. Raises IngestError."""
    try:
        length = len(actor.encode())
    except UnicodeEncodeError:
        length = 0
    if not 1 <= length <= ACTOR_BYTES_MAX:
        raise IngestError(f"actor is {short(actor)}", field="actor", expected=f"text of 1 to {ACTOR_BYTES_MAX} bytes")
    return actor


def check_count(event: Event) -> int:
    """How many times `event` happened. Raises IngestError."""
    if event.count is None:
        return 1
    if event.actor is not None:
        raise IngestError("an event with an actor happens once", field="count", expected="no count, or no actor")
    if not 1 <= event.count <= EVENT_COUNT_MAX:
        raise IngestError(f"count is {short(str(event.count))}", field="count", expected=_EXPECTED_COUNT)
    return event.count


def explain(error: msgspec.DecodeError | UnicodeDecodeError) -> IngestError:
    """The error of a body that msgspec can't decode."""
    if isinstance(error, UnicodeDecodeError):
        return IngestError("the text is not UTF-8", malformed=True)
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return IngestError(message, malformed=True)
    what, _, where = message.partition(" - at ")
    place = _FIELD.match(where.strip("`"))
    named = _NAMED.search(what)
    index = place["index"] if place else None
    field = named["field"] if named else place["field"] if place else None
    expected = "fields kind, url" if named else _EXPECTED_COUNT if field == "count" else _expected(what)
    # Both may contain a field's name as the client wrote it.
    detail, field = short(what.replace("`", ""))[1:-1], field and short(field)[1:-1]
    return IngestError(detail, index=int(index) if index else None, field=field, expected=expected)


def _expected(what: str) -> str:
    return what.partition(",")[0].removeprefix("Expected ").replace("`", "").replace(" | null", "")


def short(text: str) -> str:
    """`text` as ASCII, cut to a length that fits a message."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
