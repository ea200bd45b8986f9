"""What likd asks of a store that several data directories share: who they are, and to do without one that is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import attrs

from likd.errors import LikdError
from likd.stores.protocol import Part

ALIVE_SECONDS = 60.0
"""Who was seen so lately is not taken to be gone."""


class RetireError(LikdError):
    """The node can't be retired; the message says why."""


@attrs.frozen
class Node:
    """A data directory, as the store knows it: what it said of itself, and how long ago (seconds).

    `lag_seconds` is how old the oldest table is that the store does not have of it.
    """

    node: int
    name: str
    epoch: int
    mark: int
    lag_seconds: float
    seen_seconds: float
    retired: bool


@runtime_checkable
class NodeStore(Protocol):
    """Knows its nodes."""

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that it has."""
        ...

    async def beat(self, name: str, lag_seconds: float) -> Sequence[Node]:
        """Say that this node is alive, and get all there are. Raises StoreError, Behind, Fenced."""
        ...


def find(nodes: Sequence[Node], which: str, *, force: bool = False) -> Node:
    """The node of that number or name, which may be retired: it is not alive, or that does not matter by `force`.

    Raises RetireError.
    """
    named = [node for node in nodes if str(node.node) == which] or [node for node in nodes if node.name == which]
    there = ", ".join(f"{node.node} ({node.name or 'without a name'})" for node in nodes if not node.retired) or "none"
    if not named:
        raise RetireError(f"there is no node {which!r}: there are {there}")
    if len(named) > 1:
        raise RetireError(f"there are several nodes {which!r}, say the number: there are {there}")
    (node,) = named
    if node.retired:
        raise RetireError(f"node {node.node} is retired already")
    if node.seen_seconds < ALIVE_SECONDS and not force:
        raise RetireError(f"node {node.node} was seen {node.seen_seconds:.0f} s ago: stop its daemon, or say --force")
    return node
