"""Counts at the end of 63 bits: refused where they can be, cut down with an error where they can't, never rounded."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from likd.draining.applied_tables import AppliedTables, Keep
from likd.draining.drainer import Drainer
from likd.draining.write_rate import WriteTolerance
from likd.durability.applied_log import AppliedLog
from likd.durability.batch_file import Batch
from likd.errors import StoreError, TotalTooLarge
from likd.ingest.urls import UrlRules
from likd.model import Rows
from likd.plugins.handlers import INCREMENT_MAX, Handlers
from likd.stores.protocol import TOTAL_MAX, Increments
from likd.stores.sqlite.store import SqliteStore
from likd.web.api.admin import Admin
from likd.web.problems import Problem
from tests.fakestore import totals_over
from tests.sim.disk import SimDisk

URL = "https://example.com/"
SUM_MAX = 2**63 - 1


async def open_store(path: Path) -> SqliteStore:
    store = SqliteStore(path / "likd.db", "here")
    await store.open(("likes", "unlikes"))
    return store


async def test_starting_counts_that_make_a_total_too_large_are_refused_whole(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    assert await store.load("a", {URL: {"likes": TOTAL_MAX - 1}})
    with pytest.raises(TotalTooLarge) as refused:
        await store.load("b", {URL: {"likes": 2, "unlikes": 2}, "https://example.com/x": {"likes": 3}})
    assert (refused.value.url, refused.value.name) == (URL, "likes")
    assert await store.read([URL, "https://example.com/x"]) == (0, {URL: {"likes": TOTAL_MAX - 1}})
    assert await store.load("b", {URL: {"likes": 1}}), "it just fits, and the name was not used up"


async def test_a_total_that_is_as_large_as_can_be_stays_a_whole_number(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.load("a", {URL: {"likes": TOTAL_MAX}})
    for table in range(1, 5):
        await store.apply(Increments(table, table, 0, {URL: {"likes": TOTAL_MAX - 1, "unlikes": 1}}))
    assert await store.read([URL]) == (4, {URL: {"likes": SUM_MAX, "unlikes": 4}})
    assert await store.history(URL, "minute", 0, 60) == [(0, {"likes": SUM_MAX, "unlikes": 4})]


@pytest.mark.parametrize("n", [2**63, 2**64, 2**80])
async def test_a_count_that_no_store_can_hold_does_not_hold_up_those_behind_it(
    tmp_path: Path, autojump_clock: MockClock, n: int
) -> None:
    store = await open_store(tmp_path)
    totals = totals_over(store, applied=0, cache_urls_max=10)
    totals.ledger.batched(Batch(1, 0.0, 0.0, ("likes",), {URL: {"likes": n}}))
    totals.ledger.batched(Batch(2, 0.0, 60.0, ("likes",), {URL: {"unlikes": 1}}))
    batches, end = trio.open_memory_channel[Batch](1)
    disk = SimDisk(random.Random(1))
    drainer = Drainer(
        batches=end,
        store=store,
        ledger=totals.ledger,
        tolerance=WriteTolerance(1e6),
        applied_tables=AppliedTables(disk, AppliedLog(disk), Keep()),
    )
    await batches.aclose()
    await drainer.run()
    assert await store.read([URL]) == (2, {URL: {"likes": TOTAL_MAX, "unlikes": 1}})


@pytest.mark.parametrize(("n", "counted"), [(INCREMENT_MAX, True), (INCREMENT_MAX + 1, False)])
def test_a_handler_may_not_make_counts_that_no_sum_can_hold(n: int, counted: bool) -> None:
    class Generous:
        kinds: tuple[str, ...] = ("gift",)
        counts: tuple[str, ...] = ("gifts",)

        def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
            return {"gifts": n * times}

    columns, aside = Handlers({"generous": Generous()}).increments({"gift": {URL: 3}})
    assert (columns, aside) == (({"gifts": {URL: 3 * n}}, []) if counted else ({}, [("generous", "gift", URL, 3)]))


def loading(store: SqliteStore) -> Admin:
    """An admin of whose operations only loading is used."""
    unused: Any = None
    return Admin(
        unused,
        unused,
        unused,
        totals_over(store, applied=0, cache_urls_max=10),
        store,
        UrlRules(),
        ("likes", "unlikes"),
    )


@pytest.mark.parametrize(
    "value",
    [
        str(2**53 + 1),
        str(2**63),
        str(2**64),
        "9" * 5000,
        "-1",
        "1e3",
        "1.0",
        "1e400",
        "true",
        "null",
        '"5"',
        "[]",
        "{}",
    ],
)
async def test_what_is_no_starting_count_is_told_with_its_line_and_field(tmp_path: Path, value: str) -> None:
    body = f'{{"url":"{URL}","likes":1}}\n\n{{"url":"{URL}","likes":2,"unlikes":{value}}}\n'.encode()
    store = await open_store(tmp_path)
    with pytest.raises(Problem) as refused:
        await loading(store).load(body, "key")
    assert refused.value.status == 422
    assert (refused.value.members["line"], refused.value.members["field"]) == (3, "unlikes")
    assert "2^53" in str(refused.value.members["expected"])
    assert await store.read([URL]) == (0, {})


async def test_starting_counts_of_one_url_that_are_too_large_together_are_told_with_their_line(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    body = f'{{"url":"{URL}","likes":{2**53}}}\n'.encode() * 513
    with pytest.raises(Problem) as refused:
        await loading(store).load(body, "key")
    assert (refused.value.status, refused.value.members["line"], refused.value.members["field"]) == (422, 513, "likes")


async def test_starting_counts_that_are_too_large_with_those_there_are_told(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await store.load("before", {URL: {"likes": TOTAL_MAX}})
    with pytest.raises(Problem) as refused:
        await loading(store).load(f'{{"url":"{URL}","likes":1}}'.encode(), "key")
    assert (refused.value.status, refused.value.members["url"]) == (422, URL)
    assert (refused.value.members["field"], refused.value.members["line"]) == ("likes", 1)


async def test_starting_counts_whose_answer_got_lost_are_part_of_the_totals(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    admin = loading(store)
    assert await admin.totals.counts([URL]) == {URL: {}}
    load = store.load

    async def lose(name: str, rows: Rows, past: Mapping[int, Rows] | None = None) -> bool:
        await load(name, rows, past)
        raise StoreError("the answer is lost")

    store.load = lose  # type: ignore[method-assign]
    with pytest.raises(Problem):
        await admin.load(f'{{"url":"{URL}","likes":1}}'.encode(), "key")
    assert await admin.totals.counts([URL]) == {URL: {"likes": 1}}
