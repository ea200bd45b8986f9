"""Merging: a merge has its place among all events, and whatever comes before, meanwhile and after is counted once."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.counting.aliases import Aliases
from likd.durability.disk import RealDisk
from likd.durability.filenames import BATCH
from likd.engine import Engine, open_engine
from likd.model import LIKE, UNLIKE, Accepted, ActorEvent, Counts, Events, Liking, Submission
from likd.plugins.handlers import Handlers, Impressions, Likes
from likd.queries.merging import MergeBusy, MergeError
from likd.stores.protocol import Increments
from likd.stores.sqlite.store import SqliteDatabase, SqliteStore
from likd.testing.faults import Faults, FaultyStore

OLD, NEW, OTHER = (f"https://example.com/{name}" for name in ("old", "new", "other"))
KEYS = ActorKeys(b"secret")


class World:
    """A data directory and its store, which can be away, and one life of the engine after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults = Faults()
        self.stuck = False
        """Whether batch files are never written."""

    async def write(self, name: str, data: bytes) -> None:
        if self.stuck and BATCH.id_of(name) is not None:
            await trio.sleep_forever()
        await RealDisk(self.path).write(name, data)

    @asynccontextmanager
    async def life(self, *, flush_interval: float = 3600.0, **settings: object) -> AsyncIterator[Engine]:
        config = Config(flush_interval=flush_interval, write_tolerance=1e6, table_limit_max=1, **settings)  # type: ignore[arg-type]
        database = SqliteDatabase(self.path / "likd.db", "here", url_key=KEYS.of_url)
        disk = RealDisk(self.path)
        disk.write = self.write  # type: ignore[method-assign]
        async with (
            open_engine(
                config,
                disk=disk,
                store=FaultyStore(database, self.faults),
                handlers=Handlers({"likes": Likes(), "impressions": Impressions()}),
                actor_keys=KEYS,
            ) as engine,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(engine.root.run)
            yield engine
            assert not [child.last_fault for child in engine.root.children if child.last_fault]
            nursery.cancel_scope.cancel()

    def store_away(self, away: bool) -> None:
        self.faults.store_away_until = math.inf if away else 0.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def act(actor: str, url: str, kind: str = LIKE) -> Submission:
    return Submission({}, 1, acts=[ActorEvent(kind, url, KEYS(actor, url))])


async def send(engine: Engine, submission: Submission) -> None:
    answering = await engine.intake.submit(submission)
    assert isinstance(await answering.settled(), Accepted)


async def like(engine: Engine, url: str, times: int = 1) -> None:
    await send(engine, Submission({LIKE: {url: times}}, times))


async def counts(engine: Engine, url: str) -> Counts:
    return (await engine.totals.counts([url]))[url]


async def net(engine: Engine, url: str) -> int:
    found = await counts(engine, url)
    return found.get("likes", 0) - found.get("unlikes", 0)


async def until_stored(engine: Engine) -> None:
    """Wait until the store has all that is in hand."""
    while engine.totals.ledger.waiting or engine.totals.ledger.merging or engine.batcher.tables_in_hand:
        await engine.totals.ledger.wait_moved()


async def drain(engine: Engine) -> None:
    with trio.fail_after(10):
        await engine.drain()


async def test_an_actor_who_likes_both_just_before_a_merge_has_one_like_and_can_take_it_back(world: World) -> None:
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        await drain(engine)
    async with world.life() as engine:
        await send(engine, act("a", NEW))
        merged = await engine.merger.merge(OLD, NEW)
        assert (merged.pending, merged.liked_both) == (False, 1)
        assert await net(engine, NEW) == await net(engine, OLD) == 1
        await send(engine, act("a", OLD, UNLIKE))
        assert await net(engine, NEW) == 0
        await drain(engine)
    async with world.life() as engine:
        assert await net(engine, NEW) == 0
        await send(engine, act("a", NEW, UNLIKE))
        assert await net(engine, NEW) == 0


async def test_a_body_that_was_being_read_during_a_merge_counts_for_the_new_url(world: World) -> None:
    async with world.life() as engine:
        read, acted = Submission({LIKE: {OLD: 3}}, 3), act("a", OLD)
        await engine.merger.merge(OLD, NEW)
        await send(engine, read)
        await send(engine, acted)
        assert await counts(engine, OLD) == await counts(engine, NEW) == {"likes": 4}
        await send(engine, act("a", NEW))
        assert await counts(engine, NEW) == {"likes": 4}
        await drain(engine)
        assert (await engine.store.read([OLD, NEW]))[1] == {NEW: {"likes": 4}}


async def test_while_the_store_is_away_reads_have_both_urls_and_no_count_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.life() as engine:
        await like(engine, OLD, 5)
        await like(engine, NEW, 2)
        assert (await counts(engine, OLD), await counts(engine, NEW)) == ({"likes": 5}, {"likes": 2})
        world.store_away(True)
        assert (await engine.merger.merge(OLD, NEW, store_seconds=0.05)).pending
        assert await counts(engine, OLD) == await counts(engine, NEW) == {"likes": 7}
        await like(engine, OLD)
        assert await counts(engine, OLD) == await counts(engine, NEW) == {"likes": 8}
        for old, new in ((OLD, NEW), (NEW, OTHER)):
            with pytest.raises(MergeBusy):
                await engine.merger.merge(old, new)
        world.store_away(False)
        with trio.fail_after(10):
            await until_stored(engine)
        assert await counts(engine, OLD) == await counts(engine, NEW) == {"likes": 8}
        assert not (await engine.merger.merge(OLD, NEW)).pending


@pytest.mark.parametrize("before", [[], [OLD], [NEW], [OLD, NEW]])
@pytest.mark.parametrize("after", [OLD, NEW])
@pytest.mark.parametrize("known", [True, False])
async def test_an_act_after_the_place_of_a_merge_heeds_what_came_before_on_either_url(
    world: World, monkeypatch: pytest.MonkeyPatch, before: list[str], after: str, known: bool
) -> None:
    """Whether the store has done it or not, and whether it has what came before or not."""
    async with world.life() as engine:
        for url in before:
            await send(engine, act("a", url))
        if known:
            await drain(engine)
    async with world.life() as engine:
        for url in (OLD, NEW):
            # Known without the store from now on.
            await send(engine, act("a", url) if url in before else act("a", url, UNLIKE))
            await counts(engine, url)
        world.store_away(True)
        assert (await engine.merger.merge(OLD, NEW, store_seconds=0.05)).pending
        await send(engine, act("a", after))
        if before:
            assert await net(engine, NEW) == len(before)
        await send(engine, act("a", after, UNLIKE))
        world.store_away(False)
        with trio.fail_after(10):
            await until_stored(engine)
        assert await net(engine, NEW) == 0
        await send(engine, act("a", OLD))
        assert await net(engine, NEW) == 1
        await drain(engine)
        assert await net(engine, NEW) == 1


@pytest.mark.parametrize("batched", [True, False])
async def test_a_merge_that_was_acknowledged_is_done_after_a_crash(
    world: World, monkeypatch: pytest.MonkeyPatch, batched: bool
) -> None:
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        await send(engine, act("a", NEW))
        await send(engine, act("b", OLD))
        for actor in "bc":
            await send(engine, act(actor, NEW, UNLIKE))
        await send(engine, act("c", OLD, UNLIKE))
        world.store_away(True)
        world.stuck = not batched
        merge = await engine.merger.merge(OLD, NEW, store_seconds=0.05)
        assert merge.pending
        await send(engine, act("b", NEW, UNLIKE))
        await send(engine, act("c", OLD))
    world.stuck = False
    files = BATCH.among(await RealDisk(world.path).names())
    assert bool(files) == batched
    world.store_away(False)
    async with world.life() as engine:
        assert await net(engine, OLD) == await net(engine, NEW)
        with trio.fail_after(10):
            await until_stored(engine)
        assert await net(engine, OLD) == await net(engine, NEW) == 2
        await drain(engine)
        assert set((await engine.store.read([OLD, NEW]))[1]) == {NEW}
        assert len((await engine.store.read_actors([KEYS(actor, NEW) for actor in "abc"]))[1]) == 2


async def test_events_before_and_after_a_merge_in_one_gulp_are_told_apart(world: World) -> None:
    """The event manager finds them all waiting at once: the merge ends their group."""
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        unlike, again = act("a", NEW, UNLIKE), act("a", NEW, UNLIKE)
        await engine.actors.load(unlike)
        first = engine.intake.offer(unlike)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.merger.merge, OLD, NEW)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(send, engine, again)
        await first.settled()
        assert await net(engine, NEW) == 0


async def test_merges_follow_each_other_and_aliases_stay_flat(world: World) -> None:
    async with world.life() as engine:
        for url in (OLD, NEW, OTHER):
            await like(engine, url)
        await engine.merger.merge(OLD, NEW)
        await engine.merger.merge(NEW, OTHER)
        await like(engine, OLD)
        assert [await counts(engine, url) for url in (OLD, NEW, OTHER)] == [{"likes": 4}] * 3
        with pytest.raises(MergeError, match="into itself"):
            await engine.merger.merge(OTHER, OLD)
        with pytest.raises(MergeError, match="already"):
            await engine.merger.merge(OLD, "https://example.com/elsewhere")
    async with world.life() as engine:
        assert [await counts(engine, url) for url in (OLD, NEW, OTHER)] == [{"likes": 4}] * 3


async def test_a_merge_that_nobody_waits_for_any_more_is_done_or_not_and_leaves_the_way_free(world: World) -> None:
    async with world.life() as engine:
        await like(engine, OLD)
        with trio.CancelScope() as scope:
            scope.cancel()
            await engine.merger.merge(OLD, NEW)
        assert (await engine.merger.merge(OLD, NEW)).new == NEW
        assert await counts(engine, NEW) == {"likes": 1}


async def test_starting_counts_of_an_old_url_count_for_the_new_one_at_whatever_moment(world: World) -> None:
    async with world.life() as engine:
        await engine.merger.merge(OLD, NEW)
        assert await engine.store.load("file", {OLD: {"likes": 7}, NEW: {"likes": 1}})
        engine.totals.forget([OLD, NEW])
        assert await counts(engine, OLD) == {"likes": 8}


async def test_what_another_data_directory_counts_for_a_merged_url_is_not_lost(world: World) -> None:
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        await engine.merger.merge(OLD, NEW)
        await drain(engine)
    other = SqliteStore(world.path / "likd.db", "there", url_key=KEYS.of_url)
    await other.open(("likes", "unlikes", "impressions"))
    rows = {OLD: {"likes": 2}, NEW: {"likes": 1}}
    likings = {KEYS("a", OLD): Liking(True, 1), KEYS("b", OLD): Liking(True, 1), KEYS("b", NEW): Liking(True, 1)}
    await other.apply(Increments(1, 1, 0, rows, likings))
    found = (await other.read([OLD, NEW]))[1]
    assert set(found) == {NEW}
    assert found[NEW]["likes"] - found[NEW]["unlikes"] == 2
    await other.aclose()


def test_events_by_their_names_are_added_up_by_what_they_count_for() -> None:
    aliases = Aliases(KEYS.of_url, {"a": "b", "c": "b"})
    events: Events = {LIKE: {"a": 1, "b": 2, "c": 4, "d": 8}}
    assert aliases.events(events) == {LIKE: {"b": 7, "d": 8}}
    assert events == {LIKE: {"a": 1, "b": 2, "c": 4, "d": 8}}
    untouched: Events = {LIKE: {"d": 1}}
    assert aliases.events(untouched) is untouched


def test_aliases_never_lead_in_a_circle() -> None:
    aliases = Aliases(KEYS.of_url, {"a": "b", "b": "c", "c": "a"})
    assert [aliases(url) for url in "abc"] == ["c", "c", "c"]
