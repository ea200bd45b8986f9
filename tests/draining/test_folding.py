"""New rules: what was counted by others becomes part of the URLs that count now, wherever it is, and nobody waits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from likd.counting.actors import ActorKeys
from likd.counting.aliases import Aliases
from likd.draining import folding
from likd.draining.names import Names, known_aliases
from likd.durability import dead_letters
from likd.durability.batch_file import Batch
from likd.durability.disk import RealDisk
from likd.engine import Engine
from likd.errors import StoreError
from likd.ingest.urls import UrlRules
from likd.model import LIKE, UNLIKE, DeadLetter, Fold, Liking, Submission
from likd.queries.merging import MergeBusy
from likd.stores.protocol import Applied, Folding, Increments
from likd.stores.sqlite.store import SqliteStore
from likd.stores.threaded import ThreadedStore
from tests.queries.test_merging import KEYS, World, act, send

HTTP, HTTPS = "http://example.com/", "https://example.com/"
ONE = UrlRules(unify_schemes=True)
NAMES = ("likes", "unlikes", "impressions")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def net(engine: Engine, url: str) -> int:
    counts = (await engine.totals.counts([url]))[url]
    return counts.get("likes", 0) - counts.get("unlikes", 0)


async def folded(engine: Engine) -> None:
    with trio.fail_after(20):
        await engine.root.wait_finished("folder")


@pytest.mark.parametrize("where", ["store", "batch file", "journal"])
async def test_what_was_counted_by_other_rules_counts_by_the_new_ones_wherever_it_is(world: World, where: str) -> None:
    async with world.life(same_schemes=False, table_limit=10_000 if where == "journal" else 4) as engine:
        world.store_away(where != "store")
        await engine.intake.offer(
            Submission({LIKE: {HTTP: 3, HTTPS: 1, f"{HTTP}a": 1}, "impression": {HTTP: 2}}, 7)
        ).settled()
        if where == "store":
            await engine.drain()
    world.store_away(False)
    async with world.life(same_schemes=True) as engine:
        await folded(engine)
        assert (await engine.totals.counts([HTTPS]))[HTTPS] == {"likes": 4, "impressions": 2}
        await engine.drain()
        assert (await engine.store.read([HTTP, HTTPS, f"{HTTPS}a"]))[1] == {
            HTTPS: {"likes": 4, "impressions": 2},
            f"{HTTPS}a": {"likes": 1},
        }


@pytest.mark.parametrize("stored", [[], [HTTP], [HTTPS], [HTTP, HTTPS]])
async def test_an_actor_who_likes_what_is_one_url_now_has_one_like(world: World, stored: list[str]) -> None:
    async with world.life(same_schemes=False) as engine:
        for url in stored:
            await send(engine, act("a", url))
        await engine.drain()
    async with world.life(same_schemes=False) as engine:
        for url in (HTTP, HTTPS):
            await send(engine, act("a", url))
        await send(engine, act("b", HTTP))
    async with world.life(same_schemes=True) as engine:
        await folded(engine)
        await engine.drain()
        assert await net(engine, HTTPS) == 2
    async with world.life(same_schemes=True) as engine:
        await send(engine, act("a", HTTPS))
        assert await net(engine, HTTPS) == 2
        await send(engine, act("a", HTTPS, UNLIKE))
        assert await net(engine, HTTPS) == 1


async def test_events_set_aside_are_replayed_by_the_new_rules(world: World) -> None:
    await RealDisk(world.path).write("aside_000000000001", dead_letters.encode([DeadLetter("likes", LIKE, HTTP, 2)]))
    async with world.life(same_schemes=True) as engine:
        assert await net(engine, HTTPS) == 2
        await engine.drain()
        assert (await engine.store.read([HTTP, HTTPS]))[1] == {HTTPS: {"likes": 2}}


async def filled(path: Path, urls: int) -> SqliteStore:
    """A store with so many URLs that become one by new rules, each liked by an actor."""
    store = SqliteStore(path / "likd.db", "here", url_key=KEYS.of_url)
    await store.open(NAMES)
    await store.fold([], Folding(UrlRules().text))
    likings = {KEYS("a", f"{HTTP}{n}"): Liking(True, 1) for n in range(urls)}
    await store.apply(Increments(1, 1, 0, {f"{HTTP}{n}": {"likes": 1} for n in range(urls)}, likings))
    return store


async def test_a_new_database_is_by_the_rules_at_once(world: World) -> None:
    async with world.life() as engine:
        assert engine.folder.done
        assert await engine.store.folding() == Folding(engine.rules.text)


async def test_folding_is_done_beside_everything_else_and_goes_on_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PAGE_URLS", 10)
    monkeypatch.setattr(folding, "FOLDS_AT_ONCE", 5)
    monkeypatch.setattr(folding, "PAGES_NOTED", 1)
    await (await filled(world.path, 100)).aclose()
    async with world.life(same_schemes=True) as engine:
        while engine.folder.folded < 30:
            await trio.lowlevel.checkpoint()
        assert not engine.folder.done
    async with world.life(same_schemes=True) as engine:
        assert engine.folder.after >= f"{HTTP}2"
        await folded(engine)
        assert engine.folder.folded < 75
        assert await engine.store.folding() == Folding(ONE.text)
        found = (await engine.store.read([f"{scheme}{n}" for n in range(100) for scheme in (HTTP, HTTPS)]))[1]
        assert found == {f"{HTTPS}{n}": {"likes": 1} for n in range(100)}


async def test_rules_that_change_again_begin_from_the_start(world: World) -> None:
    store = await filled(world.path, 3)
    await store.fold([], Folding(UrlRules().text, "others", f"{HTTP}2"))
    await store.aclose()
    async with world.life(same_schemes=True) as engine:
        await folded(engine)
        assert await net(engine, f"{HTTPS}0") == 1


async def test_old_rules_that_come_back_half_way_are_not_thought_to_be_there_already(world: World) -> None:
    store = await filled(world.path, 3)
    await store.fold([], Folding(ONE.text, "others", f"{HTTP}2"))
    await store.aclose()
    async with world.life(same_schemes=True) as engine:
        assert not engine.folder.done
        await folded(engine)
        assert await net(engine, f"{HTTPS}0") == 1


@pytest.mark.parametrize("applied", ["before", "after"])
async def test_an_unlike_under_the_new_name_takes_back_what_is_still_stored_under_the_old(
    tmp_path: Path, applied: str
) -> None:
    store = await filled(tmp_path, 1)
    old, new = f"{HTTP}0", f"{HTTPS}0"
    unlike = Increments(2, 2, 0, {new: {}}, {KEYS("a", new): Liking(False, 0)})
    await store.fold([], Folding("", ONE.text))
    if applied == "before":
        await store.apply(unlike)
    await store.fold([Fold(old, new, KEYS.of_url(old), KEYS.of_url(new))], Folding("", ONE.text))
    await store.fold([], Folding(ONE.text))
    if applied == "after":
        await store.apply(unlike)
    assert (await store.read([old, new]))[1] == {new: {"likes": 1, "unlikes": 1}}
    assert (await store.read_actors([KEYS("a", url) for url in (old, new)]))[1] == set()
    await store.aclose()


async def test_an_old_name_shows_no_less_while_folding_is_under_way(world: World) -> None:
    store = await filled(world.path, 1)
    await store.apply(Increments(2, 2, 0, {f"{HTTPS}0": {"likes": 4}}))
    await store.aclose()
    async with world.life(same_schemes=True) as engine:
        old, new = f"{HTTP}0", f"{HTTPS}0"
        assert await net(engine, new) in (4, 5)
        while True:
            done = engine.folder.done
            assert (await engine.totals.counts([new], {new: [old]}))[new] == {"likes": 5}
            if done:
                break
            await trio.lowlevel.checkpoint()
        assert await net(engine, new) == 5


def held_fold(monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Nothing is folded before this is set."""
    may_fold = trio.Event()
    fold: Any = ThreadedStore.fold

    async def wait_and_fold(store: ThreadedStore, folds: Sequence[Fold], *args: object) -> None:
        if folds:
            await may_fold.wait()
        await fold(store, folds, *args)

    monkeypatch.setattr(ThreadedStore, "fold", wait_and_fold)
    return may_fold


@pytest.mark.parametrize("merged", [False, True])
async def test_an_unlike_that_waits_is_never_read_without_the_like_that_is_stored_by_another_name(
    world: World, monkeypatch: pytest.MonkeyPatch, merged: bool
) -> None:
    new = f"{HTTPS}new" if merged else HTTPS
    async with world.life(same_schemes=False) as engine:
        for actor in "ab":
            await send(engine, act(actor, HTTP))
        await engine.drain()
    may_fold, may_apply = held_fold(monkeypatch), trio.Event()

    async def apply(store: ThreadedStore, increments: Increments, apply: Any = ThreadedStore.apply) -> Applied | None:
        await may_apply.wait()
        result: Applied | None = await apply(store, increments)
        return result

    monkeypatch.setattr(ThreadedStore, "apply", apply)
    async with world.life(same_schemes=False) as engine:
        if merged:
            assert (await engine.merger.merge(HTTP, new, store_seconds=0.05)).pending
        await send(engine, act("a", new if merged else HTTP, UNLIKE))
    async with world.life(same_schemes=True) as engine:
        assert await net(engine, new) == 1
        may_fold.set()
        with trio.fail_after(5):
            while engine.folder.folded == 0:
                await trio.lowlevel.checkpoint()
        assert await net(engine, new) == 1
        may_apply.set()
        await folded(engine)
        await engine.drain()
        assert await engine.store.read([HTTP, HTTPS, new]) == (
            engine.totals.ledger.applied,
            {new: {"likes": 2, "unlikes": 1}},
        )


@pytest.mark.parametrize("kinds", [[LIKE], [LIKE, UNLIKE]])
@pytest.mark.parametrize("merged", [False, True])
async def test_acts_that_wait_when_an_old_like_is_folded_are_not_read_beside_it(
    world: World, monkeypatch: pytest.MonkeyPatch, kinds: list[str], merged: bool
) -> None:
    new = f"{HTTPS}new" if merged else HTTPS
    async with world.life(same_schemes=False) as engine:
        await send(engine, act("a", HTTP))
        await engine.drain()
    may_look = trio.Event()

    async def page(store: ThreadedStore, after: str, limit: int, page: Any = ThreadedStore.page) -> Any:
        if limit > 1:
            await may_look.wait()
        return await page(store, after, limit)

    monkeypatch.setattr(ThreadedStore, "page", page)
    async with world.life(same_schemes=True) as engine:
        if merged:
            monkeypatch.setattr(ThreadedStore, "apply", AsyncMock(side_effect=StoreError))
            assert (await engine.merger.merge(HTTPS, new, store_seconds=0.05)).pending
        for kind in kinds:
            await send(engine, act("a", new, kind))
        likes = int(kinds[-1] == LIKE)
        assert await net(engine, new) == likes
        may_look.set()
        await folded(engine)
        assert await net(engine, new) == likes
        monkeypatch.undo()
        await engine.drain()
        found = (await engine.store.read([HTTP, HTTPS, new]))[1]
        assert found.keys() == {new}
        assert found[new]["likes"] - found[new].get("unlikes", 0) == likes


urls = st.sampled_from([f"{scheme}://example.com/{n}" for scheme in ("http", "https") for n in range(2)])
batches = st.builds(
    Batch,
    table_id=st.just(1),
    opened=st.just(0.0),
    closed=st.just(0.0),
    names=st.just(NAMES),
    rows=st.dictionaries(urls, st.fixed_dictionaries({"likes": st.integers(0, 9)})),
    actors=st.dictionaries(
        st.tuples(st.sampled_from("ab"), urls).map(lambda place: KEYS(*place)),
        st.builds(Liking, st.booleans(), st.integers(-1, 1)),
    ),
)


@given(batches)
def test_a_batch_by_new_rules_has_the_same_sums(batch: Batch) -> None:
    names = Names(ONE, Aliases(KEYS.of_url), KEYS)
    mapped = names.batch(batch, names.by_rules(batch))
    assert {name: n for name, n in mapped.sums.items() if n} == {name: n for name, n in batch.sums.items() if n}
    assert not any(url.startswith("http:") for url in mapped.rows)
    assert _net(mapped) == _net(batch)


def _net(batch: Batch) -> int:
    return sum(liking.net or 0 for liking in batch.actors.values())


def test_aliases_are_by_the_rules_that_hold_now() -> None:
    keys = ActorKeys(b"")
    noted = {f"{HTTP}old": f"{HTTP}new", f"{HTTPS}old": f"{HTTPS}other", f"{HTTP}same": f"{HTTPS}same"}
    aliases = known_aliases(ONE, keys, noted.items())
    assert {url: aliases(url) for url in aliases} == {f"{HTTPS}old": f"{HTTPS}other"}
    assert known_aliases(UrlRules(), keys, noted.items())(f"{HTTP}old") == f"{HTTP}new"


def test_a_merge_that_waits_is_by_the_rules_that_hold_now() -> None:
    names = Names(ONE, Aliases(KEYS.of_url), KEYS)

    def merge(old: str, new: str) -> Fold | None:
        batch = Batch(1, 0.0, 0.0, NAMES, {}, merge=Fold(old, new, b"o" * 8, b"n" * 8))
        return names.batch(batch, names.by_rules(batch)).merge

    old, new = f"{HTTPS}old", f"{HTTPS}new"
    assert merge(f"{HTTP}old", f"{HTTP}new") == Fold(old, new, KEYS.of_url(old), KEYS.of_url(new))
    assert merge(HTTP, HTTPS) is None


def test_a_merge_that_is_given_again_is_done_again_although_it_is_known() -> None:
    old, new = f"{HTTPS}old", f"{HTTPS}new"
    names = Names(ONE, Aliases(KEYS.of_url), KEYS)
    names.aliases.add(old, new)
    batch = Batch(1, 0.0, 0.0, NAMES, {}, merge=Fold(f"{HTTP}old", f"{HTTP}new", b"o" * 8, b"n" * 8))

    assert names.batch(batch, names.by_rules(batch)).merge is None
    assert names.by_now(batch).merge == Fold(old, new, KEYS.of_url(old), KEYS.of_url(new))


async def test_nothing_is_erased_while_a_part_of_it_may_be_stored_under_an_old_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PAGE_URLS", 2)
    monkeypatch.setattr(folding, "FOLDS_AT_ONCE", 1)
    await (await filled(world.path, 20)).aclose()
    async with world.life(same_schemes=True) as engine:
        while engine.folder.folded < 2:
            await trio.lowlevel.checkpoint()
        assert not engine.folder.done
        with pytest.raises(MergeBusy, match="folded"):
            await engine.merger.erase(f"{HTTPS}7", keep=False)
        await folded(engine)
        await engine.merger.erase(f"{HTTPS}7", keep=False)
        await engine.drain()
        assert (await engine.store.read([f"{HTTP}7", f"{HTTPS}7"]))[1] == {}
