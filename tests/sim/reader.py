"""The reader of a simulated world: no total that it reads goes back, misses anything, or has too much."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from likd.engine import Engine
from likd.errors import StoreError
from likd.model import LIKES, UNLIKES
from tests.sim import erasures
from tests.sim.counted import ACTED, ACTORS, COUNTED, ERASED, MOODS, NAMES, TWINS, Broken, Counted, flat, summed

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import World


async def read(node: Node, engine: Engine) -> None:
    """Read all totals again and again."""
    world = node.world
    last: Counted = Counter()
    urls = list(dict.fromkeys(map(engine.rules, [*COUNTED, *ACTED, *ERASED])))
    aliases = engine.totals.ledger.aliases
    while True:
        given_up = engine.totals.other_marks.given_up
        settled = engine.folder.done and not engine.totals.ledger.merging
        step = world.erasures.step()
        low, before = node.acknowledged.copy(), world.classes(aliases, engine.rules)
        if not engine.folder.done:
            # What is not folded yet may be missing.
            low = Counter({place: n for place, n in low.items() if place[0] not in TWINS})
        if node.handler.ever_failed:
            # What is kept aside is missing until the next start.
            low = Counter({place: n for place, n in low.items() if place[1] != MOODS})
        try:
            rows = await engine.totals.counts(urls)
        except StoreError:
            continue
        after, told = world.classes(aliases, engine.rules), True
        if not world.alone:
            stored = world.classes(world.database.merged, engine.rules)
            # What is merged elsewhere is a part of what is read a moment before that is known here. And starting counts
            # that another node is asked for go by the merges that it knows of, also those that the store has yet to do.
            told = before == after == stored and not world.merging
        settled &= engine.folder.done and not engine.totals.ledger.merging and not world.database.timeline.corrections
        for url in map(engine.rules, ACTED) if world.alone else ():
            net = rows[url].get(LIKES, 0) - rows[url].get(UNLIKES, 0)
            if not 0 <= net <= len(ACTORS) * (1 if settled else len(ACTED)):
                raise Broken(f"{url} has {net} likes of {len(ACTORS)} actors")
        if settled:
            for url in ERASED:
                erasures.check_read(world, url, rows[engine.rules(url)].get(LIKES, 0), step)
        now = flat({url: rows[url] for url in urls if url in COUNTED})
        world.note("read", now.total())
        if not told or given_up != engine.totals.other_marks.given_up:
            # Or what the store lost of other nodes did not come again in time.
            last.clear()
            await trio.sleep(world.rng.random() * 0.1)
            continue
        lowest, highest = summed(low, before), summed(world.ledger.sent, after)
        for url, name in {*now, *last, *((url, name) for url in before for name in NAMES.values())}:
            if url not in urls:
                continue
            least = max(lowest[before[url], name], last[url, name])
            if not least <= now[url, name] <= highest[after[url], name]:
                raise Broken(
                    f"{url} {name}: read {now[url, name]} after {last[url, name]}, {least} acknowledged,"
                    f" {highest[after[url], name]} sent"
                )
        last = now
        await trio.sleep(world.rng.random() * 0.1)


async def read_erased(world: World, engine: Engine) -> None:
    """Read once what is left of all that was erased."""
    while engine.totals.ledger.merging:
        await engine.totals.ledger.wait_moved()
    step = world.erasures.step()
    rows = await engine.totals.counts(list(map(engine.rules, ERASED)))
    for url in ERASED:
        erasures.check_read(world, url, rows[engine.rules(url)].get(LIKES, 0), step)
