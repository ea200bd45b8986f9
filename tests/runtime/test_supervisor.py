"""The supervisor restarts what fails, one for one, and gives up loudly when that does not help."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from likd.runtime.supervisor import RestartIntensityExceeded, Supervisor


class Worker:
    """A child that fails the first `faults` times, and counts its starts."""

    def __init__(self, faults: int = 0, *, ends: bool = False) -> None:
        self.faults = faults
        self.ends = ends
        self.starts: list[float] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.starts.append(trio.current_time())
        task_status.started()
        if len(self.starts) <= self.faults:
            raise RuntimeError(f"fault {len(self.starts)}")
        if not self.ends:
            await trio.sleep_forever()


def supervisor(**options: float) -> Supervisor:
    return Supervisor("test", jitter=lambda: 0.5, **options)  # type: ignore[arg-type]


async def test_a_child_that_fails_is_restarted_and_the_others_are_left_alone(autojump_clock: MockClock) -> None:
    tree, bad, good = supervisor(), Worker(faults=3), Worker()
    child, other = tree.add("bad", bad.run), tree.add("good", good.run)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        await trio.sleep(10)

        assert (len(bad.starts), len(good.starts)) == (4, 1)
        assert (child.state, child.restarts, child.last_fault) == ("running", 3, "RuntimeError: fault 3")
        assert (other.state, other.restarts) == ("running", 0)
        tree.stop()


async def test_the_backoff_doubles(autojump_clock: MockClock) -> None:
    tree, bad = supervisor(backoff_seconds=1, backoff_max_seconds=4), Worker(faults=5)
    tree.add("bad", bad.run)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        await trio.sleep(60)
        tree.stop()

    pauses = [later - earlier for earlier, later in zip(bad.starts, bad.starts[1:], strict=False)]
    assert pauses == pytest.approx([1, 2, 4, 4, 4])


async def test_it_gives_up_when_restarts_exceed_the_intensity(autojump_clock: MockClock) -> None:
    tree, bad = supervisor(intensity=3, period_seconds=60), Worker(faults=100)
    child = tree.add("bad", bad.run)
    with (
        pytest.RaisesGroup(RestartIntensityExceeded, allow_unwrapped=True, flatten_subgroups=True),
        trio.fail_after(60),
    ):
        await tree.run()

    assert child.state == "failed"
    assert len(bad.starts) == 4


async def test_faults_far_apart_never_exceed_the_intensity(autojump_clock: MockClock) -> None:
    tree = supervisor(intensity=2, period_seconds=10)

    async def fail_each_minute(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(60)
        raise RuntimeError

    child = tree.add("slow", fail_each_minute)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        await trio.sleep(600)
        assert child.restarts == 9
        tree.stop()


async def test_a_child_that_ends_is_restarted_until_the_supervisor_drains(autojump_clock: MockClock) -> None:
    tree, worker = supervisor(intensity=1000), Worker(ends=True)
    child = tree.add("ends", worker.run)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        await trio.sleep(1)
        assert child.last_fault == "ended by itself"
        tree.drain()
        await tree.wait_finished("ends")
        assert child.state == "finished"
    assert tree.ended.is_set()


async def test_a_cancelled_supervisor_swallows_nothing(autojump_clock: MockClock) -> None:
    tree = supervisor()
    tree.add("good", Worker().run)
    with trio.move_on_after(5) as scope:
        await tree.run()

    assert scope.cancelled_caught


async def test_a_child_crashes_on_demand(autojump_clock: MockClock) -> None:
    tree, worker = supervisor(), Worker()
    child = tree.add("worker", worker.run)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree.run)
        await wait_all_tasks_blocked()
        child.crash("for a test")
        await trio.sleep(10)
        assert (len(worker.starts), child.last_fault) == (2, "for a test")
        tree.stop()


async def test_a_supervisor_that_gave_up_begins_anew_as_the_child_of_another(autojump_clock: MockClock) -> None:
    above, below, bad, good = supervisor(), supervisor(intensity=2), Worker(faults=4), Worker()
    below.add("bad", bad.run)
    below.add("good", good.run)
    child = above.add("below", below.run, below=below)
    async with trio.open_nursery() as nursery:
        await nursery.start(above.run)
        await trio.sleep(30)

        assert (len(bad.starts), len(good.starts)) == (5, 2)
        assert (child.state, child.restarts) == ("running", 1)
        [told] = above.statistics()
        assert [(each.name, each.restarts) for each in told.children or ()] == [("bad", 4), ("good", 0)]
        above.stop()


async def test_a_supervisor_that_was_stopped_does_not_run() -> None:
    tree, good = supervisor(), Worker()
    tree.add("good", good.run)
    tree.stop()
    await tree.run()
    assert not good.starts
