"""The intake: the only way in for submissions, in front of the event manager."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from likd.counting.actors import Actors
from likd.counting.backpressure import Bounds
from likd.counting.claims import KeyClaims
from likd.durability.idempotency import KeyReused, KeyWindow
from likd.model import Accepted, Outcome, Refused, Submission

ACTS_TAKEN_MAX = 200_000
"""The most events with actors that are accepted but not settled: some hundred bytes each."""


@attrs.frozen
class IntakeStatistics:
    """The intake in numbers."""

    waiting: int
    """How many submissions the event manager has not taken yet."""


class Intake:
    """Accepts submissions for the event manager as long as no bound is reached, and each idempotency key only once.

    `free_counters` returns how many more URLs can be counted; submissions that are accepted but not settled need some
    of those. So the inbox is bounded by its URLs, too, not only by its requests. What `actors` did before is known
    before each submission is offered, and held until it is settled.
    """

    def __init__(
        self,
        *,
        submissions: trio.MemorySendChannel[Submission],
        bounds: Bounds,
        keys: KeyWindow,
        actors: Actors,
        free_counters: Callable[[], int],
        claims: KeyClaims | None = None,
    ) -> None:
        self._submissions = submissions
        self._bounds = bounds
        self._keys = keys
        self._actors = actors
        self._free_counters = free_counters
        self._claims = claims
        self._closed = False
        self._urls_taken = 0
        self._acts_taken = 0

    async def submit(self, submission: Submission) -> Submission:
        """Offer `submission` once it is known what its actors did before. Returns the one that answers for it.

        Raises StoreError, and KeyReused as `offer` does.
        """
        await self._actors.load(submission)
        if submission.key is None or self._claims is None:
            return self._offer_held(submission)
        try:
            answering = await self._claimed(submission, self._claims)
        except BaseException:
            self._actors.release(submission)
            raise
        if answering is submission and submission.outcome is None:
            self._accept(submission)
        return self._release_when_settled(submission, answering)

    def submit_nowait(self, submission: Submission) -> Submission | None:
        """The same if nobody has to be asked for it; else nothing is offered, and None returned. Raises KeyReused."""
        if submission.key is not None and self._claims is not None:
            return None
        return self._offer_held(submission) if self._actors.hold(submission) else None

    def _offer_held(self, submission: Submission) -> Submission:
        try:
            answering = self.offer(submission)
        except KeyReused:
            self._actors.release(submission)
            raise
        return self._release_when_settled(submission, answering)

    def _release_when_settled(self, submission: Submission, answering: Submission) -> Submission:
        if submission.acts:
            self._actors.release_when_settled(submission, answering)
        return answering

    def offer(self, submission: Submission) -> Submission:
        """Take `submission`, which must be held, without waiting, and return the one that answers for it.

        That is itself, or an earlier one with the same idempotency key. It may already be settled: refused if a bound
        is reached. Raises KeyReused if the key came before with another body.
        """
        if submission.key is not None:
            answering = self._keys.claim(submission)
            if answering is not submission or submission.outcome is not None:
                return answering
        self._accept(submission)
        return submission

    def _accept(self, submission: Submission) -> None:
        """Take a submission that answers for itself, or refuse it."""
        urls = submission.urls
        refused = self._refuse(urls, len(submission.acts))
        if refused is not None:
            submission.settle(refused)
        elif not submission.event_count:
            submission.settle(Accepted(0))
        else:
            try:
                self._submissions.send_nowait(submission)
            except trio.WouldBlock:
                submission.settle(Refused("too many requests are waiting to be counted"))
            else:
                self._take(submission, urls)

    def _refuse(self, urls: int, acts: int) -> Refused | None:
        if self._closed:
            return Refused("the daemon is shutting down", 5)
        refused = self._bounds.reached()
        if refused is not None:
            return refused
        if self._urls_taken + urls > self._free_counters():
            return self._bounds.refuse("counters")
        if self._acts_taken + acts > ACTS_TAKEN_MAX:
            return Refused("too many events with actors are waiting to be counted")
        return None

    def _take(self, submission: Submission, urls: int) -> None:
        acts = len(submission.acts)
        self._urls_taken += urls
        self._acts_taken += acts

        def settled(_: Outcome) -> None:
            self._urls_taken -= urls
            self._acts_taken -= acts

        submission.on_settled(settled)

    @property
    def waiting(self) -> int:
        """How many submissions the event manager has not taken yet."""
        return self._submissions.statistics().current_buffer_used

    def statistics(self) -> IntakeStatistics:
        """The intake in numbers."""
        return IntakeStatistics(self.waiting)

    async def claim(self, submission: Submission) -> Submission:
        """Which submission answers for the key of one that is ordered: an earlier one, or itself. Raises KeyReused."""
        if self._claims is None:
            return self._keys.claim(submission)
        return await self._claimed(submission, self._claims)

    async def _claimed(self, submission: Submission, claims: KeyClaims) -> Submission:
        """The same over all nodes. What is refused here anyhow, no other node is asked about."""
        answering = self._keys.claim(submission)
        if answering is not submission or submission.outcome is not None:
            return answering
        refused = self._refuse(submission.urls, len(submission.acts))
        if refused is not None:
            submission.settle(refused)
        else:
            await claims.claim(submission)
        return submission

    async def order(self, submission: Submission) -> None:
        """Take a submission to which no bound applies, once there is room. Raises trio.ClosedResourceError."""
        await self._submissions.send(submission)

    async def barrier(self) -> None:
        """Wait until everything taken so far has its table and is settled. Raises trio.ClosedResourceError."""
        submission = Submission({}, 0)
        await self.order(submission)
        await submission.settled()

    async def close(self) -> None:
        """Refuse everything from now on. What was accepted is counted; then the event manager ends."""
        self._closed = True
        await self._submissions.aclose()
