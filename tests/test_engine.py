"""The engine from intake to store: groups, swaps, batches, drains, and what failures do to them."""

from __future__ import annotations

import errno
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from likd.config.settings import Config
from likd.counting.intake import ACTS_TAKEN_MAX
from likd.durability import journal
from likd.durability.batch_file import Batch
from likd.durability.disk import AppendFile
from likd.durability.filenames import BATCH, JOURNAL
from likd.durability.journal import Entry, SegmentDamage
from likd.engine import Engine, open_engine
from likd.model import Accepted, ActorEvent, Events, IdempotencyKey, Outcome, Refused, Submission
from likd.plugins.handlers import Handler, Handlers, Impressions, Likes
from likd.runtime.clock import Clock
from likd.runtime.cooperative import finish
from likd.stores.protocol import Increments
from tests.sim.disk import SimDisk, SimFile
from tests.sim.store import SimStore

CONFIG = Config(table_limit=10, table_limit_max=1, flush_interval=5, pool_size=5, write_tolerance=1e6)


class Handmade:
    """Disk and store of one test, and engines on them."""

    def __init__(self) -> None:
        self.disk = SimDisk(random.Random(1))
        self.store = SimStore(random.Random(2))
        self.handlers: dict[str, Handler] = {"likes": Likes(), "impressions": Impressions()}

    @asynccontextmanager
    async def engine(self, **settings: Any) -> AsyncIterator[Engine]:
        async with (
            open_engine(
                attrs.evolve(CONFIG, **settings),
                disk=self.disk,
                store=self.store,
                handlers=Handlers(self.handlers, faults_max=3),
                clock=Clock(wall=lambda: 1e9 + trio.current_time(), elapsed=trio.current_time),
            ) as engine,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(engine.root.run)
            yield engine
            nursery.cancel_scope.cancel()


def likes(*urls: object) -> Events:
    return {"like": {f"https://example.com/{url}": 1 for url in urls}}


async def submit(engine: Engine, events: Events, key: IdempotencyKey | None = None) -> Outcome:
    size = sum(n for urls in events.values() for n in urls.values())
    return await engine.intake.offer(Submission(events, size, key)).settled()


async def test_a_table_is_swapped_at_its_limit(autojump_clock: MockClock) -> None:
    async with Handmade().engine() as engine:
        await submit(engine, likes(*range(9)))
        assert engine.manager.open_table.id == 1
        await submit(engine, likes(9))
        assert engine.manager.open_table.id == 2


async def test_a_table_is_swapped_when_it_is_old_and_not_before(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine() as engine:
        await submit(engine, likes(1))
        await trio.sleep(4.5)
        assert (engine.manager.open_table.id, world.store.applied) == (1, 0)
        await trio.sleep(1)
        assert (engine.manager.open_table.id, world.store.applied) == (2, 1)
        await trio.sleep(60)
        assert engine.manager.open_table.id == 2, "an empty table is not swapped"


async def test_a_request_over_many_tables_is_counted_whole(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine() as engine:
        assert await submit(engine, likes(*range(57))) == Accepted(57)
        assert engine.manager.open_table.id == 6
        await engine.drain()
    assert len(world.store.rows) == 57
    assert {counts["likes"] for counts in world.store.rows.values()} == {1}


async def test_what_waits_together_is_one_group_with_one_fsync(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine() as engine:
        await submit(engine, likes(0))
        before = world.disk.operations
        submissions = [engine.intake.offer(Submission(likes(n % 5), 1)) for n in range(200)]
        for submission in submissions:
            await submission.settled()
        assert world.disk.operations - before <= 6


async def test_a_group_is_written_whole_and_once_although_its_event_manager_crashes(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Handmade()
    append = SimFile.append
    written: list[bytes] = []
    async with world.engine() as engine:
        (manager,) = [child for child in engine.root.children if child.name == "event manager"]

        async def crash_meanwhile(file: SimFile, data: bytes, *, sync: bool) -> None:
            manager.crash("a test")
            await append(file, data, sync=sync)
            written.append(data)

        monkeypatch.setattr(SimFile, "append", crash_meanwhile)
        accepted = await submit(engine, likes(*range(25)))
        monkeypatch.undo()
        assert (accepted, manager.restarts) == (Accepted(25), 1)
        read = [found for data in written for found in journal.read(data) if not isinstance(found, SegmentDamage)]
        entries = [message for _, message in read if isinstance(message, Entry)]
        assert [entry.part for entry in entries] == [0, 1, 2]
        assert len({entry.group for entry in entries}) == 1
        await engine.drain()
    assert len(world.store.rows) == 25


async def test_what_is_counted_stays_so_although_the_event_manager_crashes_then(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Handmade()
    async with world.engine() as engine:
        [child] = [child for child in engine.root.children if child.name == "event manager"]
        post = engine.pool.post

        def crash(*args: Any) -> None:
            post(*args)
            child.crash("the table is yet to be handed over")

        monkeypatch.setattr(engine.pool, "post", crash)
        await submit(engine, likes(*range(10)))
        monkeypatch.undo()
        await engine.drain()
        assert (child.restarts, engine.batcher.mismatches) == (1, 0)
    assert [counts["likes"] for counts in world.store.rows.values()] == [1] * 10


async def test_a_table_is_handed_over_once_although_the_batcher_crashes_then(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine() as engine:
        [child] = [child for child in engine.root.children if child.name == "batcher"]
        batched = engine.totals.ledger.batched

        def crash(batch: Batch) -> None:
            batched(batch)
            child.crash("the batch is handed over")

        engine.totals.ledger.batched = crash  # type: ignore[method-assign]
        await submit(engine, likes(*range(10)))
        await engine.drain()
        assert child.restarts == 1
    assert [counts["likes"] for counts in world.store.rows.values()] == [1] * 10


async def test_the_event_manager_does_not_wait_for_the_store(autojump_clock: MockClock) -> None:
    world = Handmade()
    world.store.faults = 1.0
    async with world.engine() as engine:
        for n in range(20):
            assert isinstance(await submit(engine, likes(*range(n * 10, n * 10 + 10))), Accepted)
        await trio.sleep(60)
        assert (world.store.applied, engine.totals.ledger.rows_waiting) == (0, 200)
        assert engine.drainer.fault
        world.store.faults = 0.0
        await trio.sleep(60)
        assert (world.store.applied, engine.totals.ledger.rows_waiting) == (20, 0)
        assert not engine.drainer.fault


async def test_rows_that_wait_for_the_store_are_bounded(autojump_clock: MockClock) -> None:
    world = Handmade()
    world.store.faults = 1.0
    async with world.engine(rows_waiting_max=25) as engine:
        for n in range(4):
            await submit(engine, likes(*range(n * 10, n * 10 + 10)))
            await trio.sleep(1)
        assert await submit(engine, likes(99)) == Refused("the store is behind", 10)
        assert engine.bounds.refused["rows"] == 2
        world.store.faults = 0.0
        await trio.sleep(60)
        assert await submit(engine, likes(99)) == Accepted(1)


async def test_what_rows_that_wait_take_in_memory_is_bounded(autojump_clock: MockClock) -> None:
    world = Handmade()
    world.store.faults = 1.0
    async with world.engine(rows_waiting_max=25) as engine:
        await submit(engine, likes(*(f"{n}{'long' * 480}" for n in range(5))))
        await trio.sleep(6)
        assert await submit(engine, likes(99)) == Refused("the store is behind", 10)
        world.store.faults = 0.0
        await trio.sleep(60)
        assert await submit(engine, likes(99)) == Accepted(1)
        assert not engine.totals.ledger.too_many_wait(2)
        await engine.drain()
        assert not engine.totals.ledger.too_many_wait(1), "nothing is left to take memory"


async def test_a_hot_url_costs_the_store_one_row_for_many_tables(autojump_clock: MockClock) -> None:
    world = Handmade()
    world.store.faults = 1.0
    async with world.engine(table_limit=2) as engine:
        for n in range(30):
            await submit(engine, likes("hot", n))
        world.store.faults = 0.0
        await engine.drain()
        assert engine.drainer.rows_written < 40
    assert world.store.rows["https://example.com/hot"] == {"likes": 30}


async def test_the_write_tolerance_is_held(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine(table_limit=100, write_tolerance=50) as engine:
        began = trio.current_time()
        for n in range(10):
            await submit(engine, likes(*range(n * 100, n * 100 + 100)))
            await trio.sleep(61)
            assert engine.drainer.rows_written <= 100 + 50 * (trio.current_time() - began)


async def test_tables_are_applied_in_the_order_of_their_ids(autojump_clock: MockClock) -> None:
    world = Handmade()
    world.store.faults = 0.4
    async with world.engine(table_limit=1) as engine:
        for n in range(40):
            await submit(engine, likes(n))
            await trio.sleep(0.2)
        world.store.faults = 0.0
        await engine.drain()
    assert world.store.transactions == sorted(world.store.transactions)
    assert world.store.applied >= 40


async def test_a_failed_fsync_refuses_the_group_and_the_next_one_has_a_new_segment(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine() as engine:
        assert await submit(engine, likes(1)) == Accepted(1)
        world.disk.faults = 1.0
        refused = await submit(engine, likes(2))
        assert isinstance(refused, Refused)
        assert "journal" in refused.reason
        world.disk.faults = 0.0
        assert await submit(engine, likes(3)) == Accepted(1)
        assert engine.manager.open_table.id == 2
        assert engine.manager.journal_fault is None
        await engine.drain()
    assert sorted(world.store.rows) == ["https://example.com/1", "https://example.com/3"]


async def test_a_refused_group_does_not_count_although_its_first_segment_is_back_after_a_crash(
    autojump_clock: MockClock,
) -> None:
    world = Handmade()
    world.store.faults = 1.0
    create, remove = world.disk.create, world.disk.remove

    async def create_but_one(name: str) -> AppendFile:
        if name == JOURNAL.name(2):
            raise OSError(errno.ENOSPC, "No space left on device")
        return await create(name)

    async def remove_but_one(name: str) -> None:
        if name != JOURNAL.name(1):
            await remove(name)

    world.disk.create, world.disk.remove = create_but_one, remove_but_one  # type: ignore[method-assign]
    async with world.engine() as engine:
        assert isinstance(await submit(engine, likes(*range(15))), Refused)
        await submit(engine, likes("later"))
        await trio.sleep(10)
        assert not engine.batcher.tables_in_hand
    assert JOURNAL.name(1) in await world.disk.names()
    world.disk.create, world.disk.remove = create, remove  # type: ignore[method-assign]
    world.store.faults = 0.0
    async with world.engine() as engine:
        await engine.drain()
    assert world.store.rows == {"https://example.com/later": {"likes": 1}}
    assert not world.disk.damaged


async def test_batch_files_wait_for_space_and_are_then_written(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine() as engine:
        await submit(engine, likes(1))
        world.disk.faults = 1.0
        await trio.sleep(20)
        assert engine.batcher.fault
        world.disk.faults = 0.0
        await trio.sleep(20)
        assert world.store.applied == 1
        assert not engine.batcher.fault


async def test_double_entry_a_difference_is_reported_and_the_journal_wins(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine() as engine:
        await submit(engine, likes(1, 2))
        engine.manager.open_table.counters["https://example.com/1"].counts["likes"] = 77
        await engine.drain()
        assert engine.batcher.mismatches == 1
    assert world.store.rows == {"https://example.com/1": {"likes": 1}, "https://example.com/2": {"likes": 1}}


async def test_totals_are_exact_wherever_the_counts_are(autojump_clock: MockClock) -> None:
    world = Handmade()
    url = "https://example.com/x"
    async with world.engine(table_limit=2) as engine, trio.open_nursery() as nursery:
        seen: list[int] = []

        async def read() -> None:
            while True:
                seen.append((await engine.totals.counts([url]))[url].get("likes", 0))
                await trio.sleep(0.001)

        nursery.start_soon(read)
        for n in range(100):
            await submit(engine, likes("x", n))
            total = (await engine.totals.counts([url]))[url]["likes"]
            assert total == n + 1
        nursery.cancel_scope.cancel()
        assert seen == sorted(seen)


async def test_a_key_is_counted_once_while_in_flight_and_after(autojump_clock: MockClock) -> None:
    world = Handmade()
    key = IdempotencyKey("k", b"digest")
    async with world.engine() as engine:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(submit, engine, likes(1), key)
        assert await submit(engine, likes(1), key) == Accepted(1)
        await engine.drain()
    assert world.store.rows == {"https://example.com/1": {"likes": 1}}

    async with world.engine() as engine:
        assert await submit(engine, likes(1), key) == Accepted(1)
        await engine.drain()
    assert world.store.rows == {"https://example.com/1": {"likes": 1}}


class Moody:
    """A handler that fails for one URL."""

    kinds: tuple[str, ...] = ("like",)
    counts: tuple[str, ...] = ("hearts",)
    moody = True

    def increments(self, kind: str, url: str, times: int) -> Mapping[str, int]:
        if self.moody and url.endswith("/bad"):
            raise ValueError("no")
        return {"hearts": 2 * times}


async def test_a_handler_that_fails_takes_nobody_down_and_its_events_are_replayed(autojump_clock: MockClock) -> None:
    world = Handmade()
    moody = world.handlers["moody"] = Moody()
    async with world.engine() as engine:
        for _ in range(2):
            assert await submit(engine, likes("good", "bad")) == Accepted(2)
        assert [r.faults for r in engine.handlers.registered if r.name == "moody"] == [2]
        await engine.drain()
    assert world.store.rows["https://example.com/good"] == {"likes": 2, "hearts": 4}
    assert world.store.rows["https://example.com/bad"] == {"likes": 2}

    moody.moody = False
    async with world.engine() as engine:
        await engine.drain()
    assert world.store.rows["https://example.com/bad"] == {"likes": 2, "hearts": 4}
    async with world.engine() as engine:
        await engine.drain()
    assert world.store.rows["https://example.com/bad"] == {"likes": 2, "hearts": 4}


async def test_room_for_events_set_aside_is_bounded_also_over_restarts(autojump_clock: MockClock) -> None:
    world = Handmade()
    moody = world.handlers["moody"] = Moody()
    async with world.engine(aside_bytes_max=3 * 4096) as engine:
        for _ in range(3):
            assert await submit(engine, likes("bad")) == Accepted(1)
            await trio.sleep(6)
        refused = await submit(engine, likes("bad"))
        assert isinstance(refused, Refused)
        assert "could not count" in refused.reason
    async with world.engine(aside_bytes_max=3 * 4096) as engine:
        assert isinstance(await submit(engine, likes("good")), Refused)
    moody.moody = False
    async with world.engine(aside_bytes_max=3 * 4096) as engine:
        assert await submit(engine, likes("good")) == Accepted(1)
        await engine.drain()
    assert world.store.rows["https://example.com/bad"] == {"likes": 3, "hearts": 6}


async def test_what_is_set_aside_grows_with_unique_urls_only(autojump_clock: MockClock) -> None:
    world = Handmade()
    world.handlers["moody"] = Moody()
    async with world.engine() as engine:
        for _ in range(50):
            await submit(engine, likes("bad"))
        assert list(engine.manager.open_table.dead_letters.values()) == [50]


async def test_a_table_that_holds_only_keys_is_brought_to_its_end_and_its_id_is_not_used_again(
    autojump_clock: MockClock,
) -> None:
    world = Handmade()
    for life in range(5):
        async with world.engine() as engine:
            assert engine.manager.open_table.id == life + 1
            unlike = ActorEvent("unlike", "https://example.com/", b"somebody who does not like it")
            submission = Submission({}, 1, IdempotencyKey(f"key-{life}", b"%d" % life), acts=[unlike])
            await engine.actors.load(submission)
            assert await engine.intake.offer(submission).settled() == Accepted(1)
            await engine.drain()
    async with world.engine() as engine:
        for life in range(5):
            retry = Submission({}, 0, IdempotencyKey(f"key-{life}", b"%d" % life))
            assert engine.keys.claim(retry).outcome is not None, life


async def test_events_are_booked_in_the_minute_in_which_they_were_taken(autojump_clock: MockClock) -> None:
    """With a long flush interval, too: a table takes events of one minute."""
    world = Handmade()
    minutes: list[int] = []
    apply = world.store.apply

    async def spy(increments: Increments) -> None:
        minutes.append(increments.minute)
        await apply(increments)

    world.store.apply = spy  # type: ignore[method-assign]
    taken: list[int] = []
    async with world.engine(flush_interval=3600) as engine:
        for pause in (0, 10, 200, 61, 1):
            await trio.sleep(pause)
            taken.append(int(engine.clock.now() // 60))
            await submit(engine, likes(1))
        await trio.sleep(1800)
        await engine.drain()
    assert minutes == sorted(set(taken))
    assert world.store.rows["https://example.com/1"] == {"likes": 5}


async def test_what_a_crash_left_is_booked_in_the_minute_in_which_it_was_taken(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine(flush_interval=3600) as engine:
        await submit(engine, likes(1))
        taken = int(engine.clock.now() // 60)
    await trio.sleep(3 * 86_400)
    async with world.engine() as engine:
        assert [waiting.increments.minute for waiting in engine.totals.ledger.waiting] == [taken]


async def test_after_repeated_faults_a_handler_is_taken_off_and_its_events_are_kept(autojump_clock: MockClock) -> None:
    world = Handmade()
    moody = world.handlers["moody"] = Moody()
    async with world.engine() as engine:
        for _ in range(5):
            await submit(engine, likes("bad"))
        await submit(engine, likes("good"))
        assert [r.off for r in engine.handlers.registered] == [False, False, True]
        await engine.drain()
    assert world.store.rows["https://example.com/good"] == {"likes": 1}

    moody.moody = False
    async with world.engine() as engine:
        await engine.drain()
    assert world.store.rows["https://example.com/good"] == {"likes": 1, "hearts": 2}
    assert world.store.rows["https://example.com/bad"] == {"likes": 5, "hearts": 10}


async def test_applied_batch_files_are_kept_as_many_as_asked_for(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine(keep_batches=3) as engine:
        for n in range(8):
            await submit(engine, likes(*range(n * 10, n * 10 + 10)))
            await trio.sleep(1)
        await engine.drain()
        kept = BATCH.among(await world.disk.names())
        assert kept == [BATCH.name(table) for table in (6, 7, 8)]


async def test_a_closed_intake_refuses(autojump_clock: MockClock) -> None:
    async with Handmade().engine() as engine:
        await engine.drain()
        assert await submit(engine, likes(1)) == Refused("the daemon is shutting down", 5)


async def test_a_full_inbox_refuses_and_loses_nothing(autojump_clock: MockClock) -> None:
    world = Handmade()
    async with world.engine(inbox_max=10) as engine:
        submissions = [engine.intake.offer(Submission(likes(n % 3), 1)) for n in range(50)]
        outcomes = [await submission.settled() for submission in submissions]
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        assert 10 <= accepted < 50
        await wait_all_tasks_blocked()
        await engine.drain()
    assert sum(counts["likes"] for counts in world.store.rows.values()) == accepted


async def test_a_request_that_needs_more_counters_than_are_free_is_refused_before_it_is_journaled(
    autojump_clock: MockClock,
) -> None:
    async with Handmade().engine(counters_max=20, table_limit=1000) as engine:
        assert await submit(engine, likes(*range(12))) == Accepted(12)
        written = engine.journal.bytes_written
        assert await submit(engine, likes(*range(100, 109))) == Refused("all counters are leased")
        assert engine.bounds.refused["counters"] == 1
        assert engine.journal.bytes_written == written
        assert await submit(engine, likes(*range(100, 108))) == Accepted(8)
        await trio.sleep(10)
        assert await submit(engine, likes(*range(20))) == Accepted(20), "they are free again"


async def test_requests_that_wait_need_their_counters_too(autojump_clock: MockClock) -> None:
    async with Handmade().engine(counters_max=20, table_limit=1000) as engine:
        offered = [engine.intake.offer(Submission(likes(*range(n * 9, n * 9 + 9)), 9)) for n in range(5)]
        outcomes = [await submission.settled() for submission in offered]
        assert outcomes == [Accepted(9)] * 2 + [Refused("all counters are leased")] * 3
        assert engine.pool.statistics().counters <= 20


async def test_events_of_actors_that_wait_are_bounded(autojump_clock: MockClock) -> None:
    acts = [ActorEvent("like", "https://example.com/", b"%020d" % n) for n in range(ACTS_TAKEN_MAX // 2 + 1)]
    async with Handmade().engine() as engine:
        await engine.actors.load(Submission({}, 1, acts=acts))
        outcomes = [engine.intake.offer(Submission({}, len(acts), acts=acts)) for _ in range(2)]
        assert await outcomes[0].settled() == Accepted(len(acts))
        assert outcomes[1].outcome == Refused("too many events with actors are waiting to be counted")


async def test_a_group_is_assembled_in_steps_and_no_cancellation_takes_it_away() -> None:
    world = Handmade()
    async with open_engine(
        attrs.evolve(CONFIG, table_limit=10), disk=world.disk, store=world.store, handlers=Handlers(world.handlers)
    ) as engine:
        submission = engine.intake.offer(Submission(likes(*range(95)), 95))
        groups = []
        with trio.CancelScope() as scope, patch.object(engine.ledger, "opened", lambda _: scope.cancel()):
            groups.append(await engine.manager.groups.next())
        assert [group.submissions for group in groups] == [[submission]]
        assert len(groups[0].parts) == 10


async def test_others_have_their_turns_while_a_group_is_assembled() -> None:
    world = Handmade()
    async with open_engine(
        attrs.evolve(CONFIG, table_limit=10), disk=world.disk, store=world.store, handlers=Handlers(world.handlers)
    ) as engine:
        submission = Submission(likes(*range(95)), 95)
        assert sum(1 for _ in engine.manager.groups.assemble(submission)) == 9
        assert sum(1 for _ in engine.manager.groups.assemble(Submission(likes(1), 1))) == 0


async def test_an_engine_without_a_web_parses_counts_and_merges(autojump_clock: MockClock) -> None:
    old, new = "https://example.com/old", "https://example.com/new"
    body = b'{"kind":"like","url":"http://EXAMPLE.com/old"}\n{"kind":"like","url":"%b","actor":"a"}' % new.encode()
    async with Handmade().engine(flush_interval=0.05) as engine:
        events, size, acts = finish(engine.ingest.read(body))
        submission = Submission(events, size, acts=acts)
        answering = await engine.intake.submit(submission)
        assert await answering.settled() == Accepted(2)
        await engine.merger.merge(old, new)
        assert (await engine.totals.counts([new]))[new]["likes"] == 2
