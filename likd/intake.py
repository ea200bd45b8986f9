"""The intake: the one door by which submissions enter, in front of the event manager."""

from __future__ import annotations

import trio

from likd.bounds import Bounds
from likd.events import Accepted, Refused, Submission
from likd.keys import KeyWindow


class Intake:
    """Takes submissions for the event manager, as long as no bound is reached, each idempotency key once."""

    def __init__(self, *, submissions: trio.MemorySendChannel[Submission], bounds: Bounds, keys: KeyWindow) -> None:
        self._submissions = submissions
        self._bounds = bounds
        self._keys = keys
        self._closed = False

    def offer(self, submission: Submission) -> Submission:
        """Take `submission`, never waiting, and return the one that answers for it.

        That is itself, or an earlier one with the same idempotency key. It may be settled already: refused
        when a bound is reached. Raises KeyReused if the key came with another body before.
        """
        if submission.key is not None:
            answering = self._keys.claim(submission)
            if answering is not submission or submission.outcome is not None:
                return answering
        refused = Refused("the daemon is shutting down", 5) if self._closed else self._bounds.reached()
        if refused is not None:
            submission.settle(refused)
        elif not submission.size:
            submission.settle(Accepted(0))
        else:
            try:
                self._submissions.send_nowait(submission)
            except trio.WouldBlock:
                submission.settle(Refused("too many requests wait to be counted"))
        return submission

    @property
    def waiting(self) -> int:
        """Submissions that the event manager has not taken yet."""
        return self._submissions.statistics().current_buffer_used

    async def barrier(self) -> None:
        """Wait until everything taken so far belongs to its table."""
        submission = Submission({}, 0)
        await self._submissions.send(submission)
        await submission.settled()

    async def close(self) -> None:
        """Refuse everything from now on. What was taken is counted; then the event manager ends."""
        self._closed = True
        await self._submissions.aclose()
