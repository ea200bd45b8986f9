"""A world: one life of the engine after another on the same simulated disk and store, with clients that never rest.

Whatever happens, each event that was acknowledged is counted once, none that was refused is, and no total that is
read goes back; nor does it when URLs are merged, or when by new rules two URLs count as one.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Collection, Mapping
from unittest import mock

import attrs
import trio
import trio.testing

from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.draining import folding
from likd.durability.idempotency import KeyReused
from likd.engine import Engine, open_engine
from likd.ingest.urls import UrlRules
from likd.model import (
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
    add_events,
)
from likd.plugins.handlers import Handlers, Impressions, Likes
from likd.queries.merging import MergeError, MergeRefused
from likd.runtime.supervisor import RestartIntensityExceeded
from likd.stores.protocol import StoreError
from tests.sim.acts import Acts
from tests.sim.disk import PowerCut, SimDisk
from tests.sim.store import SimStore

NAMES = {LIKE: LIKES, UNLIKE: UNLIKES, IMPRESSION: IMPRESSIONS}
URLS = [f"https://example.com/{n}" for n in range(7)]
TWINS = [f"{scheme}://twin.example/{n}" for n in range(2) for scheme in ("http", "https")]
LIKED = [f"https://liked.example/{n}" for n in range(2)]
"""Only actors like these, and the next."""
LIKED_TWINS = [f"{scheme}://liked.example/twin" for scheme in ("http", "https")]
COUNTED = [*URLS, *TWINS]
ACTED = [*LIKED, *LIKED_TWINS]
MERGED = [URLS[:3], [*LIKED, LIKED_TWINS[1]]]
"""URLs of one of these may be merged."""
ACTORS = ["actor 0", "actor 1"]
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

CRASH = "the simulation says so"

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
        self.store = SimStore(self.rng, KEYS.of_url)
        self.same_schemes = False
        self.sent: Counted = Counter()
        self.acknowledged: Counted = Counter()
        self.doubtful: Counted = Counter()
        self.pending: list[Request] = []
        self.keys = 0
        self.acts = Acts()
        self._settled = trio.Event()
        self.trace = hashlib.sha256()
        self.figures: Counter[str] = Counter()

    async def live(self) -> None:
        """Some lives that end badly, and a last one that ends well."""
        for _ in range(self.rng.randint(1, 3)):
            self.disk.faults = self.rng.choice([0.0, 0.0, 0.02, 0.1])
            self.store.faults = self.rng.choice([0.0, 0.05, 0.5, 1.0])
            self._maybe_change_rules()
            try:
                await self._life(seconds=self.rng.uniform(0.05, 1.2), gently=self.rng.random() < 0.2)
            except* (OSError, RestartIntensityExceeded) as faults:
                # At its start or by giving up, the process ends: its supervisor starts the next one.
                self.note("ended", *map(type, faults.exceptions))
            self.disk.crash()
            self.store.off = False
            self.note("crash", self.disk.operations, self.store.applied)
        self.disk.faults = self.store.faults = 0.0
        self._maybe_change_rules()
        await self._life(seconds=0.1, gently=True, last=True)
        self._check_all()

    def _maybe_change_rules(self) -> None:
        if not self.same_schemes and self.rng.random() < 0.3:
            self.same_schemes = True
            self.acts.united(trio.current_time())
            self.note("rules")

    def note(self, *what: object) -> None:
        """Add to the trace, by which two runs of a seed are compared."""
        self.trace.update(repr((*what, round(trio.current_time(), 9))).encode())
        self.figures[str(what[0])] += 1
        if self.verbose:
            print(f"{trio.current_time():9.4f}", *what)

    async def _life(self, *, seconds: float, gently: bool, last: bool = False) -> None:
        async with open_engine(
            attrs.evolve(CONFIG, same_schemes=self.same_schemes),
            disk=self.disk,
            store=self.store,
            handlers=Handlers({"likes": Likes(), "impressions": Impressions()}),
            observers=[self._observe] if self.rng.random() < 0.7 else [],
            wall_clock=lambda: 1_790_000_000 + trio.current_time(),
            jitter=self.rng.random,
            actor_keys=KEYS,
        ) as engine:
            self.acts.seen(engine.totals.aliases, trio.current_time())
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(engine.root.run)
                    async with trio.open_nursery() as clients:
                        for request in self.pending:
                            clients.start_soon(self._retry, engine, request)
                        for _ in range(0 if last else 3):
                            clients.start_soon(self._client, engine)
                        for actor in ACTORS:
                            clients.start_soon(self._actor, engine, actor, last)
                        clients.start_soon(self._reader, engine)
                        if not last:
                            clients.start_soon(self._merge, engine)
                            clients.start_soon(self._crash_children, engine)
                        await trio.sleep(seconds)
                        if not last and not gently:
                            self.disk.off = self.store.off = True
                            nursery.cancel_scope.cancel()
                        while last and (self.pending or self.acts.unsettled):
                            await self._settled.wait()
                        if last:
                            await engine.root.wait_finished("folder")
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
            for child in engine.root.children:
                if child.last_fault not in (None, CRASH):
                    raise Broken(f"{child.name}: {child.last_fault}")

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
            url = self.rng.choice(COUNTED)
            urls[url] = urls.get(url, 0) + self.rng.randint(1, 3)
        key = None
        if self.rng.random() < 0.6:
            self.keys += 1
            key = IdempotencyKey(f"key-{self.keys}", b"%d" % self.keys)
        request = Request(events, key)
        self.sent += request.counted
        return request

    async def _merge(self, engine: Engine) -> None:
        """Merges one URL into another, now and then, and sometimes does not wait to hear of it."""
        while True:
            await trio.sleep(self.rng.random() * 0.4)
            old, new = self.rng.sample(self.rng.choice(MERGED), 2)
            merge = self.acts.merging(old, new, trio.current_time())
            with trio.move_on_after(self.rng.choice([0.01, 10])):
                try:
                    await engine.merger.merge(old, new)
                    merge.promised = True
                except (MergeError, MergeRefused) as error:
                    self.note("not merged", old, new, error)
            self.note("merge", old, new, old in engine.totals.aliases)
            self.acts.seen(engine.totals.aliases, trio.current_time())

    async def _actor(self, engine: Engine, actor: str, last: bool) -> None:
        """Likes and unlikes, and repeats itself until it is heard; what it wanted last must be so in the end."""
        while True:
            wanted = self.acts.wanted(actor)
            if wanted is None:
                if last:
                    return
                wanted = self.acts.wish(actor, self.rng.choice(ACTED), self.rng.random() < 0.6)
            with trio.move_on_after(self.rng.choice([0.01, 10])):
                await self._act(engine, *wanted)
            await trio.sleep(self.rng.random() * 0.1)

    async def _act(self, engine: Engine, actor: str, asked: str) -> None:
        likes = self.acts.wishes[actor, asked]
        url = engine.rules(asked)
        acts = [Act(LIKE if likes else UNLIKE, url, KEYS(actor, url))] * self.rng.randint(1, 2)
        submission = Submission({}, len(acts), acts=acts)
        began = trio.current_time()
        if self.rng.random() < 0.3:
            # A large body takes a while to be read.
            await trio.sleep(self.rng.random() * 0.1)
        try:
            await engine.actors.load(submission)
        except StoreError:
            return
        answering = engine.intake.offer(submission)
        engine.actors.release_when_settled(submission, answering)
        outcome = await answering.settled()
        self.note("act", actor, asked, likes, outcome)
        if isinstance(outcome, Accepted):
            self.acts.heard(actor, asked, likes, began, trio.current_time())
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
        copy: Events = {}
        for kind, urls in request.events.items():
            for url, n in urls.items():
                add_events(copy, {kind: {engine.rules(url): n}})
        if self.rng.random() < 0.2:
            # A large body takes a while to be read.
            await trio.sleep(self.rng.random() * 0.1)
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
        urls = list(dict.fromkeys(map(engine.rules, [*COUNTED, *ACTED])))
        while True:
            settled = engine.folder.done and not engine.totals.merging
            low, before = self.acknowledged.copy(), self._classes(engine.totals.aliases, engine.rules)
            if not engine.folder.done:
                # What is not folded yet may be missing.
                low = Counter({place: n for place, n in low.items() if place[0] not in TWINS})
            try:
                rows = await engine.totals.counts(urls)
            except StoreError:
                continue
            after = self._classes(engine.totals.aliases, engine.rules)
            settled &= engine.folder.done and not engine.totals.merging and not self.store.corrections
            for url in map(engine.rules, ACTED):
                net = rows[url].get(LIKES, 0) - rows[url].get(UNLIKES, 0)
                if not 0 <= net <= len(ACTORS) * (1 if settled else len(ACTED)):
                    raise Broken(f"{url} has {net} likes of {len(ACTORS)} actors")
            now = _flat({url: rows[url] for url in urls if url in COUNTED})
            self.note("read", now.total())
            lowest, highest = _summed(low, before), _summed(self.sent, after)
            for url, name in {*now, *last, *((url, name) for url in before for name in NAMES.values())}:
                if url not in urls:
                    continue
                least = max(lowest[before[url], name], last[url, name])
                if not least <= now[url, name] <= highest[after[url], name]:
                    raise Broken(f"{url} {name}: read {now[url, name]} after {last[url, name]}, {least} acknowledged")
            last = now
            await trio.sleep(self.rng.random() * 0.1)

    def _classes(self, aliases: Collection[str] | Mapping[str, str], rules: UrlRules) -> dict[str, str]:
        """What each URL counts for."""
        count_for = aliases.get if isinstance(aliases, Mapping) else lambda url, _: aliases(url)  # type: ignore[operator]
        return {url: count_for(rules(url), rules(url)) for url in [*COUNTED, *ACTED]}

    async def _crash_children(self, engine: Engine) -> None:
        pause = self.rng.choice([0.1, 0.8, 3.0])
        while True:
            await trio.sleep(self.rng.random() * pause)
            child = self.rng.choice(engine.root.children)
            self.note("crashed", child.name)
            child.crash(CRASH)

    async def _observe(self, url: str, news: Mapping[str, int]) -> None:
        chance = self.rng.random()
        if chance < 0.02:
            self.note("hung")
            await trio.sleep_forever()
        if chance < 0.05:
            raise RuntimeError("the observer fails")
        await trio.sleep(chance * 0.05)

    def _check_all(self) -> None:
        classes = self._classes(self.store.merged, UrlRules(self.same_schemes))
        self.acts.check(classes, self.store, KEYS, ACTORS, ACTED)
        for url in self.store.rows:
            if classes[url] != url:
                raise Broken(f"{url} still has counts of its own, and is part of {classes[url]}")
        counted = _flat({url: counts for url, counts in self.store.rows.items() if url not in ACTED})
        acknowledged, doubtful = _summed(self.acknowledged, classes), _summed(self.doubtful, classes)
        for place in {*counted, *acknowledged, *_summed(self.sent, classes)}:
            low, high = acknowledged[place], acknowledged[place] + doubtful[place]
            if not low <= counted[place] <= high:
                raise Broken(f"{place}: {counted[place]} counted, {low} acknowledged, {high - low} in doubt")
        if self.disk.damaged:
            raise Broken(f"set aside as damaged: {self.disk.damaged}")
        if self.store.corrections and not self.same_schemes:
            raise Broken("what is known of actors was wrong")
        self.note("end", sorted(counted.items()))


def _summed(counted: Counted, classes: Mapping[str, str]) -> Counted:
    """By what the URLs count for."""
    summed: Counted = Counter()
    for (url, name), n in counted.items():
        summed[classes[url], name] += n
    return summed


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

    with mock.patch.multiple(folding, PAGE_URLS=3, FOLDS_AT_ONCE=1, PAGES_NOTED=1, RETRY_SECONDS=0.02):
        trio.run(live, clock=trio.testing.MockClock(autojump_threshold=0))
    return world[0]


def reasons(error: BaseException) -> str:
    """What is at the bottom of a group of exceptions."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(reasons, error.exceptions))
    return f"{type(error).__name__}: {error}"
