"""The write tolerance: a token bucket that says when rows may be written."""

from __future__ import annotations

import trio

from likd.counting.waiting import TRANSACTION_ROWS_MAX

TRANSACTION_ROWS_MIN = 8192
"""This many rows may always be written together: fewer would help nobody, however low the rate."""


class WriteTolerance:
    """Lets through `rows_per_second` on average, and one second's worth at once after a pause.

    A transaction is never split: one with more rows than there are tokens goes through once there are any, and the next
    waits until the debt is paid. So in any `t` seconds, at most (t + 1) * rows_per_second rows are begun, plus one
    transaction.
    """

    def __init__(self, rows_per_second: float) -> None:
        self.rows_per_second = rows_per_second
        self._tokens = rows_per_second
        self._at: float | None = None

    @property
    def transaction_rows_max(self) -> int:
        """Up to how many rows tables may be merged: a second's worth, within fixed limits."""
        return int(min(max(self.rows_per_second, TRANSACTION_ROWS_MIN), TRANSACTION_ROWS_MAX))

    async def take(self, rows: int) -> None:
        """Wait until `rows` rows may be written, and count them as written."""
        await trio.lowlevel.checkpoint()
        self._refill()
        while self._tokens <= 0:
            await trio.sleep(-self._tokens / self.rows_per_second + 1e-6)
            self._refill()
        self._tokens -= rows

    def _refill(self) -> None:
        now = trio.current_time()
        if self._at is not None:
            earned = (now - self._at) * self.rows_per_second
            self._tokens = min(self.rows_per_second, self._tokens + earned)
        self._at = now
