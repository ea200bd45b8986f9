"""What is erased in a simulated world, what is counted there meanwhile, and what must be left of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from likd.durability.idempotency import KeyReused
from likd.engine import Engine
from likd.model import LIKE, Accepted, IdempotencyKey, Refused, Submission
from likd.queries.merging import MergeError, MergeRefused
from tests.sim.counted import ERASED, ERASED_SITE, FORGOTTEN, Broken

if TYPE_CHECKING:
    from tests.sim.world import World


@attrs.define(eq=False)
class Erasure:
    """What somebody wants erased; with a key until it is heard to be done, without one it is tried once.

    It takes its place after `began` and before `ended`, steps of the world's, if it does at all.
    """

    target: str
    keep: bool
    key: IdempotencyKey | None
    began: int
    began_at: float
    ended: float = math.inf
    ended_at: float = math.inf
    promised: bool = False

    def takes(self, url: str) -> bool:
        """Whether `url` is erased."""
        return url.partition(":")[2].startswith(self.target) if self.target == ERASED_SITE else url == self.target


@attrs.define(eq=False)
class Sent:
    """Likes that were sent, and between which steps they were counted, if at all."""

    url: str
    likes: int
    began: int
    ended: float = math.inf
    acknowledged: bool = False


class Erasures:
    """Keeps what is sent and erased. Its steps tell what came first, also within one moment."""

    def __init__(self) -> None:
        self.wanted: list[Erasure] = []
        """With keys, and not yet heard to be done."""
        self._erasures: list[Erasure] = []
        self._sent: list[Sent] = []
        self._step = 0

    def step(self) -> int:
        """The next step."""
        self._step += 1
        return self._step

    def life_begins(self) -> None:
        """What was not heard of in the lives before has happened, or will not; unless it is asked for again."""
        for each in self._sent:
            each.ended = min(each.ended, self.step())
        for erasure in self._erasures:
            if erasure not in self.wanted and erasure.ended == math.inf:
                self._end(erasure)

    def sending(self, url: str, likes: int) -> Sent:
        """Somebody sends likes."""
        self._sent.append(Sent(url, likes, self.step()))
        return self._sent[-1]

    def heard(self, sent: Sent, *, accepted: bool) -> None:
        """It is known what became of it."""
        sent.ended, sent.acknowledged = self.step(), accepted
        if not accepted:
            self._sent.remove(sent)

    def erasing(self, target: str, *, keep: bool, key: IdempotencyKey | None) -> Erasure:
        """Somebody asks for an erasure."""
        erasure = Erasure(target, keep, key, self.step(), trio.current_time())
        self._erasures.append(erasure)
        if key is not None:
            self.wanted.append(erasure)
        return erasure

    def erased(self, erasure: Erasure) -> None:
        """It was acknowledged."""
        erasure.promised = True
        self._end(erasure)
        if erasure in self.wanted:
            self.wanted.remove(erasure)

    def refused(self, erasure: Erasure) -> None:
        """It was not done, and is not asked for again if it has no key."""
        if erasure not in self.wanted:
            self._erasures.remove(erasure)

    def _end(self, erasure: Erasure) -> None:
        erasure.ended, erasure.ended_at = self.step(), trio.current_time()

    def bounds(self, url: str, before: float = math.inf) -> tuple[int, int]:
        """How many likes `url` must and may have for who asked at step `before`, if no erasure waits for the store."""
        erasures = [erasure for erasure in self._erasures if erasure.takes(url)]
        gone = max((each.began for each in erasures if each.promised and each.ended < before), default=0)
        doubtful = max((each.ended for each in erasures), default=0)
        sent = [each for each in self._sent if each.url == url]
        low = sum(each.likes for each in sent if each.acknowledged and each.ended < before and each.began > doubtful)
        return low, sum(each.likes for each in sent if each.ended > gone)

    def left(self, url: str, likes: bool, began: float, ended: float) -> bool | None:
        """Whether an actor likes `url` whose last act, in that time, was this; None if that was a race."""
        erasures = [erasure for erasure in self._erasures if erasure.takes(url)]
        if not likes or all(each.ended_at < began for each in erasures):
            return likes
        return False if any(each.promised and each.began_at > ended for each in erasures) else None


async def send(world: World, engine: Engine) -> None:
    """Like what is erased now and then, once each."""
    while True:
        await trio.sleep(world.rng.random() * 0.1)
        sent = world.erasures.sending(world.rng.choice(ERASED), world.rng.randint(1, 3))
        events = {LIKE: {engine.rules(sent.url): sent.likes}}
        outcome = await engine.intake.offer(Submission(events, sent.likes)).settled()
        world.note("sent", sent.url, sent.likes, outcome)
        if isinstance(outcome, Accepted) or outcome.certain:
            world.erasures.heard(sent, accepted=isinstance(outcome, Accepted))


async def erase(world: World, engine: Engine, *, last: bool) -> None:
    """Erase a URL or the site, now and then, and sometimes do not wait to hear of it."""
    erasures = world.erasures
    if last and world.rng.random() < 0.7:
        erasures.erasing(ERASED_SITE, keep=world.rng.random() < 0.5, key=world.new_key())
    while True:
        if last and not erasures.wanted:
            return
        await trio.sleep(world.rng.random() * 0.3)
        if erasures.wanted:
            asked = erasures.wanted[0]
        else:
            target = world.rng.choice([*ERASED, *FORGOTTEN, ERASED_SITE, ERASED_SITE])
            key = world.new_key() if world.rng.random() < 0.5 else None
            asked = erasures.erasing(target, keep=world.rng.random() < 0.5, key=key)
        with trio.move_on_after(world.rng.choice([0.01, 10])):
            await _try(world, engine, asked)


async def _try(world: World, engine: Engine, asked: Erasure) -> None:
    target = asked.target if asked.target == ERASED_SITE else engine.rules(asked.target)
    try:
        pending = await engine.merger.erase(target, keep=asked.keep, key=asked.key)
    except KeyReused:
        raise Broken("a key is said to have come with another erasure") from None
    except MergeError as error:
        world.note("not erased", target, error)
        world.erasures.refused(asked)
    except MergeRefused as error:
        world.note("not erased", target, error)
        if isinstance(error.outcome, Refused) and error.outcome.certain:
            world.erasures.refused(asked)
    else:
        world.note("erased later" if pending else "erased", target, asked.keep)
        world.erasures.erased(asked)
        world.tell_settled()


def check_read(world: World, url: str, likes: int, before: float = math.inf) -> None:
    """Raises Broken unless `url` may have so many likes for who asked at step `before`."""
    low, high = world.erasures.bounds(url, before)
    if not low <= likes <= high:
        raise Broken(f"{url}: {likes} likes, of {low} to {high} that came after what was erased")
