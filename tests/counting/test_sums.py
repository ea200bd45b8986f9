"""The sum of what was accepted is the sum in the store, in any interleaving of events, swaps, crashes and hangs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from likd.config.settings import Config
from likd.engine import open_engine
from likd.model import Accepted, Submission
from likd.plugins.handlers import Handlers, Impressions, Likes
from likd.runtime.clock import Clock
from tests.sim.disk import SimDisk
from tests.sim.store import SimStore

CONFIG = Config(
    table_limit=3,
    table_limit_max=12,
    flush_interval=0.5,
    pool_size=2,
    hung_timeout=0.2,
    max_leases=3,
    write_tolerance=1000,
)
CHILDREN = ["pool manager", "drainer", "batcher", "event manager", "live hub"]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.dictionaries(st.integers(0, 7), st.integers(1, 5), min_size=1)),
        st.tuples(st.just("sleep"), st.floats(0, 0.7)),
        st.tuples(st.just("crash"), st.sampled_from(CHILDREN)),
        st.tuples(st.just("hang"), st.integers(1, 3)),
        st.tuples(st.just("store"), st.sampled_from([0.0, 0.5, 1.0])),
    ),
    max_size=40,
)


@given(steps, st.integers(0, 1 << 32))
def test_accepted_is_what_the_store_has(todo: list[tuple[str, object]], seed: int) -> None:
    trio.run(_run, todo, random.Random(seed), clock=trio.testing.MockClock(autojump_threshold=0))


async def _run(todo: list[tuple[str, object]], rng: random.Random) -> None:
    store = SimStore(rng)
    accepted: Counter[str] = Counter()
    hangs = 0

    async def observe(url: str, news: Mapping[str, int]) -> None:
        nonlocal hangs
        if hangs:
            hangs -= 1
            await trio.sleep_forever()

    async def submit(events: dict[str, int]) -> None:
        submission = Submission({"like": dict(events)}, sum(events.values()))
        if isinstance(await engine.intake.offer(submission).settled(), Accepted):
            accepted.update(events)

    async with open_engine(
        CONFIG,
        disk=SimDisk(rng),
        store=store,
        handlers=Handlers({"likes": Likes(), "impressions": Impressions()}),
        observers=[observe],
        clock=Clock(wall=lambda: 1e9 + trio.current_time(), elapsed=trio.current_time),
        jitter=lambda: 0.5,
    ) as engine:
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.root.run)
            crashes = 0
            async with trio.open_nursery() as clients:
                for step, value in todo:
                    match step, value:
                        case "submit", dict(counts):
                            clients.start_soon(submit, {f"https://example.com/{n}": k for n, k in counts.items()})
                        case "sleep", float(seconds):
                            await trio.sleep(seconds)
                        case "crash", str(name) if crashes < 10:
                            crashes += 1
                            next(child for child in engine.root.children if child.name == name).crash("a test")
                        case "hang", int(counters):
                            hangs = counters
                        case "store", float(faults):
                            store.faults = faults
                store.faults = 0.0
            await engine.drain()
            nursery.cancel_scope.cancel()
        assert not engine.batcher.mismatches
    assert {url: counts["likes"] for url, counts in store.rows.items()} == accepted
