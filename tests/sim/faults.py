"""What goes wrong in a simulated world besides disk, store and power: children, observers, handlers, the clock."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from likd.engine import Engine
from tests.sim.counted import COUNTED, MOOD, MOODS

if TYPE_CHECKING:
    from tests.sim.world import World

CRASH = "the simulation says so"
YEARS = 10 * 365 * 86_400.0


class Moody:
    """A handler that fails for some URLs, others in each life."""

    kinds: tuple[str, ...] = (MOOD,)
    counts: tuple[str, ...] = (MOODS,)

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failing: list[str] = []
        self.ever_failed = False

    def begin(self, *, well: bool) -> None:
        """A life begins, in which it does well or not."""
        self._failing = [] if well else self._rng.sample(COUNTED, self._rng.choice([0, 0, 2, len(COUNTED)]))
        self.ever_failed |= bool(self._failing)

    def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
        if url in self._failing:
            raise RuntimeError("the handler fails")
        return {MOODS: times}


class WallClock:
    """The system's clock, which people and daemons set as they like.

    One life begins when it is wrong by years: not the first, which has nothing to compare it with, and no other, for
    what two lives say is believed. Until then it may also be set wrong by years at any time. One that is never
    `wrong` so is off by an hour at most.
    """

    def __init__(self, rng: random.Random, *, wrong: bool) -> None:
        self._rng = rng
        self._lives = 0
        self._wrong_in = rng.randint(1, 3) if wrong else -1
        self._off = 0.0

    def __call__(self) -> float:
        return 1_790_000_000.0 + self._off + trio.current_time()

    def begin(self) -> None:
        """A life begins."""
        wrong = [YEARS] if self._lives == self._wrong_in else []
        self._off = self._rng.choice([0.0, self._rng.uniform(-4000, 4000), *wrong])
        self._lives += 1

    async def jump(self) -> None:
        """Jump now and then."""
        wrong = [YEARS, -YEARS] if self._lives - 1 <= self._wrong_in else []
        while True:
            await trio.sleep(self._rng.random() * 2)
            self._off = self._rng.choice([0.0, self._rng.uniform(-4000, 4000), *wrong])


async def crash_children(world: World, engine: Engine) -> None:
    """Crash one child after another."""
    pause = world.rng.choice([0.1, 0.8, 3.0])
    while True:
        await trio.sleep(world.rng.random() * pause)
        child = world.rng.choice(engine.root.children)
        world.note("crashed", child.name)
        child.crash(CRASH)


async def go_back_now_and_then(world: World) -> None:
    """Let the store be what it was earlier, now and then."""
    while True:
        await trio.sleep(world.rng.random() * 2)
        go_back(world)


def go_back(world: World) -> None:
    """Let the store be what it was earlier, if it is of those to whom that happens."""
    if world.database.go_back(world.rng):
        world.note("went back")


async def observe(world: World, url: str, news: Mapping[str, int]) -> None:
    """An observer that is slow, hangs or fails."""
    chance = world.rng.random()
    if chance < 0.02:
        world.note("hung")
        await trio.sleep_forever()
    if chance < 0.05:
        raise RuntimeError("the observer fails")
    await trio.sleep(chance * 0.05)
