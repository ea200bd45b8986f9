"""A world: one life of the engine after another on the same simulated disk and store, with clients that never rest.

Whatever happens, each event that was acknowledged is counted once, none that was refused is, and no total that is
read goes back.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping

import attrs
import trio
import trio.testing

from likd.actors import ActorKeys
from likd.config import Config
from likd.engine import Engine, open_engine
from likd.events import (
    IMPRESSION,
    IMPRESSIONS,
    LIKE,
    LIKES,
    UNLIKE,
    UNLIKES,
    Accepted,
    Act,
    Events,
    IdempotencyKey,
    Refused,
    Submission,
)
from likd.handlers import Handlers, Impressions, Likes
from likd.keys import KeyReused
from likd.store import StoreError
from likd.supervisor import RestartIntensityExceeded
from tests.sim.disk import PowerCut, SimDisk
from tests.sim.store import SimStore

NAMES = {LIKE: LIKES, UNLIKE: UNLIKES, IMPRESSION: IMPRESSIONS}
URLS = [f"https://example.com/{n}" for n in range(9)]
LIKED = [f"https://liked.example/{n}" for n in range(3)]
"""Only actors like these."""
KEYS = ActorKeys(b"a secret")
CONFIG = Config(
    table_limit=4,
    flush_interval=0.3,
    pool_size=4,
    hung_timeout=0.5,
    max_leases=7,
    write_tolerance=200,
    cache_urls_max=1000,
    cache_actors_max=1000,
    live_interval=0.1,
)

Counted = Counter[tuple[str, str]]
"""(URL, count name) → n"""


class Broken(AssertionError):
    """A promise is broken."""


@attrs.define(eq=False)
class Request:
    """What a client wants counted, and what became of it."""

    events: Events
    key: IdempotencyKey | None

    @property
    def counted(self) -> Counted:
        return Counter({(url, NAMES[kind]): n for kind, urls in self.events.items() for url, n in urls.items()})

    @property
    def size(self) -> int:
        return sum(n for urls in self.events.values() for n in urls.values())


class World:
    """Everything that a seed decides."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.verbose = verbose
        self.rng = random.Random(seed)
        self.disk = SimDisk(self.rng)
        self.store = SimStore(self.rng)
        self.sent: Counted = Counter()
        self.acknowledged: Counted = Counter()
        self.doubtful: Counted = Counter()
        self.pending: list[Request] = []
        self.keys = 0
        self.wishes: dict[tuple[str, str], bool] = {}
        """(actor, URL) → what the actor wanted last."""
        self.unsettled: set[tuple[str, str]] = set()
        """Where the actor has not heard yet that it is so."""
        self._settled = trio.Event()
        self.trace = hashlib.sha256()
        self.figures: Counter[str] = Counter()

    async def live(self) -> None:
        """Some lives that end badly, and a last one that ends well."""
        for _ in range(self.rng.randint(1, 3)):
            self.disk.faults = self.rng.choice([0.0, 0.0, 0.02, 0.1])
            self.store.faults = self.rng.choice([0.0, 0.05, 0.5, 1.0])
            try:
                await self._life(seconds=self.rng.uniform(0.05, 1.2), gently=self.rng.random() < 0.2)
            except* (OSError, RestartIntensityExceeded) as faults:
                # At its start or by giving up, the process ends: its supervisor starts the next one.
                self.note("ended", *map(type, faults.exceptions))
            self.disk.crash()
            self.store.off = False
            self.note("crash", self.disk.operations, self.store.applied)
        self.disk.faults = self.store.faults = 0.0
        await self._life(seconds=0.1, gently=True, last=True)
        self._check_all()

    def note(self, *what: object) -> None:
        """Add to the trace, by which two runs of a seed are compared."""
        self.trace.update(repr((*what, round(trio.current_time(), 9))).encode())
        self.figures[str(what[0])] += 1
        if self.verbose:
            print(f"{trio.current_time():9.4f}", *what)

    async def _life(self, *, seconds: float, gently: bool, last: bool = False) -> None:
        async with open_engine(
            CONFIG,
            disk=self.disk,
            store=self.store,
            handlers=Handlers({"likes": Likes(), "impressions": Impressions()}),
            observers=[self._observe] if self.rng.random() < 0.7 else [],
            wall_clock=lambda: 1_790_000_000 + trio.current_time(),
            jitter=self.rng.random,
        ) as engine:
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(engine.root.run)
                    async with trio.open_nursery() as clients:
                        for request in self.pending:
                            clients.start_soon(self._retry, engine, request)
                        for _ in range(0 if last else 3):
                            clients.start_soon(self._client, engine)
                        for number in range(2):
                            clients.start_soon(self._actor, engine, f"actor {number}", last)
                        clients.start_soon(self._reader, engine)
                        if not last:
                            clients.start_soon(self._crash_children, engine)
                        await trio.sleep(seconds)
                        if not last and not gently:
                            self.disk.off = self.store.off = True
                            nursery.cancel_scope.cancel()
                        while last and (self.pending or self.unsettled):
                            await self._settled.wait()
                        clients.cancel_scope.cancel()
                    with trio.move_on_after(60 if last else self.rng.uniform(0, 2)):
                        await engine.drain()
                        self.note("drained")
                    self.disk.off = self.store.off = True
                    nursery.cancel_scope.cancel()
            except* PowerCut:
                pass
            if engine.batcher.mismatches:
                raise Broken("double entry found a difference")

    async def _client(self, engine: Engine) -> None:
        while True:
            request = self._new_request()
            if request.key is not None:
                self.pending.append(request)
                await self._retry(engine, request)
            else:
                await self._submit(engine, request)
            await trio.sleep(self.rng.random() * 0.05)

    def _new_request(self) -> Request:
        events: Events = {}
        for _ in range(self.rng.randint(1, 7)):
            urls = events.setdefault(self.rng.choice(list(NAMES)), {})
            url = self.rng.choice(URLS)
            urls[url] = urls.get(url, 0) + self.rng.randint(1, 3)
        key = None
        if self.rng.random() < 0.6:
            self.keys += 1
            key = IdempotencyKey(f"key-{self.keys}", b"%d" % self.keys)
        request = Request(events, key)
        self.sent += request.counted
        return request

    async def _actor(self, engine: Engine, actor: str, last: bool) -> None:
        """Likes and unlikes, and repeats itself until it is heard; what it wanted last must be so in the end."""
        while True:
            wanted = [place for place in sorted(self.unsettled) if place[0] == actor]
            if not wanted:
                if last:
                    return
                wanted = [(actor, self.rng.choice(LIKED))]
                self.wishes[wanted[0]] = self.rng.random() < 0.6
                self.unsettled.add(wanted[0])
            with trio.move_on_after(self.rng.choice([0.01, 10])):
                await self._act(engine, wanted[0])
            await trio.sleep(self.rng.random() * 0.1)

    async def _act(self, engine: Engine, place: tuple[str, str]) -> None:
        kind = LIKE if self.wishes[place] else UNLIKE
        acts = [Act(kind, place[1], KEYS(*place))] * self.rng.randint(1, 2)
        submission = Submission({}, len(acts), acts=acts)
        try:
            await engine.actors.load(submission)
        except StoreError:
            return
        answering = engine.intake.offer(submission)
        engine.actors.release_when_settled(submission, answering)
        outcome = await answering.settled()
        self.note("act", *place, kind, outcome)
        if isinstance(outcome, Accepted):
            self.unsettled.discard(place)
            self._settled.set()
            self._settled = trio.Event()

    async def _retry(self, engine: Engine, request: Request) -> None:
        while request in self.pending:
            # Some clients try again before they have heard.
            with trio.move_on_after(self.rng.choice([0.01, 10])):
                if await self._submit(engine, request):
                    self.pending.remove(request)
                    if not self.pending:
                        self._settled.set()
                        self._settled = trio.Event()
            await trio.sleep(self.rng.random() * 0.1)

    async def _submit(self, engine: Engine, request: Request) -> bool:
        copy = {kind: dict(urls) for kind, urls in request.events.items()}
        keyed = request.key is not None
        if not keyed:
            self.doubtful += request.counted
        try:
            submission = engine.intake.offer(Submission(copy, request.size, request.key))
        except KeyReused:
            raise Broken("a key is said to have come with another body") from None
        outcome = await submission.settled()
        accepted = isinstance(outcome, Accepted)
        self.note("answer", accepted, outcome, request.key and request.key.key, request.counted)
        if isinstance(outcome, Refused) and not outcome.certain:
            return False
        if not keyed:
            self.doubtful -= request.counted
        if accepted:
            self.acknowledged += request.counted
        elif not keyed:
            self.sent -= request.counted
        return accepted

    async def _reader(self, engine: Engine) -> None:
        last: Counted = Counter()
        while True:
            low = self.acknowledged.copy()
            try:
                rows = await engine.totals.counts(URLS + LIKED)
            except StoreError:
                continue
            for url in LIKED:
                net = rows[url].get(LIKES, 0) - rows[url].get(UNLIKES, 0)
                if not 0 <= net <= 2:
                    raise Broken(f"{url} has {net} likes of two actors")
            now = _flat({url: rows[url] for url in URLS})
            self.note("read", now.total())
            for place in {*low, *now, *last}:
                if not max(low[place], last[place]) <= now[place] <= self.sent[place]:
                    raise Broken(f"{place}: read {now[place]} after {last[place]}, {low[place]} acknowledged")
            last = now
            await trio.sleep(self.rng.random() * 0.1)

    async def _crash_children(self, engine: Engine) -> None:
        pause = self.rng.choice([0.1, 0.8, 3.0])
        while True:
            await trio.sleep(self.rng.random() * pause)
            child = self.rng.choice(engine.root.children)
            self.note("crashed", child.name)
            child.crash("the simulation says so")

    async def _observe(self, url: str, news: Mapping[str, int]) -> None:
        chance = self.rng.random()
        if chance < 0.02:
            self.note("hung")
            await trio.sleep_forever()
        if chance < 0.05:
            raise RuntimeError("the observer fails")
        await trio.sleep(chance * 0.05)

    def _check_all(self) -> None:
        self._check_actors()
        counted = _flat({url: counts for url, counts in self.store.rows.items() if url not in LIKED})
        for place in {*counted, *self.acknowledged, *self.sent}:
            low, high = self.acknowledged[place], self.acknowledged[place] + self.doubtful[place]
            if not low <= counted[place] <= high:
                raise Broken(f"{place}: {counted[place]} counted, {low} acknowledged, {high - low} in doubt")
        if self.disk.damaged:
            raise Broken(f"set aside as damaged: {self.disk.damaged}")
        self.note("end", sorted(counted.items()))

    def _check_actors(self) -> None:
        for place, likes in self.wishes.items():
            if (KEYS(*place) in self.store.liking) != likes:
                raise Broken(f"{place} should be {likes}")
        for url in LIKED:
            counts = self.store.rows.get(url, {})
            liking = sum(likes for (_, liked), likes in self.wishes.items() if liked == url)
            if counts.get(LIKES, 0) - counts.get(UNLIKES, 0) != liking:
                raise Broken(f"{url}: {counts}, and {liking} like it")


def _flat(rows: Mapping[str, Mapping[str, int]]) -> Counted:
    return Counter({(url, name): n for url, counts in rows.items() for name, n in counts.items() if n})


def run(seed: int, *, verbose: bool = False) -> World:
    """Run the world of `seed`; the same each time. Raises Broken."""
    # As trio's own plug-in for hypothesis does it: its scheduler shuffles, and this is its only randomness.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    world: list[World] = []

    async def live() -> None:
        world.append(World(seed, verbose=verbose))
        await world[0].live()

    trio.run(live, clock=trio.testing.MockClock(autojump_threshold=0))
    return world[0]


def reasons(error: BaseException) -> str:
    """What is at the bottom of a group of exceptions."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(reasons, error.exceptions))
    return f"{type(error).__name__}: {error}"
