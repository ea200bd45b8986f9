"""Posted events, from any lane: offered to the intake, and answered once they are settled."""

from __future__ import annotations

from likd.counting.intake import Intake
from likd.durability.idempotency import KeyReused
from likd.errors import StoreError
from likd.model import IMPRESSION, Accepted, Outcome, Submission
from likd.runtime.cooperative import finish, finish_in_turns
from likd.web.access.caller import Caller
from likd.web.access.visitors import Visitors
from likd.web.answers import Answer, EventHeaders, answer_problem
from likd.web.api.event_bodies import EventBodies
from likd.web.api.urls import Urls
from likd.web.problems import Problem, store_away


class Posting:
    """Posts events. Every error of a client raises Problem."""

    def __init__(self, *, intake: Intake, bodies: EventBodies, urls: Urls, visitors: Visitors) -> None:
        self._intake = intake
        self._bodies = bodies
        self._urls = urls
        self._visitors = visitors

    def read(self, body: bytes, headers: EventHeaders, caller: Caller) -> Submission:
        """The events in a request body, not yet offered."""
        return finish(self._bodies.read(body, headers, caller))

    async def submit_long(self, body: bytes, headers: EventHeaders, caller: Caller) -> Submission:
        """Read and offer a body that takes long to read; other tasks get their turns meanwhile."""
        return await self.submit(await finish_in_turns(self._bodies.read(body, headers, caller)))

    async def submit(self, submission: Submission) -> Submission:
        """Offer a submission once it is known what its actors did before. The returned one will be settled."""
        try:
            return self._follow(submission, await self._intake.submit(submission))
        except StoreError as error:
            raise store_away(error) from None
        except KeyReused:
            raise _key_reused() from None

    def submit_nowait(self, submission: Submission) -> Submission | None:
        """The same; for events that need no look into the store."""
        try:
            answering = self._intake.submit_nowait(submission)
        except KeyReused:
            raise _key_reused() from None
        return None if answering is None else self._follow(submission, answering)

    def see(self, url: str, caller: Caller) -> Submission:
        """Offer an impression of `url`, as an event that was posted."""
        href = self._urls.writable(url, caller)
        looks = self._visitors.looks(caller.visitor)
        seen = self.submit_nowait(
            Submission({IMPRESSION: {href: 1}}, 1) if looks else Submission({}, 1, ignored=1),
        )
        assert seen is not None, "events without actors need no look into the store"
        return seen

    def answer(self, outcome: Outcome, ignored: int = 0) -> Answer:
        """The answer to a settled submission, `ignored` of whose events do not count."""
        if isinstance(outcome, Accepted):
            if ignored:
                return Answer(202, b'{"accepted":%d,"ignored":%d}' % (outcome.events, ignored))
            return Answer(202, b'{"accepted":%d}' % outcome.events)
        retry = {"Retry-After": str(outcome.retry_after)}
        if outcome.certain:
            return answer_problem(Problem(503, outcome.reason, headers=retry))
        detail = f"{outcome.reason}; it may be counted after a crash, unless it is retried with its Idempotency-Key"
        return answer_problem(Problem(500, detail, headers=retry))

    def _follow(self, submission: Submission, answering: Submission) -> Submission:
        if submission.ignored:
            answering.on_settled(lambda outcome: self._visitors.ignore(submission.ignored, outcome))
        return answering


def _key_reused() -> Problem:
    return Problem(
        422,
        "this Idempotency-Key was already used with another body",
        members={"field": "Idempotency-Key", "expected": "a new key for a new body"},
    )
