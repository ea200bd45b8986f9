"""Keys are claimed for many requests at once, and what becomes of claims is noted whatever comes between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from likd.counting.claims import CLAIMS_MAX, KeyClaims
from likd.durability.idempotency import KeyReused, KeyWindow
from likd.errors import StoreError
from likd.model import Accepted, IdempotencyKey, Outcome, Refused, Submission
from likd.stores.keys import Claim, Settled
from likd.stores.protocol import Part


@attrs.define(eq=False)
class Store:
    """Claims what it is told to, when it is told to."""

    parts: frozenset[Part] = frozenset({"keys"})
    answers: dict[str, Claim] = attrs.field(factory=dict)
    left: list[IdempotencyKey] = attrs.field(factory=list)
    fault: StoreError | None = None
    calls: list[tuple[list[str], list[str], list[str]]] = attrs.field(factory=list)
    busy: trio.Event | None = None

    async def claim_keys(
        self, asked: Sequence[IdempotencyKey], settled: Settled, window_seconds: float
    ) -> Sequence[Claim]:
        self.calls.append(
            (
                [each.key for each in asked],
                [key.key for key, _ in settled.done],
                [each.key for each in settled.released],
            )
        )
        if self.busy is not None:
            await self.busy.wait()
        if self.fault is not None:
            raise self.fault
        return [self.answers.get(each.key, Claim("mine")) for each in asked]

    async def claims_left(self) -> Sequence[IdempotencyKey]:
        if self.fault is not None:
            raise self.fault
        return self.left


def request(name: str) -> Submission:
    return Submission({}, 3, IdempotencyKey(name, b"digest"))


@asynccontextmanager
async def running(store: Store, window: KeyWindow | None = None) -> AsyncIterator[KeyClaims]:
    window = window or KeyWindow(window_seconds=60, keys_max=100)
    claims = KeyClaims(store, window, window_seconds=60, jitter=lambda: 0.5)
    async with trio.open_nursery() as nursery:
        await nursery.start(claims.run)
        await wait_all_tasks_blocked()
        store.calls.clear()
        yield claims
        nursery.cancel_scope.cancel()


async def test_who_asks_meanwhile_is_claimed_together(autojump_clock: MockClock) -> None:
    store = Store()
    async with running(store) as claims, trio.open_nursery() as nursery:
        store.busy = trio.Event()
        for name in ("a", "b", "c"):
            nursery.start_soon(claims.claim, request(name))
            await wait_all_tasks_blocked()
        store.busy.set()
        await wait_all_tasks_blocked()
    assert store.calls == [(["a"], [], []), (["b", "c"], [], [])]


async def test_no_more_than_a_bound_are_claimed_at_once(autojump_clock: MockClock) -> None:
    store = Store()
    async with running(store) as claims, trio.open_nursery() as nursery:
        for n in range(CLAIMS_MAX + 7):
            nursery.start_soon(claims.claim, request(str(n)))
    assert [len(asked) for asked, _, _ in store.calls] == [CLAIMS_MAX, 7]


async def test_a_request_is_answered_as_its_key_tells(autojump_clock: MockClock) -> None:
    store = Store(answers={"taken": Claim("taken", 9), "pending": Claim("pending"), "reused": Claim("reused")})
    async with running(store) as claims:
        mine, taken, pending, reused = map(request, ("mine", "taken", "pending", "reused"))
        await claims.claim(mine)
        assert mine.outcome is None
        await claims.claim(taken)
        assert taken.outcome == Accepted(9)
        await claims.claim(pending)
        assert isinstance(pending.outcome, Refused)
        assert pending.outcome.retry_after == 1
        with pytest.raises(KeyReused):
            await claims.claim(reused)
        assert isinstance(reused.outcome, Refused)


async def test_what_became_of_a_request_is_noted_but_where_a_crash_decides(autojump_clock: MockClock) -> None:
    store = Store()
    async with running(store) as claims:
        requests = [request(name) for name in ("accepted", "refused", "uncertain")]
        for each in requests:
            await claims.claim(each)
        store.calls.clear()
        outcomes: list[Outcome] = [Accepted(3), Refused("full"), Refused("the disk failed", certain=False)]
        for each, outcome in zip(requests, outcomes, strict=True):
            each.settle(outcome)
        await wait_all_tasks_blocked()
    assert store.calls == [([], ["accepted"], ["refused"])]


async def test_a_store_that_is_away_refuses_and_is_told_all_when_it_is_back(autojump_clock: MockClock) -> None:
    store = Store()
    async with running(store) as claims:
        first, second = request("first"), request("second")
        await claims.claim(first)
        store.fault = StoreError("it is away")
        first.settle(Accepted(3))
        await claims.claim(second)
        assert isinstance(second.outcome, Refused)
        assert second.outcome.reason == "idempotency keys are claimed in the store: it is away"
        assert claims.fault == "it is away"
        store.fault = None
        store.calls.clear()
        await trio.sleep(30)
    # Whether the second was claimed was never known.
    assert store.calls == [([], ["first"], ["second"])]
    assert claims.fault is None


async def test_a_claim_that_nobody_waits_for_is_released(autojump_clock: MockClock) -> None:
    store = Store()
    async with running(store) as claims:
        store.busy = trio.Event()
        given_up = request("given up")
        with trio.move_on_after(1):
            await claims.claim(given_up)
        assert isinstance(given_up.outcome, Refused)
        store.busy.set()
        await wait_all_tasks_blocked()
    assert store.calls == [(["given up"], [], []), ([], [], ["given up"])]


async def test_what_the_last_life_left_is_settled_by_what_its_journal_has(autojump_clock: MockClock) -> None:
    window = KeyWindow(window_seconds=60, keys_max=100)
    window.remember("journaled", b"digest", 4, 0.0)
    store = Store(left=[IdempotencyKey("journaled", b"digest"), IdempotencyKey("not", b"digest")])
    claims = KeyClaims(store, window, window_seconds=60)
    async with trio.open_nursery() as nursery:
        await nursery.start(claims.run)
        await wait_all_tasks_blocked()
        claims.close()
    assert store.calls[0] == ([], ["journaled"], ["not"])


async def test_it_ends_when_all_is_noted_or_the_store_fails(autojump_clock: MockClock) -> None:
    for fault in (None, StoreError("it is away")):
        store = Store()
        async with running(store) as claims:
            mine = request("mine")
            await claims.claim(mine)
            store.calls.clear()
            store.fault = fault
            mine.settle(Accepted(3))
            claims.close()
            await wait_all_tasks_blocked()
            assert store.calls == [([], ["mine"], [])]


async def test_a_key_that_was_given_up_stays_claimed_for_whoever_asks_for_it_again(autojump_clock: MockClock) -> None:
    store = Store()
    async with running(store) as claims, trio.open_nursery() as nursery:
        store.busy = trio.Event()
        nursery.start_soon(claims.claim, request("first"))
        await wait_all_tasks_blocked()
        with trio.CancelScope() as impatient:
            nursery.start_soon(claims.claim, again := request("a"))
            async with trio.open_nursery() as other:
                other.start_soon(claims.claim, request("a"))
                await wait_all_tasks_blocked()
                impatient.cancel()
        store.busy.set()
        await wait_all_tasks_blocked()
        assert again.outcome is None, "it is counted"
        assert [call for call in store.calls if call[0]] == [(["first"], [], []), (["a"], [], [])]
        assert not [call for call in store.calls if call[2]], "nobody else may have the key"
