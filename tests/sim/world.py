"""A world: one life of the engine after another on the same simulated disk and store, with clients that never rest.

Whatever happens, each event that was acknowledged is counted once, none that was refused is, and no total that is
read goes back; nor does it when URLs are merged, or when by new rules two URLs count as one. Of what was erased, and
that was acknowledged, there is what came after it. The history has what is
counted, whatever the clock says.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from unittest import mock

import attrs
import trio
import trio.testing

from likd.config.settings import Config
from likd.counting.aliases import Aliases
from likd.draining import folding
from likd.durability import dates
from likd.engine import Engine, open_engine
from likd.ingest.urls import UrlRules
from likd.model import LIKES, IdempotencyKey
from likd.plugins.handlers import Handler, Handlers, Impressions, Likes
from likd.queries import merging
from likd.runtime.clock import Clock
from likd.runtime.supervisor import RestartIntensityExceeded
from likd.stores.sqlite import erasures as erasing
from tests.sim import actors, clients, erasures, faults, reader
from tests.sim.actors import Wish
from tests.sim.acts import Acts
from tests.sim.clients import Load
from tests.sim.counted import ACTED, ACTORS, COUNTED, ERASED, KEYS, Broken, Ledger, Request, flat, summed
from tests.sim.disk import PowerCut, SimDisk
from tests.sim.erasures import Erasures
from tests.sim.faults import CRASH, YEARS, Moody, WallClock
from tests.sim.store import SimStore

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


class World:
    """Everything that a seed decides, and what clients know of it."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.verbose = verbose
        self.rng = random.Random(seed)
        self.wall = WallClock(self.rng)
        self.clock = Clock(wall=self.wall, elapsed=trio.current_time)
        self.disk = SimDisk(self.rng)
        self.store = SimStore(self.rng, KEYS.of_url, wall_clock=lambda: self.clock.settled())
        self.handler = Moody(self.rng)
        self.same_schemes = False
        self.goes_back = self.rng.random() < 0.5
        """Whether the store sometimes goes back in time or is away at a start, and the daemon keeps what it needs."""
        self.ledger = Ledger()
        self.pending: list[Request] = []
        self.loads: list[Load] = []
        self.erasures = Erasures()
        self.acts = Acts(self.erasures)
        self.wishes: dict[tuple[str, str], Wish] = {}
        self.trace = hashlib.sha256()
        self.figures: Counter[str] = Counter()
        self._keys = 0
        self._settled = trio.Event()

    def new_key(self) -> IdempotencyKey:
        """A key that nobody else has."""
        self._keys += 1
        return clients.key_of(self._keys)

    def tell_settled(self) -> None:
        """A client has heard what it waited for."""
        self._settled.set()
        self._settled = trio.Event()

    def note(self, *what: object) -> None:
        """Add to the trace, by which two runs of a seed are compared."""
        self.trace.update(repr((*what, round(trio.current_time(), 9))).encode())
        self.figures[str(what[0])] += 1
        if self.verbose:
            print(f"{trio.current_time():9.4f}", *what)

    def classes(self, aliases: Aliases | Mapping[str, str], rules: UrlRules) -> dict[str, str]:
        """What each URL counts for."""
        name = aliases if isinstance(aliases, Aliases) else lambda url: aliases.get(url, url)
        return {url: name(rules(url)) for url in [*COUNTED, *ACTED, *ERASED]}

    async def live(self) -> None:
        """Some lives that end badly, and a last one that ends well."""
        for _ in range(self.rng.randint(1, 3)):
            self.disk.faults = self.rng.choice([0.0, 0.0, 0.02, 0.1])
            self.disk.directory_faults = self.rng.choice([0.0, 0.0, 0.3])
            self.store.faults = self.rng.choice([0.0, 0.05, 0.5, 1.0])
            self.store.database.keeps_copies = self.goes_back
            self.store.database.replay_seconds = YEARS if self.goes_back else 0.0
            self._maybe_change_rules()
            try:
                await self._life(seconds=self.rng.uniform(0.05, 1.2), gently=self.rng.random() < 0.2)
            except* (OSError, RestartIntensityExceeded) as endings:
                # At its start or by giving up, the process ends: its supervisor starts the next one.
                self.note("ended", *map(type, endings.exceptions))
            self.disk.crash()
            self.store.off = False
            self.note("crash", self.disk.operations, self.store.applied)
            if self.rng.random() < 0.3:
                faults.go_back(self)
        self.disk.faults = self.disk.directory_faults = self.store.faults = 0.0
        self._maybe_change_rules()
        await self._life(seconds=0.1, gently=True, last=True)
        self._check_all()

    def _maybe_change_rules(self) -> None:
        if not self.same_schemes and self.rng.random() < 0.3:
            self.same_schemes = True
            self.acts.united(trio.current_time())
            self.note("rules")

    async def _life(self, *, seconds: float, gently: bool, last: bool = False) -> None:
        self.handler.begin(well=last)
        self.wall.begin()
        newest = max(await dates.newest(self.disk), self.store.newest)
        self.clock = Clock(newest=newest, wall=self.wall, elapsed=trio.current_time)
        handlers: dict[str, Handler] = {"likes": Likes(), "impressions": Impressions(), "moods": self.handler}
        async with open_engine(
            attrs.evolve(CONFIG, same_schemes=self.same_schemes, replay_window=None),
            disk=self.disk,
            store=self.store,
            handlers=Handlers(handlers, faults_max=self.rng.choice([3, 100])),
            observers=[self._observe] if self.rng.random() < 0.7 else [],
            clock=self.clock,
            jitter=self.rng.random,
            actor_keys=KEYS,
        ) as engine:
            self.acts.seen(engine.totals.ledger.aliases, trio.current_time())
            self.erasures.life_begins()
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
        async with trio.open_nursery() as nursery:
            for request in self.pending:
                nursery.start_soon(clients.send_again, self, engine, request)
            for _ in range(0 if last else 3):
                nursery.start_soon(clients.send, self, engine)
            for actor in ACTORS:
                nursery.start_soon(partial(actors.act, self, engine, actor, last=last))
            nursery.start_soon(lambda: clients.load(self, engine, last=last))
            nursery.start_soon(partial(erasures.erase, self, engine, last=last))
            nursery.start_soon(erasures.send, self, engine)
            nursery.start_soon(reader.read, self, engine)
            if not last:
                nursery.start_soon(clients.merge, self, engine)
                nursery.start_soon(faults.crash_children, self, engine)
                nursery.start_soon(faults.go_back_now_and_then, self)
                nursery.start_soon(self.wall.jump)
            await trio.sleep(seconds)
            if cut is not None:
                self.disk.off = self.store.off = True
                cut.cancel()
            while last and (self.pending or self.loads or self.acts.unsettled or self.erasures.wanted):
                await self._settled.wait()
            if last:
                await engine.root.wait_finished("folder")
                await reader.read_erased(self, engine)
            nursery.cancel_scope.cancel()

    async def _observe(self, url: str, news: Mapping[str, int]) -> None:
        await faults.observe(self)

    def _check_all(self) -> None:
        by = self.classes(self.store.database.merged, UrlRules(self.same_schemes))
        rows = self.store.rows
        self.acts.check(by, rows, self.store.database.liking, KEYS, ACTORS, ACTED)
        for url in rows:
            if by[url] != url:
                raise Broken(f"{url} still has counts of its own, and is part of {by[url]}")
        elsewhere = [url for url in rows if url not in [*ACTED, *map(by.__getitem__, ERASED)]]
        counted = flat({url: rows[url] for url in elsewhere})
        history = flat({url: self.store.database.history_of(url) for url in elsewhere})
        acknowledged, doubtful = summed(self.ledger.acknowledged, by), summed(self.ledger.doubtful, by)
        loaded = summed(self.ledger.loaded, by)
        for place in {*counted, *acknowledged, *summed(self.ledger.sent, by)}:
            low, high = acknowledged[place], acknowledged[place] + doubtful[place]
            if not low <= counted[place] <= high:
                raise Broken(f"{place}: {counted[place]} counted, {low} acknowledged, {high - low} in doubt")
            if history[place] + loaded[place] != counted[place]:
                raise Broken(f"{place}: {counted[place]} counted, {history[place]} in the history")
        for url in ERASED:
            likes = rows.get(by[url], {}).get(LIKES, 0)
            erasures.check_read(self, url, likes)
            if self.store.database.history_of(by[url]).get(LIKES, 0) != likes:
                raise Broken(f"{url}: {likes} likes, and the history has others")
        if off := self.store.database.site_sums_off:
            raise Broken(f"sums by site are off: {off[:3]}")
        if self.disk.damaged:
            raise Broken(f"set aside as damaged: {self.disk.damaged}")
        if self.store.database.corrections and not (self.same_schemes or self.store.database.went_back):
            raise Broken("what is known of actors was wrong")
        self.note("end", sorted(counted.items()))


def run(seed: int, *, verbose: bool = False) -> World:
    """Run the world of `seed`; the same each time. Raises Broken."""
    # As trio's own plug-in for hypothesis does it: its scheduler shuffles, and this is its only randomness.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(seed)
    world: list[World] = []

    async def live() -> None:
        world.append(World(seed, verbose=verbose))
        await world[0].live()

    with (
        mock.patch.multiple(folding, PAGE_URLS=3, FOLDS_AT_ONCE=1, PAGES_NOTED=1, RETRY_SECONDS=0.02),
        mock.patch.object(merging, "STORE_SECONDS_MAX", 0.2),
        mock.patch.multiple(erasing, URLS_AT_ONCE=2, ACTORS_AT_ONCE=3),
    ):
        trio.run(live, clock=trio.testing.MockClock(autojump_threshold=0))
    return world[0]


def reasons(error: BaseException) -> str:
    """What is at the bottom of a group of exceptions."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(reasons, error.exceptions))
    return f"{type(error).__name__}: {error}"
