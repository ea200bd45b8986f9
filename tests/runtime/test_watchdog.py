"""The watchdog: an event loop that something blocks is reported once, a process that was stopped is not one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from likd.runtime.watchdog import Looks, Seen

NOTHING = Seen(0.0, 0.0, 0.0)


@attrs.define
class Process:
    """A process whose watchdog has a limit of one second, in a time of its own."""

    now: float = 100.0
    used: float = 7.0
    beat: float = 100.0
    looks: Looks = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.looks = Looks(1.0, self.now, self.used, self.beat)

    def after(self, seconds: float = 0.25, *, used: float = 0.0, beats: bool = True) -> Seen:
        """What is seen after `seconds`, in which the process used so much processor time."""
        self.now += seconds
        self.used += used
        if beats:
            self.beat = self.now - 0.01
        return self.looks.look(self.now, self.used, self.beat)


def test_an_event_loop_that_turns_is_not_reported() -> None:
    process = Process()
    assert [process.after(used=used) for used in (0, 0.2, 0.01) * 10] == [NOTHING] * 30


@pytest.mark.parametrize("used", [0.0, 0.25])
def test_a_blocked_event_loop_is_reported_once_and_when_it_goes_on(used: float) -> None:
    """Whether it computes or waits."""
    process = Process()
    seen = [process.after(used=used, beats=False) for _ in range(10)]
    assert [look.blocked > 0 for look in seen] == [False] * 3 + [True] + [False] * 6
    assert process.after().went_on == pytest.approx(2.74)
    assert process.after() == NOTHING


def test_code_that_does_not_let_the_watchdog_look_is_reported_for_the_time_it_takes() -> None:
    process = Process()
    seen = process.after(5, used=4.9, beats=False)
    assert seen.stood == 0
    assert seen.blocked == pytest.approx(5)


@pytest.mark.parametrize("seconds", [0.3, 0.9, 1.1, 3, 1e6])
@pytest.mark.parametrize("turns", [True, False])
@pytest.mark.parametrize("before", [0.0, 0.24])
def test_a_process_that_was_stopped_is_not_blocked(seconds: float, turns: bool, before: float) -> None:
    """Whether the event loop turns before the watchdog looks, or after it."""
    process = Process()
    process.after()
    process.beat += before
    seen = process.after(0.25 + seconds, used=0.001, beats=turns)
    assert seen.blocked == 0
    assert (seen.stood > 0) == (seconds > 1.01)
    assert process.after(beats=False) == NOTHING
    assert process.after() == NOTHING


def test_what_blocks_before_and_after_a_stop_is_reported_without_it() -> None:
    process = Process()
    assert [process.after(beats=False).blocked for _ in range(2)] == [0, 0]
    assert process.after(60.25, beats=False).blocked == 0
    assert process.after(beats=False).blocked == pytest.approx(1.0)


def test_what_blocks_right_after_a_stop_is_reported() -> None:
    process = Process()
    process.after(60.25)
    assert [process.after(beats=False).blocked > 0 for _ in range(4)] == [False, False, False, True]


BLOCKS = """
import sys, time, trio
from likd.runtime.watchdog import Watchdog

async def main():
    watchdog = Watchdog(blocked_seconds=0.4)
    async with trio.open_nursery() as nursery:
        await nursery.start(watchdog.run)
        print("ready", file=sys.stderr, flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        print(watchdog.blocked, file=sys.stderr, flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        time.sleep(1)
        print(watchdog.blocked, file=sys.stderr, flush=True)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


def test_a_real_process_tells_a_stop_from_a_blocked_event_loop() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKS],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # the log
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
    ) as process:

        def answer() -> str:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stderr.readline().strip()

        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        process.send_signal(signal.SIGCONT)
        assert answer() == "0"
        assert answer() == "1"
