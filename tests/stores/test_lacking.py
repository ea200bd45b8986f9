"""A store that only counts: the daemon counts and drains, and says of all else that this store has no such thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from likd.config.settings import Config
from likd.durability.disk import RealDisk
from likd.engine import open_engine
from likd.errors import Unsupported
from likd.model import Accepted, Rows, Submission
from likd.plugins.handlers import Handlers, Likes
from likd.stores.database import Database
from likd.stores.marks import Chain
from likd.stores.protocol import Applied, Increments
from likd.stores.threaded import ThreadedStore
from likd.web.problems import store_away
from tests.rows import add_rows

A, B = "https://example.com/a", "https://example.com/b"


class OnlyCounts(Database):
    """Counts in a dict."""

    kind = "dict"
    faults = ()

    def __init__(self) -> None:
        self.chain = Chain("here")
        self.applied = 0
        self.rows: Rows = {}

    def open(self, names: tuple[str, ...]) -> int:
        return self.applied

    def peek(self) -> int:
        return self.applied

    def close(self) -> None: ...

    def apply(self, increments: Increments, now: int) -> Applied | None:
        if increments.last <= self.applied:
            return None
        self.applied = increments.last
        add_rows(self.rows, increments.rows)
        return Applied()

    def read(self, urls: Sequence[str]) -> tuple[int, Rows]:
        return self.applied, {url: self.rows[url].copy() for url in urls if url in self.rows}


async def test_it_is_enough_to_count_and_what_it_lacks_is_said_before_anything_is_done(tmp_path: Path) -> None:
    database = OnlyCounts()
    store = ThreadedStore(database)
    assert store.parts == frozenset()
    async with (
        open_engine(Config(), disk=RealDisk(tmp_path), store=store, handlers=Handlers({"likes": Likes()})) as engine,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(engine.root.run)
        submission = Submission({"like": {A: 3}}, 3)
        assert await engine.intake.offer(submission).settled() == Accepted(3)
        with pytest.raises(Unsupported, match="a dict store can't merge URLs"):
            await engine.merger.merge(A, B)
        with pytest.raises(Unsupported, match="a dict store has no top lists"):
            await engine.top("likes", 3)
        assert await engine.totals.counts([A]) == {A: {"likes": 3}}
        await engine.drain()
        nursery.cancel_scope.cancel()
    assert database.rows == {A: {"likes": 3}}


def test_what_a_store_lacks_is_501_and_a_store_that_is_away_503() -> None:
    problem = store_away(Unsupported("a dict store keeps no history"))
    assert (problem.status, problem.detail) == (501, "a dict store keeps no history")
