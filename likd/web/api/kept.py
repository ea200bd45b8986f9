"""Answers that are given again as long as nothing that they tell of has moved."""

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
"""What an answer takes besides its body, with two URLs as long as they may be in its key."""


@attrs.define(eq=False)
class _Look:
    """Somebody finds out an answer, which others wait for."""

    position: Hashable
    answer: Answer | None = None
    problem: Problem | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)


class Kept:
    """Answers of one `position`: that of all that they depend on, which moves before a change is acknowledged.

    So nobody is told less than was acknowledged before they asked. What has no position, such as what is removed for
    its age, is told with a second's delay.
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
        """The answer to `key`, if it is kept and holds."""
        if self._answers and (self._clock() >= self._until or self._at != self._position()):
            self._clear()
        return self._answers.get(key)

    async def ask(self, key: Hashable, look: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to `key`: one that is kept, or that of a `look`. Raises Problem, if that does.

        Who asks while nothing has moved since a look at the same began shares it.
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
            # Whoever looked was cancelled.

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
        """Keep an answer that was found out since all was at `position`, if it is there still."""
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
