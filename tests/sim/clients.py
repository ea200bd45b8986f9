"""The clients of a simulated world: they send events, load starting counts, merge URLs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
import msgspec
import trio

from likd.durability.idempotency import KeyReused
from likd.engine import Engine
from likd.errors import StoreError
from likd.model import LIKES, Accepted, IdempotencyKey, Refused, Submission
from likd.queries.merging import MergeError, MergeRefused
from likd.web.api.admin import Admin
from likd.web.problems import Problem
from tests.sim.counted import COUNTED, MERGED, NAMES, Broken, Counted, Request

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import World


@attrs.define(eq=False)
class Load:
    """Starting counts that somebody wants loaded, once, until it is told that they are."""

    name: str
    url: str
    likes: int

    @property
    def counted(self) -> Counted:
        """What that adds to the counts."""
        return Counter({(self.url, LIKES): self.likes})


async def send(node: Node, engine: Engine) -> None:
    """Send one request after another, those with a key until they are accepted."""
    world = node.world
    while True:
        request = new_request(world)
        if request.key is not None:
            node.pending.append(request)
            await send_again(node, engine, request)
        else:
            await _submit(node, engine, request)
        await trio.sleep(world.rng.random() * 0.05)


def new_request(world: World, *, keyed: bool = False, size: int = 7) -> Request:
    """A request of up to `size` events, and that many kinds of them."""
    events: dict[str, dict[str, int]] = {}
    for _ in range(world.rng.randint(1, size)):
        urls = events.setdefault(world.rng.choice(list(NAMES)), {})
        url = world.rng.choice(COUNTED)
        urls[url] = urls.get(url, 0) + world.rng.randint(1, 3)
    request = Request(events, world.new_key() if keyed or world.rng.random() < 0.6 else None)
    world.ledger.sent += request.counted
    return request


async def send_again(node: Node, engine: Engine, request: Request) -> None:
    """Send a request with a key until it is accepted."""
    world = node.world
    while request in node.pending:
        # Some clients try again before they have heard.
        with trio.move_on_after(world.rng.choice([0.01, 10])):
            if await _submit(node, engine, request) and request in node.pending:
                node.pending.remove(request)
                world.tell_settled()
        await trio.sleep(world.rng.random() * 0.1)


async def _submit(node: Node, engine: Engine, request: Request) -> bool:
    world = node.world
    events = request.events_by(engine.rules)
    if world.rng.random() < 0.2:
        # A large body takes a while to be read.
        await trio.sleep(world.rng.random() * 0.1)
    ledger = world.ledger
    keyed = request.key is not None
    if not keyed:
        ledger.doubtful += request.counted
    try:
        submission = await engine.intake.submit(Submission(events, request.size, request.key))
    except KeyReused:
        raise Broken("a key is said to have come with another body") from None
    except StoreError:
        assert keyed
        return False
    outcome = await submission.settled()
    accepted = isinstance(outcome, Accepted)
    world.note("answer", accepted, outcome, request.key and request.key.key, request.counted)
    if isinstance(outcome, Refused) and not outcome.certain:
        return False
    if not keyed:
        ledger.doubtful -= request.counted
    if accepted:
        if not keyed or request in node.pending:
            world.acknowledge(node if world.alone or not keyed else None, request.counted)
    elif not keyed:
        ledger.sent -= request.counted
    return accepted


async def load(world: World, engine: Engine, *, last: bool) -> None:
    """Load starting counts, now and then, and again until that is heard to be done."""
    admin = Admin(None, None, engine.merger, engine.totals, engine.store, engine.rules, (LIKES,))  # type: ignore[arg-type]
    while True:
        if not world.loads:
            if last:
                return
            await trio.sleep(world.rng.random() * 0.4)
            if world.loads:
                # By another node meanwhile.
                continue
            world.loads.append(Load(world.new_key().key, world.rng.choice(COUNTED), world.rng.randint(1, 9)))
            world.ledger.sent += world.loads[0].counted
        wanted = world.loads[0]
        body = msgspec.json.encode({"url": wanted.url, "likes": wanted.likes})
        with trio.move_on_after(world.rng.choice([0.01, 10])):
            try:
                answer = await admin.load(body, wanted.name)
            except Problem as problem:
                world.note("not loaded", problem.status)
            else:
                world.note("loaded", answer.body)
                if wanted not in world.loads:
                    # Another node was asked, too.
                    continue
                world.ledger.acknowledged += wanted.counted
                world.ledger.loaded += wanted.counted
                world.loads.clear()
                world.tell_settled()
        await trio.sleep(world.rng.random() * 0.1)


async def merge(world: World, engine: Engine) -> None:
    """Merge one URL into another, now and then, and sometimes do not wait to hear of it."""
    while True:
        await trio.sleep(world.rng.random() * 0.4)
        old, new = world.rng.sample(world.rng.choice(MERGED), 2)
        asked = world.acts.merging(old, new, trio.current_time())
        with trio.move_on_after(world.rng.choice([0.01, 10])):
            try:
                await engine.merger.merge(old, new)
                asked.promised = True
            except (MergeError, MergeRefused) as error:
                world.note("not merged", old, new, error)
        world.note("merge", old, new, old in engine.totals.ledger.aliases)
        world.acts.seen(engine.totals.ledger.aliases, trio.current_time())


def key_of(number: int) -> IdempotencyKey:
    """A key that nobody else has."""
    return IdempotencyKey(f"key-{number}", b"%d" % number)
