"""What likd asks of a store in which several nodes claim idempotency keys, so that a retry may reach any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import attrs

from likd.model import IdempotencyKey
from likd.stores.protocol import Part


@attrs.frozen
class Claim:
    """What became of a claim.

    It is `mine` now; or the request was `taken` before, with so many `events`; or another node has it and is not done
    (`pending`); or the key came with another body before (`reused`).
    """

    state: Literal["mine", "taken", "pending", "reused"]
    events: int = 0


@attrs.frozen
class Settled:
    """What became of requests whose keys were claimed.

    Those that are `done`, with their numbers of events, and those of which nothing is counted: their keys are free
    again (`released`).
    """

    done: Sequence[tuple[IdempotencyKey, int]] = ()
    released: Sequence[IdempotencyKey] = ()


@runtime_checkable
class KeyStore(Protocol):
    """Knows which requests were taken by whom."""

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that it has."""
        ...

    async def claim_keys(
        self, asked: Sequence[IdempotencyKey], settled: Settled, window_seconds: float
    ) -> Sequence[Claim]:
        """Note what is `settled`, then claim what is `asked`, each key once: in one durable transaction.

        What this node claimed and did not settle is claimed by it again: it knows what it counted. Keys that were
        claimed longer ago than the window are free. Raises StoreError; it may be repeated.
        """
        ...

    async def claims_left(self) -> Sequence[IdempotencyKey]:
        """What earlier lives of this data directory claimed and did not settle. Raises StoreError."""
        ...
