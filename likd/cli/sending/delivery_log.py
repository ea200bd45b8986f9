"""The log of a delivery: what is recorded of each range of lines."""

from __future__ import annotations

import secrets
from itertools import count
from pathlib import Path
from typing import Protocol

from likd.cli.sending.batches import Batch
from likd.cli.sending.content import Content
from likd.cli.sending.line_ranges import LineRange, Source
from likd.cli.sending.line_stats import LineStats


class DeliveryLog(Protocol):
    """Is told the outcome of each range of lines.

    Every method may raise ClientError; then nothing more can be sent.
    """

    @property
    def run(self) -> str:
        """Distinguishes this delivery's idempotency keys from those of all others."""

    async def sending(self, batch: Batch, key: str) -> None:
        """`batch` is about to be sent under `key`; once this returns, that is durable."""

    async def accepted(self, key: str, line_stats: LineStats) -> None:
        """The batch was accepted."""

    async def refused(self, key: str) -> None:
        """Nothing in the batch was counted; its lines will be sent in another batch."""

    async def set_aside(self, line_range: LineRange, line_stats: LineStats) -> None:
        """Nothing in `line_range` needs to be sent."""

    def renew(self, path: Path, content: Content) -> int:
        """The id of a new source: `content`, which appeared at `path`."""

    def know_again(self, source: Source, content: Content) -> None:
        """The source has grown, so that more of its beginning can identify it."""

    def ended(self, source: Source, end: int) -> None:
        """The source was rotated away and ends at `end`."""


class NoDeliveryLog:
    """Records nothing, for input that is sent in one run."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(16)
        self._ids = count()

    def renew(self, path: Path | None = None, content: Content | None = None) -> int:
        """The next number."""
        return next(self._ids)

    def know_again(self, source: Source, content: Content) -> None:
        """Nothing."""

    def ended(self, source: Source, end: int) -> None:
        """Nothing."""

    async def sending(self, batch: Batch, key: str) -> None:
        """Nothing."""

    async def accepted(self, key: str, line_stats: LineStats) -> None:
        """Nothing."""

    async def refused(self, key: str) -> None:
        """Nothing."""

    async def set_aside(self, line_range: LineRange, line_stats: LineStats) -> None:
        """Nothing."""
