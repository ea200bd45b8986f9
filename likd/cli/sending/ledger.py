"""The ledger of a delivery: what is to be remembered of each span."""

from __future__ import annotations

import secrets
from itertools import count
from pathlib import Path
from typing import Protocol

from likd.cli.sending.batches import Batch
from likd.cli.sending.content import Content
from likd.cli.sending.spans import Source, Span
from likd.cli.sending.tally import Tally


class Ledger(Protocol):
    """Is told what becomes of each span. Every method may raise ClientError: then nothing more can be sent."""

    @property
    def run(self) -> str:
        """Tells the idempotency keys of this delivery from those of all others."""

    async def sending(self, batch: Batch, key: str) -> None:
        """`batch` is about to be sent under `key`: once this returns, that is not forgotten."""

    async def accepted(self, key: str, tally: Tally) -> None:
        """The batch was accepted."""

    async def refused(self, key: str) -> None:
        """Nothing of the batch was counted: its lines will be sent otherwise."""

    async def set_aside(self, span: Span, tally: Tally) -> None:
        """Nothing of `span` is to be sent."""

    def renew(self, path: Path, content: Content) -> int:
        """The id of a source that begins now: `content`, which came to be at `path`."""

    def know_again(self, source: Source, content: Content) -> None:
        """The source has more of a beginning now to be known by."""

    def ended(self, source: Source, end: int) -> None:
        """The source was rotated away: its `end` is known."""


class NoLedger:
    """Remembers nothing: for input that is sent in one go."""

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

    async def accepted(self, key: str, tally: Tally) -> None:
        """Nothing."""

    async def refused(self, key: str) -> None:
        """Nothing."""

    async def set_aside(self, span: Span, tally: Tally) -> None:
        """Nothing."""
