"""The write tolerance: a token bucket that says when rows may be written, and one that finds out how many."""

from __future__ import annotations

import trio

from likd.counting.waiting import TRANSACTION_ROWS_MAX

TRANSACTION_ROWS_MIN = 8192
"""This many rows may always be written together: fewer would help nobody, however low the rate."""

RATE_FIRST, RATE_MIN, RATE_MAX = 10_000.0, 500.0, 1_000_000.0
"""Rows a second that a tolerance that finds itself begins with, and between which it stays."""
GROWTH = 1000.0
SHRINK = 2 / 3
SHRINK_SECONDS = 1.0
SLOW = 2.5
"""So many times what a row takes at best is slow."""
ROWS_MIN = 500
"""A transaction with fewer rows is looked at as if it had so many."""
SECONDS_MIN = 0.005
FORGET_RATE = 1.01
"""By so much a second the best grows that was ever seen: it doubles in about a minute."""
ELAPSED_SECONDS_MAX = 5.0


class WriteTolerance:
    """Lets through `rows_per_second` on average, and one second's worth at once after a pause.

    A transaction is never split: one with more rows than there are tokens goes through once there are any, and the next
    waits until the debt is paid. So in any `t` seconds, at most (t + 1) * rows_per_second rows are begun, plus one
    transaction.
    """

    def __init__(self, rows_per_second: float) -> None:
        self.rows_per_second = rows_per_second
        self._tokens = rows_per_second
        self._was_reached = False
        self._at: float | None = None

    @property
    def transaction_rows_max(self) -> int:
        """Up to how many rows tables may be merged: a second's worth, within fixed limits."""
        return int(min(max(self.rows_per_second, TRANSACTION_ROWS_MIN), TRANSACTION_ROWS_MAX))

    def wrote(self, rows: int, seconds: float) -> None:
        """So many rows were written in one transaction, which took so long."""

    def failed(self) -> None:
        """The store did not take what it was given."""

    async def take(self, rows: int) -> None:
        """Wait until `rows` rows may be written, and count them as written."""
        await trio.lowlevel.checkpoint()
        self._refill()
        while self._tokens <= 0:
            self._was_reached = True
            await trio.sleep(-self._tokens / self.rows_per_second + 1e-6)
            self._refill()
        self._tokens -= rows

    def _refill(self) -> None:
        now = trio.current_time()
        if self._at is not None:
            earned = (now - self._at) * self.rows_per_second
            self._tokens = min(self.rows_per_second, self._tokens + earned)
        self._at = now


class FoundTolerance(WriteTolerance):
    """A tolerance that finds itself, as TCP finds its share of a line.

    While rows wait for it, it grows by `GROWTH` rows a second each second. When rows take longer than they did,
    because the store has other things to do as well, or when the store fails, it shrinks by a third, once a second at
    most. What a row takes at best is learnt anew within minutes, so that a store that has become slower for good is no
    reason to go on shrinking.
    """

    def __init__(self) -> None:
        super().__init__(RATE_FIRST)
        self._best: float | None = None
        self._told_at: float | None = None
        self._shrunk_at = -SHRINK_SECONDS

    def wrote(self, rows: int, seconds: float) -> None:
        """So many rows were written in one transaction, which took so long."""
        now = trio.current_time()
        elapsed = 0.0 if self._told_at is None else min(now - self._told_at, ELAPSED_SECONDS_MAX)
        self._told_at = now
        # What a transaction costs by itself is no sign that the store is busy.
        each = max(seconds, SECONDS_MIN) / max(rows, ROWS_MIN)
        best = each if self._best is None else self._best * FORGET_RATE**elapsed
        self._best = min(best, each)
        if each > SLOW * self._best:
            self._shrink(now)
        elif self._was_reached:
            self.rows_per_second = min(RATE_MAX, self.rows_per_second + GROWTH * elapsed)
        self._was_reached = False

    def failed(self) -> None:
        """The store did not take what it was given."""
        self._shrink(trio.current_time())

    def _shrink(self, now: float) -> None:
        if now - self._shrunk_at >= SHRINK_SECONDS:
            self._shrunk_at = now
            self.rows_per_second = max(RATE_MIN, self.rows_per_second * SHRINK)
