"""A store of each kind, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from trio.testing import MockClock

from likd.stores.protocol import Part, Store
from tests.stores.contract.kinds import KINDS, NAMES, Reopen, keep_time


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """A way to open a store, again and again on what it holds."""
    return KINDS[request.param](tmp_path)


@pytest.fixture
async def store(reopen: Reopen, request: pytest.FixtureRequest, autojump_clock: MockClock) -> AsyncIterator[Store]:
    """A store that is open and empty; a test that is marked `needs` a part is not for those who lack it."""
    store = cast(Store, reopen())
    keep_time(store, autojump_clock)
    for marker in request.node.iter_markers("needs"):
        lacking = cast(set[Part], set(marker.args)) - store.parts
        if lacking:
            pytest.skip(f"a store of the kind {store.kind} has no {', '.join(lacking)}")
    await store.open(NAMES)
    yield store
    await store.aclose()
