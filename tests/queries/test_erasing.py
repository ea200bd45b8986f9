"""Erasing: what came before it is gone, what comes after counts, whatever store and process do meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from likd.durability import batch_file
from likd.durability.batch_file import Batch
from likd.durability.idempotency import KeyReused
from likd.model import UNLIKE, Fold, IdempotencyKey
from likd.queries import merging
from tests.queries.test_merging import NEW, OLD, OTHER, World, act, counts, drain, like, net, send, until_stored

ELSEWHERE = "https://elsewhere.example/"
SITE = "//example.com"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("target", [OLD, SITE])
async def test_what_came_before_is_gone_and_what_comes_after_counts(world: World, target: str, keep: bool) -> None:
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        await like(engine, OLD, 5)
        await like(engine, ELSEWHERE, 3)
        await drain(engine)
    async with world.life() as engine:
        assert await net(engine, OLD) == 6
        await send(engine, act("b", OLD))
        assert not await engine.merger.erase(target, keep=keep)
        assert await counts(engine, OLD) == {}
        assert await counts(engine, ELSEWHERE) == {"likes": 3}
        await send(engine, act("a", OLD))
        await send(engine, act("b", OLD, UNLIKE))
        assert await net(engine, OLD) == 1
        assert [url for url, _ in await engine.top("likes", 10)] == [ELSEWHERE, OLD]
        await drain(engine)
    async with world.life() as engine:
        assert (await counts(engine, OLD), await counts(engine, ELSEWHERE)) == ({"likes": 1}, {"likes": 3})
        history = await engine.store.history(OLD, "day", 0, 1 << 40)
        assert [day[1] for day in history] == [{"likes": 1}]


async def test_a_url_that_is_reset_is_known_with_zeros_and_one_that_is_deleted_is_not(world: World) -> None:
    async with world.life() as engine:
        for url in (OLD, NEW, OTHER):
            await like(engine, url)
        await engine.merger.erase(OLD, keep=True)
        await engine.merger.erase(NEW, keep=False)
        assert [url for url, _ in await engine.store.page("", 9)] == [OLD, OTHER]


async def test_acts_that_are_held_meanwhile_are_decided_by_what_is_left(world: World) -> None:
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        await drain(engine)
    async with world.life() as engine:
        held = act("a", OLD)
        await engine.actors.load(held)
        await engine.merger.erase(SITE, keep=False)
        answering = engine.intake.offer(held)
        await answering.settled()
        assert await net(engine, OLD) == 1
        await drain(engine)
    async with world.life() as engine:
        await send(engine, act("a", OLD, UNLIKE))
        assert await net(engine, OLD) == 0


@pytest.mark.parametrize("stuck", [True, False])
async def test_an_erasure_that_was_acknowledged_is_done_after_a_crash(
    world: World, stuck: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "STORE_SECONDS_MAX", 0.05)
    async with world.life() as engine:
        await like(engine, OLD, 5)
        await like(engine, ELSEWHERE, 2)
        await drain(engine)
    async with world.life() as engine:
        world.store_away(True)
        world.stuck = stuck
        await like(engine, OLD, 5)
        assert await engine.merger.erase(SITE, keep=False)
        await like(engine, OLD, 1)
    world.stuck = False
    world.store_away(False)
    async with world.life() as engine:
        await until_stored(engine)
        assert (await counts(engine, OLD), await counts(engine, ELSEWHERE)) == ({"likes": 1}, {"likes": 2})


@pytest.mark.parametrize("target", [OLD, SITE])
async def test_of_what_the_store_has_erased_in_part_nothing_is_read_but_what_came_later(
    world: World, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "STORE_SECONDS_MAX", 0.05)
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        await drain(engine)
    async with world.life() as engine:
        await send(engine, act("a", OLD, UNLIKE))
        await like(engine, ELSEWHERE, 2)
        assert await counts(engine, OLD) == {"likes": 1, "unlikes": 1}
        assert await counts(engine, ELSEWHERE) == {"likes": 2}
        world.store_away(True)
        assert await engine.merger.erase(target, keep=False)
        assert await counts(engine, OLD) == {}
        await like(engine, OLD, 3)
        assert await counts(engine, OLD) == {"likes": 3}
        assert engine.totals.increments(OLD) == {"likes": 3}
        assert await counts(engine, ELSEWHERE) == {"likes": 2}
        world.store_away(False)
        await until_stored(engine)
        assert (await counts(engine, OLD), await counts(engine, ELSEWHERE)) == ({"likes": 3}, {"likes": 2})


async def test_with_a_key_it_is_done_once(world: World) -> None:
    async with world.life() as engine:
        key = IdempotencyKey("local k", b"d" * 16)
        await engine.merger.erase(OLD, keep=False, key=key)
        await like(engine, OLD, 2)
        await engine.merger.erase(OLD, keep=False, key=key)
        assert await counts(engine, OLD) == {"likes": 2}
        with pytest.raises(KeyReused):
            await engine.merger.erase(OLD, keep=False, key=IdempotencyKey("local k", b"e" * 16))


async def test_an_alias_that_is_removed_counts_for_itself(world: World) -> None:
    async with world.life() as engine:
        await send(engine, act("a", OLD))
        await engine.merger.merge(OLD, NEW)
        held = act("b", OLD)
        await engine.actors.load(held)
        engine.actors.release_when_settled(held, engine.intake.offer(held))
        await engine.merger.remove_alias(OLD)
        assert (await counts(engine, OLD), await counts(engine, NEW)) == ({}, {"likes": 2})
        await send(engine, act("a", OLD))
        await drain(engine)
    async with world.life() as engine:
        assert (await net(engine, OLD), await net(engine, NEW)) == (1, 2)


@pytest.mark.parametrize("fold", [Fold(OLD, "", b"k", b""), Fold(SITE, SITE, b"", b"")])
def test_a_batch_file_says_what_is_erased(fold: Fold) -> None:
    batch = Batch(1, 1.0, 2.0, ("likes",), {OLD: {"likes": 1}}, {}, fold)
    assert batch_file.decode(batch_file.encode(batch)).merge == fold
