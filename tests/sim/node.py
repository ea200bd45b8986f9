"""A node of a simulated world: a data directory on a disk of its own, with one life of the engine after another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from likd.config.settings import Config
from likd.durability import dates
from likd.engine import Engine, open_engine
from likd.errors import Fenced
from likd.plugins.handlers import Handler, Handlers, Impressions, Likes
from likd.runtime.clock import Clock
from likd.runtime.supervisor import RestartIntensityExceeded
from tests.sim import actors, clients, erasures, faults, reader
from tests.sim.counted import ACTORS, KEYS, ROAMING, Broken, Counted
from tests.sim.disk import PowerCut, SimDisk
from tests.sim.faults import CRASH, Moody, WallClock
from tests.sim.parts import PartedStore
from tests.sim.store import SimStore

if TYPE_CHECKING:
    from tests.sim.world import World

CONFIG = Config(
    table_limit=4,
    table_limit_max=8,
    flush_interval=0.3,
    pool_size=4,
    hung_timeout=0.5,
    max_leases=7,
    write_tolerance=200,
    cache_urls_max=1000,
    cache_actors_max=1000,
    live_interval=0.1,
)


class Node:
    """One of the nodes of a `world`, whose store it reaches by a way of its own."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.rng = world.rng
        self.wall = WallClock(self.rng, wrong=world.alone)
        self.clock = Clock(wall=self.wall, elapsed=trio.current_time)
        self.disk = SimDisk(self.rng)
        self.handler = Moody(self.rng)
        self.engine: Engine | None = None
        self.acknowledged: Counted = Counted()
        """What clients were told by it."""
        self.pending = world.pending
        self.store = self._new_store()

    @property
    def actors(self) -> list[str]:
        """Those who like by this node alone."""
        return ACTORS if self.world.alone else [f"{actor} of node {self.number}" for actor in ACTORS]

    def note(self, *what: object) -> None:
        """Add to the trace of the world."""
        self.world.note(*what, *([] if self.world.alone else [f"node {self.number}"]))

    async def live_badly(self) -> None:
        """Some lives that end badly."""
        for _ in range(self.rng.randint(1, 3)):
            self.disk.faults = self.rng.choice([0.0, 0.0, 0.02, 0.1])
            self.disk.directory_faults = self.rng.choice([0.0, 0.0, 0.3])
            self.world.maybe_change_rules()
            try:
                await self._life(seconds=self.rng.uniform(0.05, 1.2), gently=self.rng.random() < 0.2)
            except* (OSError, RestartIntensityExceeded, Fenced) as endings:
                # At its start, by giving up or fenced, the process ends: its supervisor starts the next one.
                self.note("ended", *map(type, endings.exceptions))
            self.engine = None
            self.disk.crash()
            self.note("crash", self.disk.operations, self.store.applied)
            if self.rng.random() < 0.3:
                faults.go_back(self.world)

    async def live_well(self) -> None:
        """A life without faults, in which all is done that is wanted."""
        self.disk.faults = self.disk.directory_faults = 0.0
        self.world.maybe_change_rules()
        await self._life(seconds=0.1, gently=True, last=True)
        self.engine = None

    def _new_store(self, faults: float = 0.0) -> SimStore:
        kind = PartedStore if self.world.parted else SimStore
        store = kind(
            self.rng,
            wall_clock=lambda: self.clock.settled(),
            database=self.world.new_database(self.number),
            late=self.world.bring_late,
        )
        store.faults = faults
        return store

    async def _life(self, *, seconds: float, gently: bool, last: bool = False) -> None:
        world = self.world
        self.handler.begin(well=last)
        self.wall.begin()
        newest = max(await dates.newest(self.disk), self.store.newest)
        self.clock = Clock(newest=newest, wall=self.wall, elapsed=trio.current_time)
        handlers: dict[str, Handler] = {"likes": Likes(), "impressions": Impressions(), "moods": self.handler}
        # A connection of its own: what an earlier life asked may still be on its way.
        self.store = self._new_store(0.0 if last else self.rng.choice([0.0, 0.05, 0.5, 1.0]))
        async with open_engine(
            attrs.evolve(CONFIG, same_schemes=world.same_schemes, replay_window=None),
            disk=self.disk,
            store=self.store,
            handlers=Handlers(handlers, faults_max=self.rng.choice([3, 100])),
            observers=[partial(faults.observe, world)] if self.rng.random() < 0.7 else [],
            clock=self.clock,
            jitter=self.rng.random,
            actor_keys=KEYS,
        ) as engine:
            self.engine = engine
            world.begins(self)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(engine.root.run)
                    await self._serve(engine, seconds, last=last, cut=None if gently or last else nursery.cancel_scope)
                    with trio.move_on_after(60 if last else self.rng.uniform(0, 2)):
                        await engine.drain()
                        self.note("drained")
                    self.disk.off = self.store.off = True
                    nursery.cancel_scope.cancel()
            except* PowerCut:
                pass
            if engine.applied_tables.missing:
                raise Broken(f"the store lost {engine.applied_tables.missing}")
            if engine.batcher.mismatches:
                raise Broken("double entry found a difference")
            for child in engine.root.children:
                if child.last_fault not in (None, CRASH):
                    raise Broken(f"{child.name}: {child.last_fault}")

    async def _serve(self, engine: Engine, seconds: float, *, last: bool, cut: trio.CancelScope | None) -> None:
        """Let the clients at it for so long, or until they have all that they want; with `cut` the power fails then."""
        world = self.world
        async with trio.open_nursery() as nursery:
            for request in self.pending:
                nursery.start_soon(clients.send_again, self, engine, request)
            for _ in range(0 if last else 3):
                nursery.start_soon(clients.send, self, engine)
            for actor in [*self.actors, *([] if world.alone else ROAMING)]:
                nursery.start_soon(partial(actors.act, self, engine, actor, last=last))
            nursery.start_soon(lambda: clients.load(world, engine, last=last))
            if world.alone:
                nursery.start_soon(partial(erasures.erase, world, engine, last=last))
                nursery.start_soon(erasures.send, world, engine)
            nursery.start_soon(reader.read, self, engine)
            if not last:
                nursery.start_soon(clients.merge, world, engine)
                nursery.start_soon(faults.crash_children, world, engine)
                nursery.start_soon(faults.go_back_now_and_then, world)
                nursery.start_soon(self.wall.jump)
            await trio.sleep(seconds)
            if cut is not None:
                self.disk.off = self.store.off = True
                cut.cancel()
            while last and world.wants(self):
                await world.wait_settled()
            if last:
                await engine.root.wait_finished("folder")
            if last and world.alone:
                await reader.read_erased(world, engine)
            nursery.cancel_scope.cancel()
