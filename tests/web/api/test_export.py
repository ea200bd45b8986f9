"""The export: every URL once, in order, exact, at a page's cost a page."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.counting.table import Table
from likd.durability.batch_file import Batch
from likd.model import Counts, Rows, add
from likd.queries.totals import Totals
from likd.web.api import reads as reads_module
from likd.web.api.counts import CountReads
from likd.web.api.reads import Reads
from tests.fakestore import FakeStore, post, totals_over

URLS = [f"http://{n:02}/" for n in range(30)]
ROWS = st.dictionaries(st.sampled_from(URLS), st.builds(lambda n: {"likes": n}, st.integers(1, 9)))


class Bare:
    """Rows as they are."""

    def row(self, url: str, counts: Counts) -> dict[str, Any]:
        return {"url": url, **counts}


def exporter(store: FakeStore, totals: Totals) -> Reads:
    return Reads(cast(CountReads, Bare()), totals, cast(Any, store), cast(Any, None))


def lines(data: bytes) -> list[tuple[str, int]]:
    return [(row["url"], row["likes"]) for row in map(msgspec.json.decode, data.splitlines())]


def batch(table: int, rows: Rows) -> Batch:
    return Batch(table, 0.0, 60.0 * table, ("likes",), {url: dict(counts) for url, counts in rows.items()})


def test_each_url_is_there_once_in_order_and_exact_whatever_is_applied_meanwhile() -> None:
    @settings(max_examples=150)
    @given(ROWS, st.lists(ROWS, max_size=6), st.sets(st.sampled_from(URLS)), st.lists(st.booleans(), max_size=30))
    def is_whole(stored: Rows, waiting: list[Rows], counting: set[str], moves: list[bool]) -> None:
        async def run() -> None:
            truth: Rows = {}
            store = FakeStore({url: dict(counts) for url, counts in stored.items()})
            totals = totals_over(store, applied=0, cache_urls_max=5)
            for rows in [stored, *waiting, {url: {"likes": 1} for url in counting}]:
                for url, counts in rows.items():
                    add(truth.setdefault(url, {}), counts)
            for number, rows in enumerate(waiting, start=1):
                totals.ledger.batched(batch(number, rows))
            table = Table(len(waiting) + 1, 0.0)
            totals.ledger.opened(table)
            table.urls.add("http://not-counted-yet/")
            for url in counting:
                post(table, url, 1)
            exported: list[tuple[str, int]] = []
            moving = iter(moves)
            async for some in exporter(store, totals).export():
                exported += lines(some)
                if next(moving, False) and totals.ledger.waiting:
                    store.commit(totals.ledger.waiting[0].increments)
                    totals.ledger.applied_first()
            assert exported == sorted((url, counts["likes"]) for url, counts in truth.items())

        trio.run(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reads_module, "EXPORT_AT_ONCE", 3)
        is_whole()


async def test_a_page_costs_its_own_size_however_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeStore({f"http://stored/{n:05}": {"likes": 1} for n in range(5000)})
    totals = totals_over(store, applied=0, cache_urls_max=100)
    for table in range(1, 21):
        totals.ledger.batched(batch(table, {f"http://waiting/{table}/{n}": {"likes": 1} for n in range(1000)}))
    gathered = 0
    steps = totals.ledger.unapplied_steps

    def counted(size: int) -> Any:
        nonlocal gathered
        for urls in steps(size):
            gathered += len(urls)
            yield urls

    monkeypatch.setattr(totals.ledger, "unapplied_steps", counted)
    await totals.counts(["http://hot/"])
    sizes = [len(lines(some)) async for some in exporter(store, totals).export()]
    assert sum(sizes) == 25_000
    assert max(sizes) <= reads_module.EXPORT_AT_ONCE
    assert gathered == 20_000
    assert totals.counts_nowait("http://hot/") is not None, "what others read is still in memory"


async def test_a_merged_url_is_exported_under_its_new_name_alone() -> None:
    store = FakeStore({"http://new/": {"likes": 2}})
    totals = totals_over(store, applied=0, cache_urls_max=100)
    totals.ledger.aliases.add("http://old/", "http://new/")
    totals.ledger.batched(batch(1, {"http://old/": {"likes": 1}}))
    exported = [line async for some in exporter(store, totals).export() for line in lines(some)]
    assert [url for url, _ in exported] == ["http://new/"]
