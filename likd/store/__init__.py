"""Stores: where totals live for good. This file says what likd asks of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from likd.events import Counts, Rows


class StoreError(Exception):
    """The store did not do what was asked, or it is not known whether it did. Asking again is safe."""


@attrs.define(eq=False)
class Increments:
    """What the tables `first` to `last` add to the totals: one transaction, one row a URL.

    All of them were closed in one minute, `minute` (minutes since 1970), so that a store can keep a history.
    """

    first: int
    last: int
    minute: int
    rows: Rows = attrs.field(repr=False)


class Store(Protocol):
    """Totals by URL, and how far they go: the id of the last table that was applied."""

    kind: str

    async def open(self, names: Sequence[str]) -> int:
        """Get ready for counts of these names, made new or brought up to date; return the applied mark.

        Raises StoreError.
        """
        ...

    async def apply(self, increments: Increments) -> None:
        """Add `increments` and move the applied mark to their last table, in one durable transaction.

        Does nothing if the mark is there already, so that an apply whose outcome was lost can be repeated.
        Raises StoreError.
        """
        ...

    async def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        """The applied mark and the totals of those `urls` that have any, of one moment. Raises StoreError."""
        ...

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        """The applied mark and the `limit` URLs with the most of `by` (a count's name, or "net"), of one moment.

        Highest first, ties by URL; URLs where it is 0 or less are left out. Raises StoreError.
        """
        ...

    async def aclose(self) -> None:
        """Let go of all connections."""
        ...
