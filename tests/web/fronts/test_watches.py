"""What the clients of fronts watch: asked for once, told once, and given up when nobody watches it any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from likd.durability.batch_file import Batch
from likd.errors import StoreError, Unsupported
from likd.queries.live_hub import LiveHub
from likd.queries.top_lists import TopLists
from likd.queries.totals import Totals
from likd.web.api.live_news import OwnStatus
from likd.web.fronts.asking import Asking
from likd.web.fronts.link import Link
from likd.web.fronts.messages import Message, News, Unwatch, Watch, Watching
from likd.web.fronts.mirror import Mirror
from likd.web.fronts.watches import TOPICS_AT_ONCE, Watches
from likd.web.fronts.wire import LENGTH_BYTES, frame
from tests.fakestore import FakeStore, totals_over

A, B = "http://a/", "http://b/"


class FakeLink:
    """Keeps what is sent until it is delivered, in its order."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.underway: deque[Message] = deque()
        self.backlog = 0

    def send(self, message: Message) -> None:
        message = msgspec.msgpack.decode(frame(message)[LENGTH_BYTES:], type=Message)
        self.sent.append(message)
        self.underway.append(message)


class Front:
    """A front's mirror and its watches in the engine; `deliver` takes one message from one to the other."""

    def __init__(self, hub: LiveHub) -> None:
        self.down, self.up = FakeLink(), FakeLink()
        self.mirror = Mirror(asking := Asking(cast(Link, self.up)))
        self._asking = asking
        self.watches = Watches(hub, OwnStatus(lambda: {"status": {"version": "1"}}), cast(Link, self.down))

    def deliver(self, link: FakeLink) -> bool:
        if not link.underway:
            return False
        match link.underway.popleft():
            case Watch() as message:
                self.watches.watch(message)
            case Unwatch() as message:
                self.watches.unwatch(message)
            case News() as message:
                self.mirror.take(message)
            case Watching() as message:
                self._asking.replied(message)
        return True

    async def settle(self) -> None:
        """Deliver all, and what comes of it."""
        while True:
            await trio.testing.wait_all_tasks_blocked()
            if not (self.deliver(self.up) or self.deliver(self.down)):
                return

    async def settled(self, act: Callable[[], object]) -> None:
        """Do something that waits for what is delivered."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(act)  # type: ignore[arg-type]
            await self.settle()

    def news(self) -> list[News]:
        return [message for message in self.down.sent if isinstance(message, News)]


class World:
    def __init__(self, nursery: trio.Nursery, fronts: int = 1) -> None:
        self.store = FakeStore()
        self.totals: Totals = totals_over(self.store, applied=0, cache_urls_max=50_000)
        self.hub = LiveHub(totals=self.totals, top=TopLists(self.store, self.totals), interval_seconds=1)
        self.fronts = [Front(self.hub) for _ in range(fronts)]
        for front in self.fronts:
            nursery.start_soon(front.watches.run)
        self.table = 0

    async def like(self, *urls: str) -> None:
        """The hub sees a like of each of `urls`."""
        self.table += 1
        rows = {url: {"likes": 1} for url in urls}
        self.totals.ledger.batched(Batch(self.table, 0.0, 60.0 * self.table, ("likes",), rows))
        await self.hub._look(1.0)


async def test_a_front_is_told_once_for_all_who_watch_there(nursery: trio.Nursery) -> None:
    world = World(nursery, fronts=2)
    for front in world.fronts:
        for _ in range(1000):
            await front.settled(lambda front=front: front.mirror.watch(A))  # type: ignore[misc]
        assert [message for message in front.up.sent if isinstance(message, Watch)] == [Watch(1, [("url", A, "")])]
    for front in world.fronts:
        front.down.sent.clear()
    await world.like(A)
    for front in world.fronts:
        await front.settle()
        ((told),) = front.news()
        assert (told.whole, told.urls[A][0]) == (True, {"likes": 1})
        assert front.mirror.watched(A).counts == {"likes": 1}
        assert front.mirror.version == 1


async def test_only_what_changed_is_told_and_all_of_it_before_anybody_is_told(nursery: trio.Nursery) -> None:
    world = World(nursery)
    (front,) = world.fronts
    urls = [f"http://a/{number}" for number in range(TOPICS_AT_ONCE * 3)]
    await front.settled(lambda: front.mirror.watch(*urls))
    front.down.sent.clear()
    await world.like(*urls[: TOPICS_AT_ONCE + 1])
    await front.settle()
    assert [(news.whole, len(news.urls)) for news in front.news()] == [(False, TOPICS_AT_ONCE), (True, 1)]


async def test_nothing_is_watched_for_a_front_that_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        (front,) = world.fronts
        await front.settled(lambda: front.mirror.watch(A, B))
        await front.settled(lambda: front.mirror.watch_top("likes", 3))
        assert world.hub.urls_watched == 2
        nursery.cancel_scope.cancel()
    assert world.hub.urls_watched == 0
    assert not world.hub._tops


async def test_what_is_given_up_before_it_is_known_is_not_watched(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(nursery)
    (front,) = world.fronts
    known, watch, waits = trio.Event(), world.hub.watch, trio.CancelScope()

    async def watch_slowly(*urls: str) -> None:
        await known.wait()
        await watch(*urls)

    async def client() -> None:
        with waits:
            await front.mirror.watch(A)

    monkeypatch.setattr(world.hub, "watch", watch_slowly)
    nursery.start_soon(client)
    await front.settle()
    waits.cancel()
    await front.settle()
    known.set()
    await front.settle()
    assert world.hub.urls_watched == 0


async def test_lists_and_what_is_hot_are_told_like_counts(nursery: trio.Nursery) -> None:
    world = World(nursery)
    (front,) = world.fronts
    await front.settled(lambda: front.mirror.watch_top("likes", 2))
    await front.settled(lambda: front.mirror.watch_hot("likes", ""))
    await front.settled(front.mirror.watch_status)
    assert front.mirror.watched_top("likes", 2).top == []
    assert msgspec.json.encode(front.mirror.status()) == b'{"status":{"version":"1"}}'
    await world.like(A, B)
    await front.settle()
    assert [url for url, _ in front.mirror.watched_top("likes", 2).top] == [A, B]
    assert {hot.url for hot in front.mirror.hottest(10, "likes", "")} == {A, B}
    assert len(front.mirror.hottest(1, "likes", "")) == 1


async def test_what_the_store_refuses_is_refused_there(nursery: trio.Nursery) -> None:
    world = World(nursery)
    (front,) = world.fronts
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="no sums by site")):
        await front.settled(lambda: front.mirror.watch_site("a"))
    world.store.away = True
    with pytest.RaisesGroup(StoreError):
        await front.settled(lambda: front.mirror.watch(A))
    await front.settle()
    assert not front.watches._wanted
    assert world.hub.urls_watched == 0


async def test_what_the_store_has_not_is_told_from_one_that_is_away(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(nursery)
    (front,) = world.fronts

    async def watch_site(host: str) -> None:
        raise Unsupported("there is no such part")

    monkeypatch.setattr(world.hub, "watch_site", watch_site)
    with pytest.RaisesGroup(pytest.RaisesExc(Unsupported, match="no such part")):
        await front.settled(lambda: front.mirror.watch_site("a"))


async def test_a_front_that_takes_nothing_is_told_the_newest_when_it_does(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    world = World(nursery)
    (front,) = world.fronts
    await front.settled(lambda: front.mirror.watch(A))
    front.down.sent.clear()
    front.down.backlog = 1 << 30
    for _ in range(5):
        await world.like(A)
        await trio.testing.wait_all_tasks_blocked()
    assert front.news() == []
    front.down.backlog = 0
    await trio.sleep(1)
    assert [news.urls[A][0] for news in front.news()] == [{"likes": 5}]


ACTS = st.lists(st.sampled_from(["watch A", "watch B", "leave", "up", "down", "like"]), max_size=40)


@settings(deadline=None)
@given(acts=ACTS)
def test_who_watches_sees_the_newest_state_whatever_crosses_on_its_way(acts: list[str]) -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            world = World(nursery)
            (front,) = world.fronts
            watching: list[tuple[str, trio.CancelScope, trio.Event]] = []

            async def watch(url: str, scope: trio.CancelScope, known: trio.Event) -> None:
                with scope:
                    await front.mirror.watch(url)
                    known.set()

            for act in [*acts, "like"]:
                await trio.testing.wait_all_tasks_blocked()
                if act.startswith("watch"):
                    watching.append((A if act[-1] == "A" else B, trio.CancelScope(), trio.Event()))
                    nursery.start_soon(watch, *watching[-1])
                elif act == "leave" and watching:
                    url, scope, known = watching.pop(0)
                    if known.is_set():
                        front.mirror.unwatch(url)
                    scope.cancel()
                elif act == "like":
                    await world.like(A, B)
                else:
                    front.deliver(front.up if act == "up" else front.down)
            await front.settle()

            watched = {url for url, _, _ in watching}
            assert all(known.is_set() for _, _, known in watching)
            assert world.hub.urls_watched == len(watched)
            for url in watched:
                seen, now = front.mirror.watched(url), world.hub.watched(url)
                assert (seen.counts, seen.rate) == (now.counts, now.rate)
                assert seen.version <= front.mirror.version
            nursery.cancel_scope.cancel()

    trio.run(run)
