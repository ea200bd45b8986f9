"""Growth and what is hottest: each event is told once, whatever becomes of its table meanwhile."""

from __future__ import annotations

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.counting.table import Table
from likd.model import Rows
from likd.queries import growth as growth_module
from likd.queries.growth import Growth
from likd.queries.totals import Totals
from likd.queries.trending import URLS_MAX, Hot
from likd.runtime.cooperative import finish
from tests.fakestore import FakeStore, batch_of, post, totals_over
from tests.turns import others_turns

URLS = [f"http://{n}/" for n in range(6)]


@attrs.define
class Tables:
    """Tables on their way, and how often each URL was counted."""

    totals: Totals = attrs.field(factory=lambda: totals_over(FakeStore(), applied=0, cache_urls_max=10))
    counted: dict[str, int] = attrs.field(factory=dict)
    swapped: list[Table] = attrs.field(factory=list)
    open: Table = attrs.field(factory=lambda: Table(1, 0.0))

    def __attrs_post_init__(self) -> None:
        self.totals.ledger.opened(self.open)

    def step(self, what: str, url: str) -> None:
        if what == "count":
            post(self.open, url, 1)
            self.counted[url] = self.counted.get(url, 0) + 1
        elif what == "count all":
            for each in URLS:
                self.step("count", each)
        elif what == "swap and commit":
            self.step("swap", url)
            self.step("commit", url)
        elif what == "swap":
            self.swapped.append(self.open)
            self.open = Table(self.open.id + 1, 0.0)
            self.totals.ledger.opened(self.open)
        elif what == "commit":
            for table in self.swapped:
                if table.rows is None:
                    finish(table.commit(lambda _: None))
                    finish(self.totals.ledger.committed(table))
        elif what == "batch" and self.swapped:
            table = self.swapped.pop(0)
            batch = batch_of(table)
            if batch.rows:
                self.totals.ledger.batched(batch)
            else:
                self.totals.ledger.dropped(table)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["count", "count all", "swap", "swap and commit", "commit", "batch", "turn", "turn", "know"]),
        st.sampled_from(URLS),
    ),
    max_size=60,
)


def test_what_is_told_is_what_was_counted_however_tables_move_between_the_steps_of_a_look() -> None:
    @settings(max_examples=200)
    @given(STEPS)
    def is_told(steps: list[tuple[str, str]]) -> None:
        async def run() -> None:
            tables = Tables()
            growth = Growth(tables.totals)
            grown: Rows = {}
            known: dict[str, int] = {}

            async def look() -> None:
                while True:
                    await growth.look(grown)
                    await trio.lowlevel.checkpoint()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                for what, url in steps:
                    if what == "turn":
                        await trio.lowlevel.checkpoint()
                    elif what == "know":
                        growth.know(url)
                        grown.pop(url, None)
                        known[url] = tables.counted.get(url, 0)
                    else:
                        tables.step(what, url)
                nursery.cancel_scope.cancel()
            await growth.look(grown)
            told = {url: counts["likes"] for url, counts in grown.items()}
            assert told == {url: new for url, n in tables.counted.items() if (new := n - known.get(url, 0))}
            assert growth.rows_unseen == 0

        trio.run(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth_module, "URLS_AT_ONCE", 2)
        is_told()


def test_a_look_remembers_nothing_of_tables_that_are_gone() -> None:
    async def run() -> None:
        tables = Tables()
        growth = Growth(tables.totals)
        for _ in range(20):
            for what in ("count", "swap", "commit", "batch", "swap"):
                tables.step(what, URLS[0])
            await growth.look({})
            for what in ("commit", "batch"):
                tables.step(what, URLS[0])
        await growth.look({})
        assert len(growth._seen) <= 1
        assert not growth._committed

    trio.run(run)


async def turns_during(hot: Hot) -> int:
    async with others_turns() as turns:
        await hot.sample(1.0)
    return turns.count


async def test_the_hottest_are_those_that_grew_most_since_somebody_looks() -> None:
    tables = Tables()
    hot = Hot(tables.totals)
    for url in URLS:
        post(tables.open, url, 1000)
    await hot.start()
    post(tables.open, URLS[3], 50)
    post(tables.open, URLS[1], 60)
    tables.step("swap", "")
    tables.step("commit", "")
    post(tables.open, URLS[3], 20)
    await hot.sample(1.0)
    assert [each.url for each in hot.hottest(5)] == [URLS[3], URLS[1]]
    rate = hot.hottest(1)[0].rate
    await hot.sample(1.0)
    assert 0 < hot.hottest(1)[0].rate < rate
    hot.stop()
    assert hot.hottest(5) == []
    assert tables.totals.ledger.followers == []


async def test_the_hottest_are_told_by_the_names_that_they_count_for() -> None:
    tables = Tables()
    hot = Hot(tables.totals)
    await hot.start()
    post(tables.open, URLS[1], 50)
    post(tables.open, URLS[2], 60)
    post(tables.open, URLS[3], 100)
    await hot.sample(1.0)
    before = {each.url: each.rate for each in hot.hottest(5)}
    tables.totals.ledger.aliases.add(URLS[1], URLS[2])
    assert [(each.url, each.rate) for each in hot.hottest(5)] == [
        (URLS[2], pytest.approx(before[URLS[1]] + before[URLS[2]])),
        (URLS[3], before[URLS[3]]),
    ]
    post(tables.open, URLS[1], 500)
    await hot.sample(1.0)
    assert [each.url for each in hot.hottest(5)] == [URLS[2], URLS[3]]


async def test_likes_are_ranked_apart_from_other_events_and_by_site() -> None:
    tables = Tables()
    hot = Hot(tables.totals)
    await hot.start()
    other = "https://other.example/"
    post(tables.open, URLS[1], 50)
    post(tables.open, other, 20)
    await hot.sample(1.0)
    most, less = hot.hottest(5)
    assert (most.url, less.url) == (URLS[1], other)
    assert most.likes == most.rate
    assert [each.url for each in hot.hottest(5, site="other.example")] == [other]
    post(tables.open, URLS[2], 900, "impressions")
    await hot.sample(1.0)
    assert hot.hottest(1)[0].url == URLS[2]
    assert hot.hottest(1)[0].likes == 0
    assert [each.url for each in hot.hottest(5, "likes")] == [URLS[1], other]


async def test_others_get_their_turns_while_the_hottest_are_found_among_many_and_memory_is_bounded() -> None:
    tables = Tables()
    hot = Hot(tables.totals)
    await hot.start()
    for n in range(20_000):
        post(tables.open, f"http://example.com/{n}", 1 + n)
    assert await turns_during(hot) >= 2 * 20_000 / growth_module.URLS_AT_ONCE - 10
    assert len(hot.hottest(100_000)) == URLS_MAX
    assert hot.hottest(1)[0].url == "http://example.com/19999"


async def test_whoever_begins_to_look_while_another_does_gets_what_comes_then_even_if_that_one_leaves() -> None:
    tables = Tables()
    hot = Hot(tables.totals)
    for n in range(2000):
        post(tables.open, f"http://example.com/{n}", 1)
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as leaving:
            nursery.start_soon(hot.start)
            await trio.lowlevel.checkpoint()
            leaving.cancel()
        await hot.start()
    assert hot.begun
    post(tables.open, URLS[0], 9)
    await hot.sample(1.0)
    assert [each.url for each in hot.hottest(5)] == [URLS[0]]
