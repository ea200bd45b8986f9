"""Bodies of POST /v1/events: turns bytes into a submission, step by step, for a caller that was let in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from likd.durability.idempotency import KEY, PUBLIC
from likd.ingest.bodies import ENCODINGS, BadEncoding, TooLarge, inflate
from likd.ingest.parser import Ingest
from likd.ingest.schema import IngestError, TooManyUrls, short
from likd.model import IMPRESSION, ActorEvent, Events, IdempotencyKey, Submission
from likd.runtime.cooperative import SLICE_BYTES, Steps, finish
from likd.web.access.caller import TOKEN, UNRESTRICTED, Caller
from likd.web.access.gate import PUBLIC_BODY_BYTES_MAX, Gate
from likd.web.access.tokens import Role
from likd.web.access.visitors import Visitors
from likd.web.answers import MEDIA_TYPES, EventHeaders
from likd.web.problems import Problem

ACTS_MAX = 100_000
"""The most events with actors in one request."""
SLICE_ACTS = 5000
"""Events with actors whose URLs are resolved in one step."""

FORM = "application/x-www-form-urlencoded"


class EventBodies:
    """Reads bodies of at most `body_bytes_max`, with at most `urls_max` URLs. Raises Problem.

    Those read at the same time are inflated to at most `bodies_bytes_max` together.
    """

    def __init__(
        self,
        *,
        ingest: Ingest,
        gate: Gate,
        visitors: Visitors,
        body_bytes_max: int,
        bodies_bytes_max: int,
        urls_max: int,
    ) -> None:
        self._ingest = ingest
        self._gate = gate
        self._visitors = visitors
        self._body_bytes_max = body_bytes_max
        self._inflated = 0
        self._inflated_max = bodies_bytes_max
        self._urls_max = urls_max
        self.recall = ingest.recall
        """The kind and URL of a body that is a single event, if the same bytes came before and are remembered."""

    def read(self, body: bytes, headers: EventHeaders, caller: Caller) -> Steps[Submission]:
        """The events in a request body, not yet offered."""
        if headers.media_type not in MEDIA_TYPES:
            raise _media_type(headers)
        if len(body) > self.limit(caller):
            raise self.too_large(caller)
        _check_key(headers.idempotency_key)
        encoding = _encoding(headers)
        inflated = 0

        def grow(size: int) -> None:
            nonlocal inflated
            inflated += size
            self._inflated += size
            if self._inflated > self._inflated_max:
                raise Problem(503, "too many request bodies are being inflated", headers={"Retry-After": "1"})

        try:
            if encoding:
                body = yield from inflate(body, self.limit(caller), grow, encoding)
            key = None
            if headers.idempotency_key is not None:
                # Of the decoded body: a retry may be compressed differently.
                key = yield from _key(headers.idempotency_key, body, caller)
            events, size, acts = yield from self._ingest.read(body, self._visitors.terms(caller.visitor))
        except TooLarge:
            raise self.too_large(caller) from None
        except TooManyUrls:
            raise _too_many("URLs", self._urls_max) from None
        except BadEncoding as error:
            raise Problem(400, str(error)) from None
        except IngestError as error:
            self._gate.tell_event(caller, error)
            raise Problem(400 if error.malformed else 422, error.detail, members=error.place) from None
        finally:
            self._inflated -= inflated
        return (yield from self._submission(events, size, acts, key, caller))

    def _submission(
        self, events: Events, size: int, acts: Sequence[ActorEvent], key: IdempotencyKey | None, caller: Caller
    ) -> Steps[Submission]:
        """The events that the caller may post and that are to be counted."""
        if caller is not UNRESTRICTED:
            self._gate.check_events(caller, events, acts, size)
        if len(acts) > ACTS_MAX:
            raise _too_many("events of actors", ACTS_MAX)
        ignored = 0
        if IMPRESSION in events and not self._visitors.looks(caller.visitor):
            ignored = sum(events.pop(IMPRESSION).values())
        act_urls = yield from _count_urls(acts)
        submission = Submission(events, size, key, acts=acts, ignored=ignored, act_urls=act_urls)
        if submission.urls > self._urls_max:
            raise _too_many("URLs", self._urls_max)
        return submission

    def limit(self, caller: Caller) -> int:
        """How large this caller's body may be, before and after inflation."""
        return min(PUBLIC_BODY_BYTES_MAX, self._body_bytes_max) if caller.role is Role.PUBLIC else self._body_bytes_max

    def too_large(self, caller: Caller) -> Problem:
        """The problem of a body over the limit."""
        return Problem(413, f"the body is larger than {self.limit(caller)} bytes")


def _media_type(headers: EventHeaders) -> Problem:
    hint = ""
    if headers.media_type == FORM:
        # The content type that curl -d gives to everything.
        hint = ": with curl, add -H 'Content-Type: application/json' or use --json instead of -d"
    return Problem(
        415,
        f"content type {short(headers.content_type)} is not supported{hint}",
        members={"expected": "application/json, application/x-ndjson or text/plain"},
    )


def _encoding(headers: EventHeaders) -> str:
    """The encoding of the body, "" if there is none."""
    encoding = headers.content_encoding.strip().lower()
    encoding = "gzip" if encoding == "x-gzip" else encoding
    if encoding in ENCODINGS:
        return encoding
    if encoding not in ("", "identity"):
        raise Problem(
            415,
            f"content encoding {short(encoding)} is not supported",
            headers={"Accept-Encoding": ", ".join(ENCODINGS)},
            members={"expected": f"{', '.join(ENCODINGS)} or identity"},
        )
    return ""


def _check_key(key: str | None) -> None:
    if key is not None and not KEY.fullmatch(key):
        raise Problem(
            400,
            "the Idempotency-Key is invalid",
            members={
                "field": "Idempotency-Key",
                "expected": "1 to 128 printable ASCII characters without spaces",
            },
        )


def _too_many(what: str, limit: int) -> Problem:
    return Problem(413, f"the body has more than {limit} {what}", members={"expected": f"at most {limit} {what}"})


def _count_urls(acts: Sequence[ActorEvent]) -> Steps[int]:
    urls: set[str] = set()
    for begin in range(0, len(acts), SLICE_ACTS):
        if begin:
            yield
        urls.update([act.url for act in acts[begin : begin + SLICE_ACTS]])
    return len(urls)


def _key(key: str, body: bytes, caller: Caller) -> Steps[IdempotencyKey]:
    digest = hashlib.blake2b(digest_size=16)
    for begin in range(0, len(body), SLICE_BYTES):
        digest.update(body[begin : begin + SLICE_BYTES])
        yield
    return IdempotencyKey(f"{_owner(caller)} {key}", digest.digest())


def once(key: str, what: str, caller: Caller) -> IdempotencyKey:
    """The key of a request whose body is not events. Raises Problem."""
    _check_key(key)
    return finish(_key(key, what.encode(), caller))


def _owner(caller: Caller) -> str:
    """The owner of a key: one token, all public callers together, or everyone if nobody needs a token."""
    if caller.role is Role.PUBLIC:
        return PUBLIC
    return caller.name if caller.name.startswith(TOKEN) else "local"
