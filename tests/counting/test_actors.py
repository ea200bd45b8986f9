"""Actors: one like for each actor and URL, wherever what they did before is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from likd.config.settings import Config
from likd.counting.actors import SLICE_KEYS, ActorKeys, Actors
from likd.counting.aliases import Aliases
from likd.durability import batch_file
from likd.durability.batch_file import Batch
from likd.durability.disk import RealDisk
from likd.durability.filenames import BATCH
from likd.engine import Engine, open_engine
from likd.errors import StoreError
from likd.ingest.parser import Ingest
from likd.ingest.schema import IngestError
from likd.model import LIKE, UNLIKE, Accepted, ActorEvent, Events, Fold, Liking, Likings, Outcome, Submission
from likd.plugins.handlers import Handlers, Impressions, Likes
from likd.runtime.cooperative import finish
from likd.stores.protocol import Increments
from likd.stores.sqlite.store import SqliteStore
from tests.fakestore import FakeStore

URL = "https://example.com/"
KEYS = ActorKeys(b"secret")


def act(actor: str, kind: str = LIKE, url: str = URL) -> ActorEvent:
    return ActorEvent(kind, url, KEYS(actor, url))


def submission(*acts: ActorEvent) -> Submission:
    return Submission({}, len(acts), acts=acts)


def read(*lines: str) -> tuple[Events, int, list[ActorEvent]]:
    body = "\n".join(lines).encode()
    return finish(Ingest(["like", "unlike", "impression"], actor_key=KEYS).read(body))


def line(kind: str = LIKE, actor: str | None = None, url: str = URL) -> str:
    return f'{{"kind":"{kind}","url":"{url}"' + (f',"actor":"{actor}"}}' if actor else "}")


def test_events_with_an_actor_are_read_in_order_and_the_others_are_coalesced() -> None:
    events, size, acts = read(
        line(), line(actor="a"), line(UNLIKE, "a"), line(), line(actor="a"), line("impression", "a")
    )
    assert (events, size) == ({"like": {URL: 2}, "impression": {URL: 1}}, 6)
    assert acts == [act("a"), act("a", UNLIKE), act("a")]


@pytest.mark.parametrize("form", ["{}", "[{}]", " \n{}\n", "{}\n{}"])
def test_an_actor_is_read_in_every_form_of_a_body(form: str) -> None:
    _, _, acts = read(form.replace("{}", line(actor="a")))
    assert set(acts) == {act("a")}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (line(actor="x" * 129), {"field": "actor"}),
        (line() + "\n" + line().replace("}", ',"actor":""}'), {"line": 2, "field": "actor"}),
        (line(actor="a") + "\n" + line().replace("}", ',"actor":5}'), {"line": 2, "field": "actor"}),
        ("[" + line(actor="a") + "," + line(kind="hate") + "]", {"index": 1, "field": "kind"}),
        (line(actor="a") + "\n{", {"line": 2}),
    ],
)
def test_what_is_wrong_with_an_actor_is_found(text: str, place: dict[str, object]) -> None:
    with pytest.raises(IngestError) as error:
        read(text)
    assert {name: value for name, value in error.value.place.items() if name in place} == place


def test_neither_actor_nor_url_can_be_told_from_a_key() -> None:
    key = KEYS("someone@example.com", URL)
    assert len(key) == 20
    assert key.startswith(KEYS.of_url(URL))
    assert ActorKeys(b"another")("someone@example.com", URL) != key
    assert KEYS("someone@example.com", URL + "other")[8:] == key[8:]


async def test_the_second_like_changes_nothing_and_only_a_like_is_taken_back() -> None:
    actors = Actors(FakeStore(), applied=0, cached_max=10)
    acts = [act("a", UNLIKE), act("a"), act("a"), act("b"), act("a", UNLIKE), act("a", UNLIKE)]
    await actors.load(submission(*acts))
    events: Events = {}
    changes: Likings = {}
    actors.decide(acts, events, changes)
    assert events == {"like": {URL: 2}, "unlike": {URL: 1}}
    assert changes == {act("a").key: Liking(False, 0), act("b").key: Liking(True, 1)}
    assert actors.unchanged == 3


async def test_what_the_store_says_is_asked_again_if_tables_were_applied_meanwhile() -> None:
    store = FakeStore(slow=True)
    actors = Actors(store, applied=0, cached_max=10)
    one = submission(act("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.load, one)
        await wait_all_tasks_blocked()
        store.gates[0].set()
        await wait_all_tasks_blocked()
        # It has looked, and before it says what it saw, a like of the same actor comes and goes through.
        liked = Increments(1, 1, 0, {URL: {"likes": 1}}, {act("a").key: Liking(True, 1)})
        actors.change(1, {act("a").key: Liking(True, 1)})
        store.commit(liked)
        actors.applied(liked)
        finish(actors.settle())
        store.slow = False
        store.gates[1].set()
    events: Events = {}
    actors.decide(one.acts, events, {})
    assert events == {}


async def test_nobody_waits_for_the_drainer_to_hear_what_the_store_has_already() -> None:
    store = FakeStore()
    actors = Actors(store, applied=0, cached_max=10)
    one = submission(act("a"), act("b"))
    liked = Increments(1, 1, 0, {URL: {"likes": 1}}, {act("a").key: Liking(True, 1)})
    actors.change(1, liked.actors)
    store.commit(liked)
    with trio.fail_after(1):
        await actors.load(one)
    events: Events = {}
    actors.decide(one.acts, events, {})
    assert events == {"like": {URL: 1}}


async def test_a_store_that_does_not_answer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    actors = Actors(FakeStore(slow=True), applied=0, cached_max=10)
    with pytest.raises(StoreError):
        await actors.load(submission(act("a")))


async def test_what_is_held_stays_in_memory_and_the_rest_is_bounded() -> None:
    actors = Actors(FakeStore(), applied=0, cached_max=5)
    held = submission(*(act(f"held {n}") for n in range(4)))
    await actors.load(held)
    for n in range(50):
        passing = submission(act(f"passing {n}"))
        await actors.load(passing)
        actors.release(passing)
    assert len(actors._cached) <= 6
    actors.decide(held.acts, {}, {})
    actors.release(held)


async def test_refused_changes_are_taken_back() -> None:
    actors = Actors(FakeStore(), applied=0, cached_max=10)
    await actors.load(submission(act("a")))
    first = actors.change(1, {act("a").key: Liking(True, 1)})
    second = actors.change(2, {act("a").key: Liking(False, -1)})
    actors.undo(second)
    events: Events = {}
    actors.decide([act("a")], events, {})
    assert events == {}
    actors.undo(first)
    actors.decide([act("a")], events, {})
    assert events == {"like": {URL: 1}}


likings = st.builds(Liking, st.booleans(), st.none() | st.integers(-5, 5))


@given(st.dictionaries(st.binary(min_size=20, max_size=20), likings, max_size=5))
def test_a_batch_file_keeps_actors(actors: Likings) -> None:
    batch = Batch(3, 1.0, 2.0, ("likes",), {URL: {"likes": 1}}, actors)
    assert batch_file.decode(batch_file.encode(batch)) == batch


@asynccontextmanager
async def engine(path: Path) -> AsyncIterator[Engine]:
    config = Config(table_limit=3, table_limit_max=1, flush_interval=0.2, cache_actors_max=1000)
    async with (
        open_engine(
            config,
            disk=RealDisk(path),
            store=SqliteStore(path / "likd.db", "here", url_key=KEYS.of_url),
            handlers=Handlers({"likes": Likes(), "impressions": Impressions()}),
            actor_keys=KEYS,
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(engine.root.run)
        yield engine
        nursery.cancel_scope.cancel()


async def send(engine: Engine, *acts: ActorEvent) -> Outcome:
    sent = submission(*acts)
    answering = await engine.intake.submit(sent)
    return await answering.settled()


async def net(engine: Engine) -> int:
    counts = (await engine.totals.counts([URL]))[URL]
    return counts.get("likes", 0) - counts.get("unlikes", 0)


@pytest.mark.parametrize("drained", [True, False])
async def test_a_like_is_one_like_over_restarts_whether_it_reached_the_store_or_not(
    tmp_path: Path, drained: bool
) -> None:
    for _ in range(3):
        async with engine(tmp_path) as running:
            assert await send(running, act("a"), act("b")) == Accepted(2)
            assert await net(running) == 2
            if drained:
                await running.drain()
    async with engine(tmp_path) as running:
        assert await send(running, act("a", UNLIKE), act("c", UNLIKE)) == Accepted(2)
        assert await net(running) == 1


async def test_many_actors_of_one_url_over_many_tables_are_each_counted_once(tmp_path: Path) -> None:
    async with engine(tmp_path) as running:
        for _ in range(2):
            for begin in range(0, 300, 60):
                acts = [act(f"actor {n}") for n in range(begin, begin + 60)]
                others = [act("x", url=f"https://example.com/{n}") for n in range(begin, begin + 7)]
                await send(running, *acts, *others)
        assert await net(running) == 300
        assert running.actors.unchanged == 335
        await running.drain()
        assert running.batcher.mismatches == 0


async def test_what_becomes_of_actors_is_in_the_batch_of_the_last_events_of_their_url(tmp_path: Path) -> None:
    urls = [f"https://example.com/{n}" for n in range(7)]
    async with engine(tmp_path) as running:
        running.drainer._store.apply = no_apply  # type: ignore[method-assign]
        await send(running, *(act("a", url=url) for url in urls), *(act("a", UNLIKE, url) for url in urls[:2]))
        await send(running, *(act("b", url=url) for url in urls))
        while running.totals.ledger.tables_waiting < 3:
            await trio.lowlevel.checkpoint()
        names = BATCH.among(await RealDisk(tmp_path).names())
    batches = [batch_file.decode((tmp_path / name).read_bytes()) for name in names]
    assert len(batches) >= 3
    for batch in batches:
        prefixes = {KEYS.of_url(url) for url in batch.rows}
        assert all(key[:8] in prefixes for key in batch.actors)
    assert sum(len(batch.actors) for batch in batches) >= 7


async def no_apply(increments: Increments) -> None:
    raise StoreError("away")


async def test_after_a_merge_nothing_is_known_any_more_that_is_not_held() -> None:
    store = FakeStore()
    actors = Actors(store, applied=0, cached_max=10, aliases=Aliases(KEYS.of_url))
    old, new = URL + "old", URL
    held, passing = submission(act("held", url=old)), submission(act("passing", url=new))
    await actors.load(passing)
    actors.release(passing)
    store.liking = {KEYS("passing", old), KEYS("held", old)}
    fold = Fold(old, new, KEYS.of_url(old), KEYS.of_url(new))
    actors.begin_merge(fold)
    await actors.load(held)
    actors.place_merge(1)
    store.applied = 1
    store.liking = {KEYS("passing", new), KEYS("held", new)}
    actors.applied(Increments(1, 1, 0, {}, merge=fold))

    assert not actors.hold(passing)
    await actors.load(passing)
    events: Events = {}
    actors.decide([act("passing", UNLIKE), act("held", UNLIKE)], events, {})
    assert events == {"unlike": {new: 2}}


async def test_many_acts_are_held_looked_up_and_let_go_of_in_steps() -> None:
    store = FakeStore()
    actors = Actors(store, applied=0, cached_max=10)
    many = submission(*(act(f"{n}") for n in range(4 * SLICE_KEYS + 1)))
    asked: list[int] = []
    read = store.read_actors

    async def read_actors(keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        asked.append(len(keys))
        return await read(keys)

    store.read_actors = read_actors  # type: ignore[method-assign]
    await actors.load(many)
    assert (len(asked), max(asked), sum(asked)) == (5, SLICE_KEYS, len(many.acts))
    actors.decide(many.acts, {}, {})
    actors.release(many)
    assert actors._held, "what is left is let go of with those that come"
    for n in range(3):
        passing = submission(act(f"passing {n}"))
        await actors.load(passing)
        actors.release(passing)
    assert not actors._held
    assert len(actors._cached) <= 11


async def test_many_acts_that_are_loaded_while_their_url_is_merged_know_of_both() -> None:
    store = FakeStore(slow=True)
    actors = Actors(store, applied=0, cached_max=10)
    old, new = URL + "old", URL
    many = submission(*(act(f"{n}", url=new) for n in range(SLICE_KEYS + 1)))
    store.liking = {KEYS(f"{n}", old) for n in range(SLICE_KEYS + 1)}
    fold = Fold(old, new, KEYS.of_url(old), KEYS.of_url(new))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.load, many)
        await wait_all_tasks_blocked()
        actors.begin_merge(fold)
        store.slow = False
        for gate in store.gates:
            gate.set()
    actors.place_merge(1)
    events: Events = {}
    actors.decide(many.acts, events, {})
    assert events == {}


@pytest.mark.parametrize("acts", [1, 2 * SLICE_KEYS])
async def test_acts_on_a_url_to_which_another_is_folded_wait_and_are_looked_up_then(acts: int) -> None:
    store = FakeStore()
    actors = Actors(store, applied=0, cached_max=10_000)
    known = submission(act("b", url=f"{URL}other"), *[act(f"a{n}") for n in range(acts)])
    await actors.load(known)
    actors.release(known)
    actors.begin_folds([KEYS.of_url(URL)])
    again = submission(*known.acts)
    assert not actors.hold(again)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.load, again)
        await wait_all_tasks_blocked()
        elsewhere = submission(act("b", url=f"{URL}other"))
        assert actors.hold(elsewhere)
        store.liking.add(KEYS("a0", URL))
        actors.end_folds()
    events: Events = {}
    actors.decide(again.acts[:2], events, {})
    assert events == {LIKE: {f"{URL}other": 1}}


async def test_a_submission_that_is_looked_up_when_a_fold_begins_is_looked_up_again() -> None:
    store = FakeStore(slow=True)
    actors = Actors(store, applied=0, cached_max=10_000)
    late = submission(act("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.load, late)
        await wait_all_tasks_blocked()
        actors.begin_folds([KEYS.of_url(URL)])
        store.slow = False
        for gate in store.gates:
            gate.set()
        await wait_all_tasks_blocked()
        store.liking.add(KEYS("a", URL))
        actors.end_folds()
    events: Events = {}
    actors.decide(late.acts, events, {})
    assert events == {}


async def test_a_load_that_is_cut_off_holds_nothing() -> None:
    actors = Actors(FakeStore(slow=True), applied=0, cached_max=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.load, submission(act("a"), act("b")))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not actors._held
    assert not actors._holding


async def test_what_became_of_a_url_elsewhere_since_an_act_was_held_is_left_to_the_store() -> None:
    aliases = Aliases(KEYS.of_url)
    actors = Actors(FakeStore(), applied=0, cached_max=100, aliases=aliases)
    unlike = submission(act("ann", UNLIKE))
    await actors.load(unlike)
    aliases.follow(URL, "https://example.com/new")
    events: Events = {}
    likings: Likings = {}
    actors.decide(aliases.acts(unlike.acts), events, likings)
    assert events == {UNLIKE: {"https://example.com/new": 1}}
    assert likings == {KEYS("ann", "https://example.com/new"): Liking(likes=False, net=-1)}
    actors.release(unlike)
