"""Answers that are given again: only as long as nothing has moved, for a second, and a few megabytes of them."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing

from likd.web.answers import Answer
from likd.web.api import kept as kept_module
from likd.web.api.kept import KEPT_SECONDS, Kept
from likd.web.problems import Problem


@attrs.define
class World:
    """Where things are, and when; what is looked at tells where they were when the look began."""

    position: int = 0
    now: float = 100.0
    looks: int = 0
    goes_on: trio.Event | None = None
    size: int = 0

    async def look(self) -> Answer:
        self.looks += 1
        seen = self.position
        if self.goes_on is not None:
            await self.goes_on.wait()
        return Answer(200, str(seen).encode() + b" " * self.size)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def kept(world: World) -> Kept:
    return Kept(lambda: world.position, lambda: world.now)


async def test_an_answer_is_given_again_for_a_second(world: World, kept: Kept) -> None:
    assert kept.get("a") is None
    answer = await kept.ask("a", world.look)
    world.now += KEPT_SECONDS / 2
    assert (kept.get("a"), await kept.ask("a", world.look), world.looks) == (answer, answer, 1)
    await kept.ask("b", world.look)
    world.now += KEPT_SECONDS / 2
    assert (kept.get("a"), kept.get("b")) == (None, None)


async def test_no_answer_outlives_a_move(world: World, kept: Kept) -> None:
    await kept.ask("a", world.look)
    world.position += 1
    assert kept.get("a") is None
    assert (await kept.ask("b", world.look)).body == b"1"
    assert (await kept.ask("a", world.look)).body == b"1"


async def test_what_moved_while_it_was_looked_at_is_not_kept(world: World, kept: Kept) -> None:
    world.goes_on = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.ask, "a", world.look)
        await trio.testing.wait_all_tasks_blocked()
        world.position += 1
        world.goes_on.set()
    assert kept.get("a") is None


async def test_who_asks_at_once_shares_a_look_unless_something_has_moved(world: World, kept: Kept) -> None:
    world.goes_on = trio.Event()
    heard: list[bytes] = []

    async def ask() -> None:
        heard.append((await kept.ask("a", world.look)).body)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert world.looks == 1
        world.position += 1
        for _ in range(10):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert world.looks == 2
        world.goes_on.set()
    assert sorted(heard) == [b"0"] * 10 + [b"1"] * 10


async def test_a_problem_is_everybodys_who_waits_and_nobodys_later(kept: Kept) -> None:
    goes_on = trio.Event()
    problems = 0

    async def fail() -> Answer:
        await goes_on.wait()
        raise Problem(503, "away")

    async def ask() -> None:
        nonlocal problems
        with pytest.raises(Problem):
            await kept.ask("a", fail)
        problems += 1

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        goes_on.set()
    assert problems == 3
    assert (await kept.ask("a", World().look)).status == 200


async def test_who_leaves_while_it_looks_leaves_it_to_the_others(world: World, kept: Kept) -> None:
    world.goes_on = trio.Event()
    heard: list[Answer] = []

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            heard.append(await kept.ask("a", world.look))

    leaving = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, leaving)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        leaving.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert world.looks == 2
        world.goes_on.set()
    assert len(heard) == 1


async def test_what_is_kept_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch, world: World, kept: Kept) -> None:
    monkeypatch.setattr(kept_module, "KEPT_BYTES_MAX", 100_000)
    for n in range(100):
        await kept.ask(n, world.look)
    assert 0 < sum(kept.get(n) is not None for n in range(100)) <= 25
    world.size = 100_000
    await kept.ask("huge", world.look)
    assert kept.get("huge") is None
