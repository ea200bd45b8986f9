"""What every store keeps: each table once, reads of one moment, and such further parts as it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import pytest

from likd.errors import StoreError, Unsupported
from likd.model import Fold, IdempotencyKey, Liking, Rows
from likd.stores.database import PART_METHODS
from likd.stores.keys import Claim, KeyStore, Settled
from likd.stores.nodes import NodeStore
from likd.stores.protocol import Applied, Folding, Increments, Part, Store
from likd.stores.sites import PagesQuery, Site, SiteStore, Span
from tests.stores.contract.kinds import KEYS, NAMES, NOW, Reopen

A, B, C = "https://a.example/", "https://b.example/", "https://c.example/"
MINUTE = int(NOW // 60)


def increments(table: int, rows: Rows, *, first: int | None = None) -> Increments:
    return Increments(first or table, table, MINUTE, rows)


# --- Counts


async def test_a_new_store_has_nothing(store: Store) -> None:
    assert await store.read([A]) == (0, {})


async def test_what_is_applied_adds_up_by_url_and_moves_the_mark(store: Store) -> None:
    assert await store.apply(increments(1, {A: {"likes": 2, "impressions": 7}, B: {"unlikes": 1}})) == Applied()
    assert await store.apply(increments(4, {A: {"likes": 1}}, first=2)) == Applied()
    assert await store.read([A, B, C]) == (4, {A: {"likes": 3, "impressions": 7}, B: {"unlikes": 1}})


async def test_a_table_is_applied_once_however_often_it_is_sent(store: Store) -> None:
    for table in (1, 1, 2, 1, 2):
        await store.apply(increments(table, {A: {"likes": 1}}))
    assert await store.apply(increments(2, {A: {"likes": 1}})) is None
    assert await store.read([A]) == (2, {A: {"likes": 2}})


async def test_the_mark_and_the_counts_are_there_when_it_is_opened_again(store: Store, reopen: Reopen) -> None:
    await store.apply(increments(7, {A: {"likes": 2}}))
    again = reopen()
    assert await again.open(NAMES) == 7
    assert await again.read([A]) == (7, {A: {"likes": 2}})
    await again.aclose()


async def test_a_table_without_rows_moves_the_mark(store: Store) -> None:
    await store.apply(increments(3, {}))
    assert await store.read([A]) == (3, {})


async def test_many_rows_are_applied_and_read_whole(store: Store) -> None:
    rows: Rows = {f"https://many.example/{n}": {"likes": 1 + n % 7} for n in range(10_000)}
    await store.apply(increments(1, rows))
    assert await store.read(list(rows)) == (1, rows)


async def test_urls_are_text_whatever_is_in_them(store: Store) -> None:
    ends = (
        "?a\\b",
        "'",
        '"',
        "%22?\\\\u0041",
        "?{}[]`~,",
        "é",
        "\U0001f44d",
        '"); DROP TABLE counts; --',
        "NULL",
        "?%s",
    )
    rows: Rows = {f"https://example.com/{end}": {"likes": n} for n, end in enumerate(ends, start=1)}
    await store.apply(increments(1, rows))
    await store.apply(increments(2, rows))
    twice = {url: {"likes": 2 * counts["likes"]} for url, counts in rows.items()}
    assert await store.read(list(rows)) == (2, twice)


async def test_a_row_without_counts_is_no_fault(store: Store) -> None:
    await store.apply(increments(1, {A: {}, B: {"likes": 1}}))
    assert (await store.read([B])) == (1, {B: {"likes": 1}})


# --- Merges by several who do not know of each other's


@pytest.mark.needs("merging")
@pytest.mark.parametrize(
    ("asked", "by_now"),
    [
        ([(A, B), (B, A)], {A: B}),
        ([(A, B), (A, C)], {A: C, B: C}),
        ([(A, B), (C, A)], {A: B, C: B}),
        ([(A, B), (B, C), (C, A)], {A: C, B: C}),
    ],
)
async def test_what_two_merged_differently_is_one_url(
    store: Store, asked: list[tuple[str, str]], by_now: dict[str, str]
) -> None:
    await store.apply(increments(1, {A: {"likes": 1}, B: {"likes": 2}, C: {"likes": 4}}))
    for table, (old, new) in enumerate(asked, start=2):
        fold = Fold(old, new, KEYS.of_url(old), KEYS.of_url(new))
        await store.apply(Increments(table, table, MINUTE, {}, merge=fold))
    assert await store.aliases() == by_now
    (root,) = {by_now.get(url, url) for url in by_now} - by_now.keys() or set(by_now.values())
    likes = {A: 1, B: 2, C: 4}
    merged = sum(n for url, n in likes.items() if by_now.get(url, url) == root)
    await store.apply(increments(9, {url: {"likes": 10} for url in by_now}))
    assert (await store.read([root]))[1] == {root: {"likes": merged + 10 * len(by_now)}}


# --- What a store lacks


def _calls(store: Store) -> Mapping[Part, Callable[[], Awaitable[object]]]:
    return {
        "actors": lambda: store.read_actors([b"key"]),
        "top lists": lambda: store.top("likes", 3),
        "history": lambda: store.history(A, "hour", 0, 3600),
        "pages": lambda: store.page("", 3),
        "merging": lambda: store.folding(),
        "starting counts": lambda: store.loaded("name"),
        "sites": lambda: cast(SiteStore, store).sites([]),
        "feed": lambda: store.news(None),
        "keys": lambda: cast(KeyStore, store).claims_left(),
        "nodes": lambda: cast(NodeStore, store).beat("name", 0.0),
    }


@pytest.mark.parametrize("part", PART_METHODS)
async def test_a_part_answers_or_is_lacking_as_the_store_says(store: Store, part: Part) -> None:
    if part in store.parts:
        await _calls(store)[part]()
    elif hasattr(store, PART_METHODS[part]):
        with pytest.raises(Unsupported, match=store.kind):
            await _calls(store)[part]()


# --- Actors


@pytest.mark.needs("actors")
async def test_actors_who_like_are_known_and_those_who_do_not_any_more_are_not(store: Store) -> None:
    ann, bob = KEYS("ann", A), KEYS("bob", A)
    likes = {ann: Liking(True, 1), bob: Liking(True, 1)}
    await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 2}}, likes))
    await store.apply(Increments(2, 2, MINUTE, {A: {"unlikes": 1}}, {bob: Liking(False, -1)}))
    assert await store.read_actors([ann, bob]) == (2, {ann})


@pytest.mark.needs("actors", "merging")
@pytest.mark.parametrize("liked", [True, False])
@pytest.mark.parametrize("likes", [True, False])
@pytest.mark.parametrize("net", [-1, 0, 1])
async def test_likes_less_unlikes_are_the_actors_who_like_whatever_was_thought_of_them(
    store: Store, liked: bool, likes: bool, net: int
) -> None:
    key = KEYS("ann", A)
    if liked:
        await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 1}}, {key: Liking(True, 1)}))

    applied = await store.apply(
        Increments(2, 2, MINUTE, {A: {"likes": 2 + net, "unlikes": 2}, B: {"likes": 1}}, {key: Liking(likes, net)})
    )

    counts = (await store.read([A]))[1][A]
    assert counts["likes"] - counts["unlikes"] == likes == len((await store.read_actors([key]))[1])
    off = likes - liked - net
    assert applied == Applied({A: {"likes" if off > 0 else "unlikes": abs(off)}} if off else {})


# --- Top lists, pages


TOP: Rows = {
    A: {"likes": 5, "unlikes": 4},
    B: {"likes": 3},
    C: {"likes": 3, "unlikes": 1, "impressions": 9},
    "https://d.example/": {"unlikes": 8},
}


@pytest.mark.needs("top lists")
@pytest.mark.parametrize(
    ("by", "limit", "urls"),
    [
        ("likes", 10, [A, B, C]),
        ("likes", 2, [A, B]),
        ("unlikes", 10, ["https://d.example/", A, C]),
        ("impressions", 10, [C]),
        ("net", 10, [B, C, A]),
    ],
)
async def test_top_is_highest_first_ties_by_url_none_without(
    store: Store, by: str, limit: int, urls: list[str]
) -> None:
    await store.apply(increments(1, TOP))
    assert await store.top(by, limit) == (1, [(url, TOP[url]) for url in urls])


@pytest.mark.needs("pages")
async def test_pages_have_each_url_once_in_the_order_of_their_bytes(store: Store) -> None:
    urls = [f"https://example.com/{end}" for end in ("B", "a", "b", "é", "~", "\U0001f44d", "￮")]
    await store.apply(increments(1, {url: {"likes": 1} for url in urls}))
    found: list[str] = []
    while page := await store.page(found[-1] if found else "", 2):
        assert len(page) <= 2
        found += [url for url, _ in page]
    assert found == sorted(urls, key=str.encode)


# --- History


@pytest.mark.needs("history")
async def test_the_history_has_each_minute_hour_and_day(store: Store) -> None:
    await store.apply(Increments(1, 1, MINUTE - 1, {A: {"likes": 1}}))
    await store.apply(Increments(2, 2, MINUTE, {A: {"likes": 2}, B: {"likes": 7}}))
    minute, hour, day = 60, 3600, 86_400
    now = MINUTE * 60
    assert await store.history(A, "minute", now - hour, now + minute) == [
        (now - minute, {"likes": 1}),
        (now, {"likes": 2}),
    ]
    for unit, seconds in (("hour", hour), ("day", day)):
        begin = now // seconds * seconds - seconds
        found = await store.history(A, unit, begin, begin + 2 * seconds)  # type: ignore[arg-type]
        assert sum(counts["likes"] for _, counts in found) == 3
        assert {at % seconds for at, _ in found} == {0}


@pytest.mark.needs("history")
async def test_hours_that_are_over_have_what_they_had(store: Store) -> None:
    hours = range(MINUTE // 60 - 30, MINUTE // 60 + 1)
    for table, hour in enumerate(hours, start=1):
        await store.apply(Increments(table, table, hour * 60 + 5, {A: {"likes": table}}))
    found = await store.history(A, "hour", hours[0] * 3600, (hours[-1] + 1) * 3600)
    assert found == [(hour * 3600, {"likes": table}) for table, hour in enumerate(hours, start=1)]
    days = await store.history(A, "day", 0, 1 << 40)
    assert sum(counts["likes"] for _, counts in days) == sum(range(1, len(hours) + 1))


# --- Merging


MERGE = Fold(A, B, KEYS.of_url(A), KEYS.of_url(B))


@pytest.mark.needs("merging", "actors", "history")
async def test_a_merge_makes_one_of_two_with_counts_actors_and_history(store: Store) -> None:
    both = {KEYS("ann", A): Liking(True, 1), KEYS("ann", B): Liking(True, 1), KEYS("bob", A): Liking(True, 1)}
    await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 2}, B: {"likes": 1}}, both))

    applied = await store.apply(Increments(2, 2, MINUTE, {}, merge=MERGE))

    assert applied == Applied(liked_both=1)
    assert await store.aliases() == {A: B}
    assert await store.read([A, B]) == (2, {B: {"likes": 3, "unlikes": 1}})
    keys = [KEYS(actor, url) for actor in ("ann", "bob") for url in (A, B)]
    assert (await store.read_actors(keys))[1] == {KEYS("ann", B), KEYS("bob", B)}
    history = await store.history(B, "minute", MINUTE * 60, MINUTE * 60 + 60)
    assert history[0][1]["likes"] == 3
    assert await store.apply(Increments(2, 2, MINUTE, {}, merge=MERGE)) is None


@pytest.mark.needs("merging", "actors")
async def test_what_comes_late_under_the_old_name_counts_for_the_new_one(store: Store) -> None:
    await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 1}}, merge=MERGE))
    await store.apply(Increments(2, 2, MINUTE, {A: {"likes": 2}, C: {"likes": 5}}, {KEYS("ann", A): Liking(True, 1)}))
    assert await store.read([A, B, C]) == (2, {B: {"likes": 3}, C: {"likes": 5}})
    assert (await store.read_actors([KEYS("ann", A), KEYS("ann", B)]))[1] == {KEYS("ann", B)}


@pytest.mark.needs("merging")
async def test_folding_goes_on_where_it_was_and_leaves_no_alias(store: Store) -> None:
    await store.apply(increments(1, {A: {"likes": 1}, B: {"likes": 2}}))
    assert await store.folding() == Folding("")
    await store.fold([MERGE], Folding("", "new", A))
    assert await store.folding() == Folding("", "new", A)
    await store.fold([], Folding("new"))
    assert await store.folding() == Folding("new")
    assert await store.read([A, B]) == (1, {B: {"likes": 3}})
    assert await store.aliases() == {}


# --- Starting counts


@pytest.mark.needs("starting counts", "history")
async def test_starting_counts_are_loaded_once_for_each_name_with_their_minutes(store: Store) -> None:
    past = {MINUTE - 60: {A: {"likes": 5}}}
    assert not await store.loaded("one")
    assert [await store.load(name, {A: {"likes": 6}}, past) for name in ("one", "one", "two")] == [True, False, True]
    assert await store.loaded("one")
    assert await store.read([A]) == (0, {A: {"likes": 12}})
    begin = (MINUTE - 60) * 60
    assert await store.history(A, "minute", begin, begin + 60) == [(begin, {"likes": 10})]


@pytest.mark.needs("starting counts", "merging")
async def test_starting_counts_of_a_merged_url_are_those_of_the_new_one(store: Store) -> None:
    await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 1}}, merge=MERGE))
    await store.load("one", {A: {"likes": 5}})
    assert await store.read([A, B]) == (1, {B: {"likes": 6}})


async def test_a_store_that_is_closed_answers_nothing(store: Store) -> None:
    if store.kind == "fake":
        pytest.skip("it is always open")
    await store.aclose()
    with pytest.raises(StoreError):
        await store.read([A])


# --- Sites, and what begins anew


@pytest.mark.needs("sites", "history")
async def test_a_site_has_the_sums_of_its_urls(store: Store) -> None:
    one, two = "https://s.example/1", "http://s.example:81/2"
    await store.apply(increments(1, {one: {"likes": 2}, two: {"likes": 3, "impressions": 9}, A: {"likes": 1}}))
    await store.apply(increments(2, {one: {"likes": 4}}))
    begin = MINUTE * 60
    span = Span("minute", begin, begin + 60)
    read = await cast(SiteStore, store).sites([span])
    assert (read.applied, read.total, read.summed) == (2, 2, 1.0)
    assert read.sites == [
        Site("s.example", 2, {"likes": 9, "impressions": 9}, [[(begin, {"likes": 9, "impressions": 9})]]),
        Site("a.example", 1, {"likes": 1}, [[(begin, {"likes": 1})]]),
    ]
    (every,) = (await cast(SiteStore, store).sites([span], [""])).sites
    assert (every.host, every.urls, every.counts) == ("", 3, {"likes": 10, "impressions": 9})
    past = await cast(SiteStore, store).past([span], site="s.example")
    assert past.past == [[(begin, {"likes": 9, "impressions": 9})]]


@pytest.mark.needs("sites")
async def test_pages_are_listed_by_what_they_have(store: Store) -> None:
    await store.apply(increments(1, {A: {"likes": 1}, B: {"likes": 5}, C: {"likes": 3}}))
    query = PagesQuery(by="all", limit=2)
    read = await cast(SiteStore, store).pages(query)
    assert ([page.url for page in read.pages], read.total) == ([B, C], 3)
    query = PagesQuery(by="all", limit=2, after=(3, 3, C), without=[B])
    read = await cast(SiteStore, store).pages(query)
    assert ([page.url for page in read.pages], [page.url for page in read.named]) == ([A], [B])


@pytest.mark.needs("sites", "actors")
@pytest.mark.parametrize(
    ("fold", "left"),
    [
        (Fold(A, "", KEYS.of_url(A), b""), {"https://a.example/2": {"likes": 2}, B: {"likes": 4}}),
        (Fold(A, A, KEYS.of_url(A), b""), {A: {}, "https://a.example/2": {"likes": 2}, B: {"likes": 4}}),
        (Fold("//a.example", "", b"", b""), {B: {"likes": 4}}),
    ],
)
async def test_what_is_erased_begins_anew(store: Store, fold: Fold, left: Rows) -> None:
    liking = {KEYS("ann", A): Liking(True, 1), KEYS("ann", B): Liking(True, 1)}
    rows: Rows = {A: {"likes": 1}, "https://a.example/2": {"likes": 2}, B: {"likes": 4}}
    await store.apply(Increments(1, 1, MINUTE, rows, liking))
    applied = await store.apply(Increments(2, 2, MINUTE, {A: {"likes": 8}}, merge=fold))
    assert applied is not None
    found = (await store.read([A, "https://a.example/2", B]))[1]
    assert {url: {name: n for name, n in counts.items() if n} for url, counts in found.items()} == left
    assert (await store.read_actors([KEYS("ann", A), KEYS("ann", B)]))[1] == {KEYS("ann", B)}
    (every,) = (await cast(SiteStore, store).sites([], [""])).sites
    assert every.counts == {"likes": sum(counts.get("likes", 0) for counts in left.values())}
    assert every.urls == len(left)
    assert await store.apply(Increments(2, 2, MINUTE, {A: {"likes": 8}}, merge=fold)) is None
    await store.apply(increments(3, {A: {"likes": 5}}))
    assert (await store.read([A]))[1][A]["likes"] == 5


@pytest.mark.needs("sites", "merging")
async def test_an_alias_that_is_removed_counts_for_itself(store: Store) -> None:
    await store.apply(Increments(1, 1, MINUTE, {A: {"likes": 1}}, merge=MERGE))
    await cast(SiteStore, store).remove_alias(A)
    assert await store.aliases() == {}
    await store.apply(increments(2, {A: {"likes": 5}}))
    assert await store.read([A, B]) == (2, {A: {"likes": 5}, B: {"likes": 1}})


# --- Idempotency keys


def key(name: str, body: bytes = b"body") -> IdempotencyKey:
    return IdempotencyKey(name, body.ljust(16, b"\0"))


async def claim(store: Store, *keys: IdempotencyKey, settled: Settled | None = None, window: float = 60) -> list[str]:
    claims = await cast(KeyStore, store).claim_keys(keys, settled or Settled(), window)
    return [claim.state for claim in claims]


@pytest.mark.needs("keys")
async def test_a_key_is_this_nodes_until_it_is_settled_and_answers_afterwards(store: Store) -> None:
    assert await claim(store, key("a"), key("b")) == ["mine", "mine"]
    assert await claim(store, key("a")) == ["mine"], "who claimed it knows what it counted"
    done = Settled(done=[(key("a"), 7)], released=[key("b")])
    assert await claim(store, key("b"), settled=done) == ["mine"]
    assert await cast(KeyStore, store).claim_keys([key("a")], Settled(), 60) == [Claim("taken", 7)]
    assert await claim(store, key("a", b"another body")) == ["reused"]


@pytest.mark.needs("keys")
async def test_a_key_is_free_when_its_window_is_over(store: Store) -> None:
    await claim(store, key("a"), settled=Settled(done=[(key("z"), 1)]))
    assert await claim(store, key("z"), window=0) == ["mine"]


@pytest.mark.needs("keys")
async def test_the_next_life_finds_what_the_last_one_did_not_settle(store: Store, reopen: Reopen) -> None:
    await claim(store, key("a"), key("b"), key("c"))
    await claim(store, settled=Settled(done=[(key("c"), 1)]))
    again = reopen()
    await again.open(NAMES)
    left = await cast(KeyStore, again).claims_left()
    assert sorted(left, key=lambda each: each.key) == [key("a"), key("b")]
    await claim(cast(Store, again), settled=Settled(done=[(key("a"), 3)], released=[key("b")]))
    assert await cast(KeyStore, again).claims_left() == []
    assert await cast(KeyStore, again).claim_keys([key("a")], Settled(), 60) == [Claim("taken", 3)]
    await again.aclose()


@pytest.mark.needs("keys")
async def test_a_claim_that_the_store_lost_is_there_when_it_is_done(store: Store) -> None:
    assert await claim(store, settled=Settled(done=[(key("lost"), 5)])) == []
    assert await claim(store, key("lost")) == ["taken"]
