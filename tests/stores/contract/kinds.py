"""The kinds of stores that keep the contract, each with a way to open it again on what it holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from likd.counting.actors import ActorKeys
from likd.stores.protocol import CountStore
from likd.stores.sqlite.store import SqliteStore
from tests.fakestore import FakeStore
from tests.sim.store import SimStore

KEYS = ActorKeys(b"secret")
NAMES = ("likes", "unlikes", "impressions")
NOW = 29_000_000 * 60.0
"""The time by which old history is removed, in seconds since 1970."""

Reopen: TypeAlias = Callable[[], CountStore]
"""A store on what the last one held, yet to be opened."""


def _sqlite(path: Path) -> Reopen:
    return lambda: SqliteStore(path / "likd.db", "here", url_key=KEYS.of_url, wall_clock=lambda: NOW)


def _simulated(path: Path) -> Reopen:
    store = SimStore(random.Random(1), KEYS.of_url, wall_clock=lambda: NOW)
    return lambda: store


def _fake(path: Path) -> Reopen:
    store = FakeStore()
    return lambda: store


KINDS: Mapping[str, Callable[[Path], Reopen]] = {"sqlite": _sqlite, "simulated": _simulated, "fake": _fake}
