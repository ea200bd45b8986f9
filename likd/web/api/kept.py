"""Answers that are given again as long as nothing that they tell of has moved."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from likd.web.answers import Answer

KEPT_SECONDS = 1.0
KEPT_BYTES_MAX = 1 << 23
_ANSWER_BYTES = 4096
"""What an answer takes besides its body, with two URLs as long as they may be in its key."""


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

    @property
    def position(self) -> Hashable:
        """Where things are now: an answer may be kept with this if it was taken before anything of it was read."""
        return self._position()

    def get(self, key: Hashable) -> Answer | None:
        """The answer to `key`, if it is known and holds."""
        if self._answers and (self._clock() >= self._until or self._at != self._position()):
            self._clear()
        return self._answers.get(key)

    def keep(self, key: Hashable, answer: Answer, position: Hashable) -> None:
        """Give `answer` again to whoever asks for `key`, as long as all is where it was at `position`."""
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
