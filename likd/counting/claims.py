"""Claims: idempotency keys of requests, claimed in a store that nodes share before anything of them is counted."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import attrs
import structlog
import trio

from likd.durability.idempotency import KeyReused, KeyWindow
from likd.errors import StoreError
from likd.model import Accepted, IdempotencyKey, Outcome, Refused, Submission
from likd.runtime.backoff import Backoff
from likd.runtime.notice import Notice
from likd.stores.keys import Claim, KeyStore, Settled

CLAIMS_MAX = 1000
"""So many keys are claimed at once."""
RETRY_SECONDS = 0.2
RETRY_SECONDS_MAX = 10.0

log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class _Asked:
    key: IdempotencyKey
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: Claim | StoreError | None = None
    abandoned: bool = False


class KeyClaims:
    """Claims the keys of all requests that wait, in one transaction after the other, and notes what became of them.

    A key of which another node's request is not settled yet is refused: who tries again soon will know. So is every
    new key while the store is away. What is settled meanwhile is noted when it is back, or by the next life: what an
    earlier one claimed was taken if `window` has it, which its journal tells, and else is free.
    """

    def __init__(
        self,
        store: KeyStore,
        window: KeyWindow,
        *,
        window_seconds: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._window = window
        self._window_seconds = window_seconds
        self._jitter = jitter
        self._asked: deque[_Asked] = deque()
        self._done: dict[str, tuple[IdempotencyKey, int]] = {}
        self._released: dict[str, IdempotencyKey] = {}
        self._news = Notice()
        self._closed = False
        self._is_begun = False
        self.fault: str | None = None

    async def claim(self, submission: Submission) -> None:
        """Claim the key of `submission`, which is new to this node. It is settled then, if it is not to be counted.

        Raises KeyReused.
        """
        key = submission.key
        assert key is not None
        asked = _Asked(key)
        self._asked.append(asked)
        self._news.give()
        try:
            await asked.answered.wait()
        except trio.Cancelled:
            asked.abandoned = True
            if asked.answer == Claim("mine"):
                self._release(key)
            submission.settle(Refused("it was not waited for"))
            raise
        self._answer(submission, key, asked.answer)

    def _answer(self, submission: Submission, key: IdempotencyKey, answer: Claim | StoreError | None) -> None:
        if not isinstance(answer, Claim):
            submission.settle(Refused(f"idempotency keys are claimed in the store: {answer}"))
        elif answer.state == "mine":
            submission.on_settled(lambda outcome: self._settled(key, outcome))
        elif answer.state == "taken":
            submission.settle(Accepted(answer.events))
        elif answer.state == "pending":
            submission.settle(Refused("another node has a request with this idempotency key, and is not done"))
        else:
            submission.settle(Refused("the idempotency key came with another body before"))
            raise KeyReused

    def _settled(self, key: IdempotencyKey, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted):
            self._done[key.key] = key, outcome.events
            self._news.give()
        elif outcome.certain:
            self._release(key)
        # What a crash may count after all stays claimed until this node is asked again, or started.

    def _release(self, key: IdempotencyKey) -> None:
        self._released[key.key] = key
        self._news.give()

    def close(self) -> None:
        """There are no more claims: note what is settled, and end."""
        self._closed = True
        self._news.give()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until it is closed, and all is noted or the store fails after that."""
        task_status.started()
        backoff = Backoff(RETRY_SECONDS, RETRY_SECONDS_MAX, self._jitter)
        while True:
            while self._is_begun and not (self._asked or self._done or self._released or self._closed):
                await self._news.wait()
            try:
                await self._turn()
            except StoreError as error:
                if self.fault is None:
                    log.error("idempotency keys can't be claimed", fault=str(error))
                self.fault = str(error)
                if self._closed:
                    return
                # Who asks meanwhile is answered by another try, and nobody else is in a hurry.
                with trio.move_on_after(backoff.next()):
                    while not self._asked:
                        await self._news.wait()
            else:
                self.fault = None
                backoff.reset()
                if self._closed and not (self._asked or self._done or self._released):
                    return

    async def _turn(self) -> None:
        """Note and claim all that waits. What fails is settled later, and answered at once."""
        asked = [self._asked.popleft() for _ in range(min(len(self._asked), CLAIMS_MAX))]
        done, self._done = self._done, {}
        released, self._released = self._released, {}
        try:
            if not self._is_begun:
                await self._begin()
            settled = Settled(list(done.values()), list(released.values()))
            # Whoever gave up may have asked for the same key as who tries again.
            keys = {each.key.key: each.key for each in asked}
            claims = await self._store.claim_keys(list(keys.values()), settled, self._window_seconds)
        except BaseException as error:
            self._done = {**done, **self._done}
            # Whether they were claimed is not known: whoever is asked first, all are free before that.
            self._released = {**released, **{each.key.key: each.key for each in asked}, **self._released}
            for each in asked:
                each.answer = error if isinstance(error, StoreError) else StoreError("it was not asked")
                each.answered.set()
            raise
        answers = dict(zip(keys, claims, strict=True))
        awaited = {each.key.key for each in asked if not each.abandoned}
        for each in asked:
            answer = each.answer = answers[each.key.key]
            if each.abandoned and answer.state == "mine" and each.key.key not in awaited:
                self._release(each.key)
            each.answered.set()

    async def _begin(self) -> None:
        """Settle what earlier lives left."""
        left = [(key, self._window.events_of(key.key)) for key in await self._store.claims_left()]
        done = [(key, events) for key, events in left if events is not None]
        released = [key for key, events in left if events is None]
        await self._store.claim_keys([], Settled(done, released), self._window_seconds)
        self._is_begun = True
