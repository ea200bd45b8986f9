"""Sums by site: always those of the URLs, in each unit of time, whatever becomes of these."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.model import Fold, Rows
from likd.stores.protocol import Folding, Increments, Retention, Unit
from likd.stores.sites import By, PagesQuery, Span
from likd.stores.sqlite import sites
from likd.stores.sqlite.store import SqliteStore
from tests.stores.site_sums import sums_off

NAMES = ("likes", "unlikes", "impressions")
DAY = 20_000
MINUTE = DAY * 1440
URLS = [
    "https://a.example/1",
    "https://a.example/2",
    "http://a.example:8080/3",
    "https://b.example/1",
    "https://b.example/2",
    "http://[::1]/",
]
ALL_TIME = (0, 1 << 40)


class Clock:
    """A wall clock that stands where it was put."""

    minute = MINUTE

    def __call__(self) -> float:
        return self.minute * 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "likd.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, "here", wall_clock=Clock())
    await store.open(NAMES)
    yield store
    await store.aclose()


def as_before_there_were_sums(path: Path) -> None:
    """Let the database be as the version before left it."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP TABLE sites; DROP TABLE summed;"
            "DELETE FROM minutes WHERE url <= 0; DELETE FROM hours WHERE url <= 0; DELETE FROM days WHERE url <= 0;"
        )


counts = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5), max_size=3)
rows = st.dictionaries(st.sampled_from(URLS), counts, max_size=4)
pair = st.permutations(URLS).map(lambda urls: (urls[0], urls[1]))
minute = st.integers(-3 * 1440, 3 * 1440)
step = st.one_of(
    st.tuples(st.just("apply"), minute, rows),
    st.tuples(st.just("merge"), minute, pair),
    st.tuples(st.just("fold"), minute, pair),
    st.tuples(st.just("load"), minute, rows),
    st.tuples(st.just("erase"), minute, st.sampled_from([*URLS, "//a.example", "//b.example"])),
    st.tuples(st.just("reset"), minute, st.sampled_from([*URLS, "//a.example", "//b.example"])),
    st.tuples(st.just("clock"), minute, st.none()),
    st.tuples(st.just("older"), minute, st.none()),
    st.tuples(st.just("sum up"), minute, st.none()),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(step, max_size=14))
def test_sums_by_site_are_those_of_the_urls_whatever_happens(steps: list[tuple[str, int, object]]) -> None:
    async def check(path: Path) -> None:
        clock = Clock()
        store = SqliteStore(path, "here", Retention(30, 2, 4), wall_clock=clock)
        await store.open(NAMES)
        for number, (what, at, rest) in enumerate(steps, start=1):
            await _do(store, path, clock, number, what, MINUTE + at, rest)
            with closing(sqlite3.connect(path)) as db:
                assert not sums_off(db, NAMES), what
        while not await store.sum_up():
            pass
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT upto FROM summed").fetchone() == (None,)
            assert not sums_off(db, NAMES)
        await store.aclose()

    with tempfile.TemporaryDirectory() as directory, mock.patch.object(sites, "URLS_AT_ONCE", 2):
        trio.run(check, Path(directory) / "likd.db")


async def _do(store: SqliteStore, path: Path, clock: Clock, number: int, what: str, minute: int, given: Any) -> None:
    match what, given:
        case "apply", dict():
            await store.apply(Increments(number, number, minute, given))
        case "merge", (old, new):
            await store.apply(Increments(number, number, minute, {}, merge=Fold(old, new, b"o" + old.encode(), b"n")))
        case "erase" | "reset", str():
            fold = Fold(given, given if what == "reset" else "", b"k", b"")
            await store.apply(Increments(number, number, minute, {}, merge=fold))
        case "fold", (old, new):
            await store.fold([Fold(old, new, b"", b"")], Folding("x"))
        case "load", dict():
            half: Rows = dict(list(given.items())[::2])
            await store.load(f"{number}", given, {minute: half})
        case "clock", _:
            clock.minute = minute
        case "older", _:
            await store.aclose()
            as_before_there_were_sums(path)
            await store.open(NAMES)
        case "sum up", _:
            await store.sum_up()


async def test_a_site_has_the_totals_and_the_past_of_its_urls(store: SqliteStore) -> None:
    await store.apply(Increments(1, 1, MINUTE, {URLS[0]: {"likes": 2}, URLS[2]: {"likes": 1}, URLS[3]: {"unlikes": 1}}))
    await store.apply(Increments(2, 2, MINUTE + 1440, {URLS[1]: {"likes": 4, "impressions": 9}}))
    read = await store.sites([Span("day", *ALL_TIME)])
    assert (read.applied, read.total, read.summed) == (2, 2, 1.0)
    assert [(site.host, site.urls, site.counts) for site in read.sites] == [
        ("a.example", 3, {"likes": 7, "impressions": 9}),
        ("b.example", 1, {"unlikes": 1}),
    ]
    assert read.sites[0].past == [
        [(DAY * 86_400, {"likes": 3}), (DAY * 86_400 + 86_400, {"likes": 4, "impressions": 9})]
    ]
    units: list[Unit] = ["minute", "hour", "day"]
    begin = DAY * 86_400
    for unit in units:
        of_all = (await store.past([Span(unit, begin, begin + 2 * 86_400)])).past[0]
        assert of_all == [(begin, {"likes": 3, "unlikes": 1}), (begin + 86_400, {"likes": 4, "impressions": 9})]


async def test_sites_of_an_earlier_version_are_summed_up_from_what_it_kept(store: SqliteStore, path: Path) -> None:
    await store.apply(Increments(1, 1, MINUTE, {URLS[0]: {"likes": 2}, URLS[3]: {"likes": 1}}))
    await store.apply(Increments(2, 2, MINUTE + 1440, {URLS[1]: {"likes": 4}}))
    await store.aclose()
    as_before_there_were_sums(path)
    await store.open(NAMES)
    assert (await store.sites([])).summed == 0
    await store.apply(Increments(3, 3, MINUTE + 1441, {URLS[4]: {"likes": 8}}))
    assert not await store.sum_up()
    assert await store.sum_up()
    read = await store.sites([Span("day", *ALL_TIME)])
    assert read.summed == 1
    assert [(site.host, site.counts["likes"], len(site.past[0])) for site in read.sites] == [
        ("b.example", 9, 2),
        ("a.example", 6, 2),
    ]


async def pages(store: SqliteStore, query: PagesQuery) -> list[str]:
    return [page.url for page in (await store.pages(query)).pages]


async def test_pages_are_listed_by_what_they_got_in_a_period(store: SqliteStore) -> None:
    await store.apply(Increments(1, 1, MINUTE, {URLS[0]: {"likes": 9}, URLS[1]: {"likes": 1, "impressions": 10}}))
    later = {URLS[1]: {"likes": 2, "impressions": 20}, URLS[2]: {"likes": 3}, URLS[3]: {"likes": 7}}
    await store.apply(Increments(2, 2, MINUTE + 2 * 1440, later))
    now = (DAY + 2) * 86_400
    query = PagesQuery("a.example", period=(now, now + 86_400), before=(now - 172_800, now - 86_400))
    assert await pages(store, query) == [URLS[2], URLS[1], URLS[0]]
    read = await store.pages(PagesQuery(period=(now, now + 86_400), before=(now - 172_800, now - 86_400), by="change"))
    assert [page.url for page in read.pages] == [URLS[3], URLS[2], URLS[1], URLS[0]]
    assert read.pages[2].period == {"likes": 2, "impressions": 20}
    assert read.pages[2].before == {"likes": 1, "impressions": 10}
    assert read.total == 4
    assert await pages(store, PagesQuery(by="all")) == [URLS[0], URLS[3], URLS[2], URLS[1]]
    assert await pages(store, PagesQuery(period=(0, now * 2), by="rate")) == [URLS[1], URLS[0], URLS[3], URLS[2]]
    assert await pages(store, PagesQuery(search="EXAMPLE/1", by="all")) == [URLS[0], URLS[3]]
    assert await pages(store, PagesQuery(search="%", by="all")) == []


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 4), st.booleans(), st.booleans())
def test_each_page_of_a_list_goes_on_where_the_last_one_ended(
    likes: list[int], limit: int, ascending: bool, large: bool
) -> None:
    async def check(path: Path) -> None:
        store = SqliteStore(path, "here", wall_clock=Clock())
        await store.open(NAMES)
        some = {f"https://a.example/{n}": {"likes": n_likes} for n, n_likes in enumerate(likes)}
        await store.apply(Increments(1, 1, MINUTE, some))
        bys: list[By] = ["likes", "all"]
        for by in bys:
            query = PagesQuery(period=ALL_TIME, by=by, limit=100, ascending=ascending)
            whole = await pages(store, query)
            assert sorted(whole) == sorted(some)
            assert [some[url]["likes"] for url in whole] == sorted(likes, reverse=not ascending)
            found: list[str] = []
            after: tuple[float, int, str] | None = None
            since: str | None = None
            while True:
                read = await store.pages(attrs.evolve(query, limit=limit, after=after, since=since))
                found += [page.url for page in read.pages]
                if len(read.pages) == limit:
                    n = read.pages[-1].counts.get("likes", 0)
                    after = (n, n, read.pages[-1].url)
                elif read.goes_on is not None:
                    after, since = None, read.goes_on
                else:
                    break
            assert found == whole
        await store.aclose()

    most = 2 if large else 20_000
    with (
        tempfile.TemporaryDirectory() as directory,
        mock.patch("likd.stores.sqlite.page_lists.PAGES_SCANNED_MAX", most),
    ):
        trio.run(check, Path(directory) / "likd.db")


async def test_a_search_among_many_begins_with_those_that_lead_and_goes_on_part_by_part(store: SqliteStore) -> None:
    some = {f"https://{host}.example/{n}": {"likes": 1} for host in "ab" for n in range(8)}
    some["https://b.example/7"] = {"likes": 50}
    await store.apply(Increments(1, 1, MINUTE, some))
    for site, last in (("", 7), ("b.example", 7), ("", 9)):
        with (
            mock.patch("likd.stores.sqlite.page_lists.PAGES_SCANNED_MAX", 2),
            mock.patch("likd.stores.sqlite.page_lists.PART_URLS", 3),
            mock.patch("likd.stores.sqlite.page_lists.LEADERS_MAX", 1),
            mock.patch("likd.stores.sqlite.page_lists.ACTIVE_MAX", 0),
        ):
            read = await store.pages(query := PagesQuery(site=site, search=f"EXAMPLE/{last}", period=ALL_TIME))
            parts = [[page.url for page in read.pages]]
            assert read.total is None
            while read.goes_on is not None:
                read = await store.pages(attrs.evolve(query, since=read.goes_on))
                parts.append([page.url for page in read.pages])
        wanted = sorted(url for url in some if site in url and url.endswith(str(last)))
        assert sorted(url for part in parts for url in part) == wanted
        assert len(parts) == (3 if site else 6)
        assert parts[0][:1] == [url for url in wanted if "b.example" in url]


async def test_an_address_that_is_searched_as_it_begins_is_found_at_once(store: SqliteStore) -> None:
    some = {f"https://{host}.example/{n}": {"likes": 1} for host in "ab" for n in range(8)}
    await store.apply(Increments(1, 1, MINUTE, some))
    with (
        mock.patch("likd.stores.sqlite.page_lists.PAGES_SCANNED_MAX", 2),
        mock.patch("likd.stores.sqlite.page_lists.PART_URLS", 3),
        mock.patch("likd.stores.sqlite.page_lists.LEADERS_MAX", 0),
        mock.patch("likd.stores.sqlite.page_lists.ACTIVE_MAX", 0),
    ):
        assert await pages(store, PagesQuery(search="b.example/7", period=ALL_TIME)) == ["https://b.example/7"]
        assert await pages(store, PagesQuery(search="https://b.example/7", period=ALL_TIME)) == ["https://b.example/7"]
