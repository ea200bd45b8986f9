"""The actors of a simulated world: they like and unlike, with keys and without, until they are heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from likd.durability.idempotency import KeyReused
from likd.engine import Engine
from likd.errors import StoreError
from likd.model import LIKE, UNLIKE, Accepted, ActorEvent, Submission
from tests.sim import clients
from tests.sim.counted import ACTED, KEYS, ROAMING, Broken, Request

if TYPE_CHECKING:
    from tests.sim.node import Node


@attrs.define
class Wish:
    """What an actor wants, over all its tries. With a key it comes with other events, and all is counted once."""

    likes: bool
    times: int
    along: Request | None
    began: float | None = None


async def act(node: Node, engine: Engine, actor: str, *, last: bool) -> None:
    """Like and unlike, each until it is heard; what was wanted last must be so in the end."""
    world = node.world
    while True:
        wanted = world.acts.wanted(actor)
        if wanted is None:
            if last:
                return
            likes = world.rng.random() < 0.6
            wanted = world.acts.wish(actor, world.rng.choice(ACTED), likes)
            keyed = actor not in ROAMING and world.rng.random() < 0.4
            along = clients.new_request(world, keyed=True, size=2) if keyed else None
            world.wishes[wanted] = Wish(likes, world.rng.randint(1, 2), along)
        with trio.move_on_after(world.rng.choice([0.01, 10])):
            await _try(node, engine, *wanted)
        await trio.sleep(world.rng.random() * 0.1)


async def _try(node: Node, engine: Engine, actor: str, asked: str) -> None:
    world = node.world
    wish = world.wishes[actor, asked]
    url = engine.rules(asked)
    acts = [ActorEvent(LIKE if wish.likes else UNLIKE, url, KEYS(actor, url))] * wish.times
    if wish.along is None:
        submission = Submission({}, len(acts), acts=acts)
    else:
        events = wish.along.events_by(engine.rules)
        submission = Submission(events, wish.along.size + len(acts), wish.along.key, acts=acts)
    if wish.began is None or wish.along is None:
        # With a key it may have been decided at the first try.
        wish.began = trio.current_time()
    if world.rng.random() < 0.3:
        # A large body takes a while to be read.
        await trio.sleep(world.rng.random() * 0.1)
    try:
        answering = await engine.intake.submit(submission)
    except StoreError:
        return
    except KeyReused:
        raise Broken("a key is said to have come with another body") from None
    outcome = await answering.settled()
    world.note("act", actor, asked, wish.likes, outcome, wish.along and wish.along.counted)
    if isinstance(outcome, Accepted) and (actor, asked) in world.wishes:
        world.acts.heard(actor, asked, wish.likes, wish.began, trio.current_time())
        del world.wishes[actor, asked]
        if wish.along is not None:
            world.acknowledge(node, wish.along.counted)
        world.tell_settled()
