"""Totals while everything moves: in any order of steps each read is exact at its moment, and nothing is lost."""

from __future__ import annotations

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from likd.counting import pending as pending_module
from likd.counting.table import Table
from likd.model import Rows
from likd.queries import bases as bases_module
from likd.queries.totals import Totals
from likd.runtime.cooperative import finish
from tests.fakestore import FakeStore, batch_of, post, totals_over

A, B, C = URLS = ["http://a/", "http://b/", "http://c/"]


@attrs.define
class World:
    """Everything that can happen to totals, one step at a time, next to the plain sum of what was counted."""

    totals: Totals
    store: FakeStore
    truth: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(URLS, 0))
    answers: list[tuple[Rows, dict[str, int]]] = attrs.field(factory=list)
    swapped: list[Table] = attrs.field(factory=list)
    open: Table = attrs.field(factory=lambda: Table(1, 0.0))

    async def read(self, urls: list[str]) -> None:
        counts = await self.totals.counts(urls)
        self.answers.append((counts, self.truth.copy()))

    def step(self, what: str, url: str, nursery: trio.Nursery) -> None:
        waiting = self.totals.ledger.waiting
        if what == "count":
            post(self.open, url, 1)
            self.truth[url] += 1
        elif what == "swap":
            self.swapped.append(self.open)
            self.open = Table(self.open.id + 1, 0.0)
            self.totals.ledger.opened(self.open)
        elif what == "commit counters" and (tables := [table for table in self.swapped if table.rows is None]):
            finish(tables[0].commit(lambda _: None))
            finish(self.totals.ledger.committed(tables[0]))
        elif what == "batch" and self.swapped:
            table = self.swapped.pop(0)
            self.totals.ledger.batched(batch_of(table))
        elif what == "commit" and waiting and waiting[0].increments.first > self.store.applied:
            waiting[0].frozen = True
            self.store.commit(waiting[0].increments)
        elif what == "leave" and waiting and waiting[0].frozen:
            next(self.totals.ledger.leave(), None)
        elif what == "settle":
            next(self.totals.ledger.settle(), None)
        elif what == "move" and waiting and waiting[0].increments.last <= self.store.applied:
            self.totals.ledger.applied_first()
        elif what == "read":
            nursery.start_soon(self.read, [url])
        elif what == "read all":
            nursery.start_soon(self.read, URLS)
        elif what == "gate" and self.store.gates:
            self.store.gates.pop(0).set()

    def check(self) -> None:
        for url, likes in self.truth.items():
            counts = self.totals.counts_nowait(url)
            assert counts is None or counts.get("likes", 0) == likes
        for answer, truth in self.answers:
            assert {url: n.get("likes", 0) for url, n in answer.items()} == {url: truth[url] for url in answer}


STEPS = ["count", "count", "swap", "commit counters", "batch", "commit", "move", "read", "read all", "gate", "gate"]
STEPS += ["leave", "settle"]


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "LEAVING_AT_ONCE", 1)
    monkeypatch.setattr(bases_module, "SETTLED_AT_ONCE", 1)


@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(URLS)), max_size=60), cache=st.integers(1, 4))
@settings(max_examples=150)
def test_every_total_is_exact_at_its_moment_whatever_moves_meanwhile(steps: list[tuple[str, str]], cache: int) -> None:
    async def run() -> None:
        store = FakeStore(slow=True)
        world = World(totals_over(store, applied=0, cache_urls_max=cache), store)
        world.totals.ledger.opened(world.open)
        async with trio.open_nursery() as nursery:
            for what, url in steps:
                world.step(what, url, nursery)
                await wait_all_tasks_blocked()
                world.check()
            store.slow = False
            for gate in store.gates:
                gate.set()
            for act in ["swap", *["batch"] * 61, *["commit", "move"] * 61]:
                world.step(act, A, nursery)
        world.check()
        assert {url: n["likes"] for url, n in store.rows.items()} == {url: n for url, n in world.truth.items() if n}
        assert world.totals.ledger.unapplied_urls() == set()
        assert world.totals.ledger.rows_waiting == 0

    trio.run(run)
