"""What the HTTP API does, whichever lane a request comes by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from likd.counting.actors import Actors
from likd.counting.intake import Intake
from likd.durability.idempotency import KEY, PUBLIC, KeyReused
from likd.ingest.actor_events import ActorKey
from likd.ingest.bodies import ENCODINGS, BadEncoding, TooLarge, inflate
from likd.ingest.parser import Ingest
from likd.ingest.schema import IngestError, TooManyUrls, short
from likd.ingest.urls import EXPECTED, UrlRules, canonical
from likd.model import (
    IMPRESSION,
    IMPRESSIONS,
    LIKES,
    UNLIKES,
    Accepted,
    Act,
    Counts,
    IdempotencyKey,
    Outcome,
    Submission,
    host_of,
)
from likd.plugins.handlers import Handlers
from likd.queries.top_lists import NET, TopLists
from likd.queries.totals import NO_OLD_NAMES, OldNames, Totals
from likd.runtime.cooperative import SLICE_BYTES, Steps, finish, finish_in_turns
from likd.stores.protocol import StoreError
from likd.web.access.gate import PUBLIC_BODY_BYTES_MAX, TOKEN, UNRESTRICTED, Caller, Gate
from likd.web.access.tokens import Role
from likd.web.access.visitors import Visitors
from likd.web.answers import MEDIA_TYPES, Answer, EventHeaders, answer_problem, tagged
from likd.web.problems import Problem

COUNT_URLS_MAX = 1000
TOP_LIMIT_MAX = 1000
ACTS_MAX = 100_000
"""Events of actors in one request."""
SLICE_ACTS = 5000
"""Acts whose URLs are counted in one step."""

FORM = "application/x-www-form-urlencoded"

_HEALTH = Answer(200, b'{"status":"ok"}')


class Operations:
    """The operations of the API on the daemon's parts. They raise Problem for everything a client can do wrong."""

    def __init__(
        self,
        *,
        intake: Intake,
        handlers: Handlers,
        totals: Totals,
        actors: Actors,
        top: TopLists,
        gate: Gate,
        visitors: Visitors,
        canonical: UrlRules,
        actor_key: ActorKey,
        body_bytes_max: int,
        bodies_bytes_max: int,
        urls_max: int,
    ) -> None:
        self._intake = intake
        self._ingest = Ingest(handlers.kinds, canonical, actor_key, handlers.done, urls_max)
        self._actors = actors
        self._gate = gate
        self._visitors = visitors
        self.canonical = canonical
        self._totals = totals
        self._top = top
        self.body_bytes_max = body_bytes_max
        self._inflated = 0
        self._inflated_max = bodies_bytes_max
        self._urls_max = urls_max
        self._names = handlers.counts
        self.recall = self._ingest.recall
        """Kind and URL of a body that is a single event and came in these bytes before, if they are remembered."""

    def read(self, body: bytes, headers: EventHeaders, caller: Caller) -> Submission:
        """The events of a request body, yet to be offered."""
        return finish(self._read(body, headers, caller))

    async def submit_long(self, body: bytes, headers: EventHeaders, caller: Caller) -> Submission:
        """Read and offer a body that takes long to read: other tasks get their turns meanwhile."""
        return await self.submit(await finish_in_turns(self._read(body, headers, caller)))

    async def submit(self, submission: Submission) -> Submission:
        """Offer a submission once it is known what its actors did before. The one that is returned will be settled."""
        try:
            await self._actors.load(submission)
        except StoreError as error:
            raise store_away(error) from None
        return self._offer(submission)

    def submit_nowait(self, submission: Submission) -> Submission | None:
        """The same, if that needs no look into the store."""
        return self._offer(submission) if self._actors.hold(submission) else None

    def see(self, url: str, caller: Caller) -> Submission:
        """Offer an impression of `url`, as an event that was posted."""
        (href,) = self.readable([url], caller)
        looks = self._visitors.looks(caller.visitor)
        seen = self.submit_nowait(
            Submission({IMPRESSION: {href: 1}}, 1) if looks else Submission({}, 1, ignored=1),
        )
        assert seen is not None, "events without actors need no look into the store"
        return seen

    def _read(self, body: bytes, headers: EventHeaders, caller: Caller) -> Steps[Submission]:
        if headers.media_type not in MEDIA_TYPES:
            raise _media_type(headers)
        if len(body) > self.body_limit(caller):
            raise self.too_large(caller)
        if headers.idempotency_key is not None and not KEY.fullmatch(headers.idempotency_key):
            raise Problem(
                400,
                "the Idempotency-Key can't be used",
                members={
                    "field": "Idempotency-Key",
                    "expected": "1 to 128 printable ASCII characters without spaces",
                },
            )
        encoding = headers.content_encoding.strip().lower()
        encoding = "gzip" if encoding == "x-gzip" else encoding
        inflated = 0

        def grow(size: int) -> None:
            nonlocal inflated
            inflated += size
            self._inflated += size
            if self._inflated > self._inflated_max:
                raise Problem(503, "too many request bodies are being inflated", headers={"Retry-After": "1"})

        try:
            if encoding in ENCODINGS:
                body = yield from inflate(body, self.body_limit(caller), grow, encoding)
            elif encoding not in ("", "identity"):
                raise Problem(
                    415,
                    f"content encoding {short(encoding)} is not understood",
                    headers={"Accept-Encoding": ", ".join(ENCODINGS)},
                    members={"expected": f"{', '.join(ENCODINGS)} or identity"},
                )
            key = None
            if headers.idempotency_key is not None:
                # Of what the body says: the same may come compressed anew.
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

    def _offer(self, submission: Submission) -> Submission:
        try:
            answering = self._intake.offer(submission)
        except KeyReused:
            self._actors.release(submission)
            raise Problem(
                422,
                "this Idempotency-Key came with another body before",
                members={"field": "Idempotency-Key", "expected": "a new key for a new body"},
            ) from None
        if submission.ignored:
            answering.on_settled(lambda outcome: self._visitors.ignore(submission.ignored, outcome))
        if submission.acts:
            self._actors.release_when_settled(submission, answering)
        return answering

    def health(self) -> Answer:
        """The process serves."""
        return _HEALTH

    def body_limit(self, caller: Caller) -> int:
        """How large a body of this caller may be, also after inflation."""
        return min(PUBLIC_BODY_BYTES_MAX, self.body_bytes_max) if caller.role is Role.PUBLIC else self.body_bytes_max

    def too_large(self, caller: Caller) -> Problem:
        """The problem of a body over the limit."""
        return Problem(413, f"the body is larger than {self.body_limit(caller)} bytes")

    def answer(self, outcome: Outcome, ignored: int = 0) -> Answer:
        """The answer to a submission that is settled, of whose events so many are `ignored`."""
        if isinstance(outcome, Accepted):
            if ignored:
                return Answer(202, b'{"accepted":%d,"ignored":%d}' % (outcome.events, ignored))
            return Answer(202, b'{"accepted":%d}' % outcome.events)
        retry = {"Retry-After": str(outcome.retry_after)}
        if outcome.certain:
            return answer_problem(Problem(503, outcome.reason, headers=retry))
        detail = f"{outcome.reason}; it may be counted after a crash, unless it is sent again with its Idempotency-Key"
        return answer_problem(Problem(500, detail, headers=retry))

    def counts_nowait(self, urls: Sequence[str], caller: Caller, *, partial: bool = False) -> Answer | None:
        """The counts of `urls`, if that needs no look into the store."""
        found: list[dict[str, Any]] = []
        hrefs = self._asked(urls, caller, partial)
        also = self.old_names(urls, hrefs)
        for url, href in zip(urls, hrefs, strict=True):
            if isinstance(href, Problem):
                found.append(refused(url, href))
                continue
            counts = self._totals.counts_nowait(href, also)
            if counts is None:
                return None
            found.append(self.row(href, counts))
        return Answer(200, msgspec.json.encode({"counts": found}))

    async def counts(self, urls: Sequence[str], caller: Caller, *, partial: bool = False) -> Answer:
        """The counts of `urls`, in their order, under the names they were asked by.

        If `partial`, each URL is answered by itself: a problem stands in the place of one that can't be read.
        """
        hrefs = self._asked(urls, caller, partial)
        try:
            known = list(dict.fromkeys(href for href in hrefs if isinstance(href, str)))
            totals = await self._totals.counts(known, self.old_names(urls, hrefs))
        except StoreError as error:
            raise store_away(error) from None
        found = [
            refused(url, href) if isinstance(href, Problem) else self.row(href, totals[href])
            for url, href in zip(urls, hrefs, strict=True)
        ]
        return Answer(200, msgspec.json.encode({"counts": found}))

    async def top(self, by: str, limit: str) -> Answer:
        """The top list."""
        by = self.check_by(by)
        try:
            ranked = await self._top(by, self.check_limit(limit))
        except StoreError as error:
            raise store_away(error) from None
        rows = [self.row(url, counts) for url, counts in ranked]
        return tagged(Answer(200, msgspec.json.encode({"by": by, "top": rows})))

    def row(self, url: str, counts: Counts) -> dict[str, Any]:
        """The counts of one URL as the API shows them."""
        likes, unlikes = counts.get(LIKES, 0), counts.get(UNLIKES, 0)
        row: dict[str, Any] = {
            "url": url,
            "likes": likes,
            "unlikes": unlikes,
            "net": likes - unlikes,
            "impressions": counts.get(IMPRESSIONS, 0),
        }
        for name in self._names:
            row.setdefault(name, counts.get(name, 0))
        return row

    def check_by(self, by: str) -> str:
        """`by` if lists can be ranked by it."""
        if by not in self._names and by != NET:
            expected = f"one of {', '.join(sorted({*self._names, NET}))}"
            raise Problem(422, f"by is {short(by)}", members={"field": "by", "expected": expected})
        return by

    def check_limit(self, limit: str) -> int:
        """`limit` as a number within the limits of a top list."""
        if not (limit.isdecimal() and limit.isascii() and len(limit) <= 9 and 1 <= int(limit) <= TOP_LIMIT_MAX):
            expected = f"a whole number from 1 to {TOP_LIMIT_MAX}"
            raise Problem(422, f"limit is {short(limit)}", members={"field": "limit", "expected": expected})
        return int(limit)

    def readable(self, urls: Sequence[str], caller: Caller) -> list[str]:
        """What `urls` count as, if the caller may read them all."""
        if not 1 <= len(urls) <= COUNT_URLS_MAX:
            members: dict[str, object] = {"field": "url", "expected": f"1 to {COUNT_URLS_MAX} URLs"}
            raise Problem(422, f"{len(urls)} URLs are asked for", members=members)
        hrefs: list[str] = []
        for index, url in enumerate(urls):
            try:
                hrefs.append(self.canonical(url))
            except ValueError:
                members = {"index": index, "field": "url", "expected": EXPECTED}
                raise Problem(422, f"url is {short(url)}", members=members) from None
        self._gate.check_urls(caller, hrefs)
        return hrefs

    def readable_site(self, site: str, caller: Caller) -> str:
        """The host that `site` means, "" for all sites, if the caller may read its sums."""
        host = ""
        if site:
            try:
                host = host_of(self.canonical(f"http://{site}/"))
            except ValueError:
                raise wrong("site", site, "a host, such as example.com") from None
        self._gate.check_site(caller, host)
        return host

    def old_names(self, urls: Sequence[str], hrefs: Sequence[str | Problem]) -> OldNames:
        """While URLs are folded: under which other names that were asked for the store may still have `hrefs`.

        There may be more such names. But no name that was good before shows less than it did.
        """
        if not self._actors.folding:
            return NO_OLD_NAMES
        also: dict[str, list[str]] = {}
        for url, href in zip(urls, hrefs, strict=True):
            if isinstance(href, str) and (old := canonical(url)) != href:
                also.setdefault(href, []).append(old)
        return also

    def _asked(self, urls: Sequence[str], caller: Caller, partial: bool) -> Sequence[str | Problem]:
        if not partial or not 1 <= len(urls) <= COUNT_URLS_MAX:
            return self.readable(urls, caller)
        hrefs: list[str | Problem] = []
        for url in urls:
            try:
                hrefs += self.readable([url], caller)
            except Problem as problem:
                # Where it stands in the answer says which it is.
                problem.members.pop("index", None)
                hrefs.append(problem)
        return hrefs


def _media_type(headers: EventHeaders) -> Problem:
    hint = ""
    if headers.media_type == FORM:
        # What curl -d says of whatever it sends.
        hint = ": with curl add -H 'Content-Type: application/json', or use --json in place of -d"
    return Problem(
        415,
        f"content type {short(headers.content_type)} is not understood{hint}",
        members={"expected": "application/json, application/x-ndjson or text/plain"},
    )


def refused(url: str, problem: Problem) -> dict[str, object]:
    """What is told of a URL in the place of its counts."""
    return {"url": url, "problem": problem.about()}


def _too_many(what: str, limit: int) -> Problem:
    return Problem(413, f"the body has more than {limit} {what}", members={"expected": f"at most {limit} {what}"})


def _count_urls(acts: Sequence[Act]) -> Steps[int]:
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
    """The key of a request that is no body of events. Raises Problem."""
    if not KEY.fullmatch(key):
        members = {"field": "Idempotency-Key", "expected": "1 to 128 printable ASCII characters without spaces"}
        raise Problem(400, "the Idempotency-Key can't be used", members=members)
    return finish(_key(key, what.encode(), caller))


def _owner(caller: Caller) -> str:
    """Whose key it is: that of one token, of all public callers, or of whoever needs neither to be let in."""
    if caller.role is Role.PUBLIC:
        return PUBLIC
    return caller.name if caller.name.startswith(TOKEN) else "local"


def wrong(field: str, value: str, expected: str) -> Problem:
    """The problem of a parameter."""
    return Problem(422, f"{field} is {value[:80]!a}", members={"field": field, "expected": expected})


def store_away(error: StoreError) -> Problem:
    """The problem of a store that does not answer a read."""
    return Problem(503, f"the store does not answer: {error}", headers={"Retry-After": "1"})
