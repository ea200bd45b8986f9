"""Answers that are repeated as long as nothing that they depend on has changed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable

import attrs
import trio

from likd.web.answers import Answer
from likd.web.problems import Problem

KEPT_SECONDS = 1.0
KEPT_BYTES_MAX = 1 << 23
_ANSWER_BYTES = 4096
"""The memory that an answer takes besides its body, with two URLs of the greatest length in its key."""


@attrs.define(eq=False)
class _Look:
    """An answer that somebody is working out, and that others wait for."""

    position: Hashable
    answer: Answer | None = None
    problem: Problem | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)


class Kept:
    """Answers for one `position` of everything that they depend on; it moves before a change is acknowledged.

    So nobody gets less than was acknowledged before they asked. Changes that move no position, such as the removal of
    old history, show after a second.
    """

    def __init__(self, position: Callable[[], Hashable], clock: Callable[[], float] = time.monotonic) -> None:
        self._position = position
        self._clock = clock
        self._at = position()
        self._until = 0.0
        self._answers: dict[Hashable, Answer] = {}
        self._bytes = 0
        self._looks: dict[Hashable, _Look] = {}

    def get(self, key: Hashable) -> Answer | None:
        """The answer to `key`, if it is kept and still valid."""
        if self._answers and (self._clock() >= self._until or self._at != self._position()):
            self._clear()
        return self._answers.get(key)

    async def ask(self, key: Hashable, look: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to `key`: a kept one, or the result of `look`. Raises Problem if `look` does.

        Callers who ask while a look at the same is running share it, if nothing has moved since it began.
        """
        while True:
            kept = self.get(key)
            if kept is not None:
                return kept
            position = self._position()
            shared = self._looks.get(key)
            if shared is None or shared.position != position:
                return await self._look(key, position, look)
            await shared.ended.wait()
            if shared.problem is not None:
                raise shared.problem
            if shared.answer is not None:
                return shared.answer
            # The task that looked was cancelled.

    async def _look(self, key: Hashable, position: Hashable, look: Callable[[], Awaitable[Answer]]) -> Answer:
        mine = self._looks[key] = _Look(position)
        try:
            mine.answer = await look()
            self._keep(key, mine.answer, position)
            return mine.answer
        except Problem as problem:
            mine.problem = problem
            raise
        finally:
            if self._looks.get(key) is mine:
                del self._looks[key]
            mine.ended.set()

    def _keep(self, key: Hashable, answer: Answer, position: Hashable) -> None:
        """Keep an answer that was worked out at `position`, if that has not moved since."""
        size = len(answer.body) + _ANSWER_BYTES
        if position != self._position() or size > KEPT_BYTES_MAX:
            return
        if self._at != position or self._bytes + size > KEPT_BYTES_MAX:
            self._clear()
        if not self._answers:
            self._at, self._until = position, self._clock() + KEPT_SECONDS
        if key not in self._answers:
            self._bytes += size
        self._answers[key] = answer

    def _clear(self) -> None:
        self._answers.clear()
        self._bytes = 0
