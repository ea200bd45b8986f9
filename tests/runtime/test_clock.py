"""The clock: small steps are followed, jumps not until they proved steady; nothing is removed by a doubtful one."""

from __future__ import annotations

import attrs
import pytest

from likd.runtime.clock import AHEAD_SECONDS_MAX, BELIEVED_SECONDS, JUMP_SECONDS, Clock

NOW = 1_790_000_000.0
YEARS = 14 * 365 * 86_400.0


@attrs.define
class Machine:
    """Its clocks: the one that is set, and the one that nobody sets."""

    wall: float = NOW
    elapsed: float = 1000.0

    def clock(self, newest: float = 0.0) -> Clock:
        return Clock(newest=newest, wall=lambda: self.wall, elapsed=lambda: self.elapsed)

    def pass_time(self, clock: Clock, seconds: float) -> None:
        """Let time pass, and look at the clock now and then."""
        for _ in range(10):
            self.wall += seconds / 10
            self.elapsed += seconds / 10
            clock.now()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("step", [-JUMP_SECONDS, -1, 0.001, JUMP_SECONDS])
def test_small_steps_are_followed_at_once(machine: Machine, step: float) -> None:
    clock = machine.clock()
    machine.wall += step
    assert clock.now() == clock.settled() == machine.wall
    assert not clock.doubtful


@pytest.mark.parametrize("jump", [-YEARS, -3600, 3600, YEARS])
def test_after_a_jump_time_goes_on_as_before_until_the_new_time_proved_steady(machine: Machine, jump: float) -> None:
    clock = machine.clock()
    machine.wall += jump
    assert clock.now() == NOW
    machine.pass_time(clock, BELIEVED_SECONDS - 1)
    assert clock.now() == clock.settled() == pytest.approx(NOW + BELIEVED_SECONDS - 1)
    assert clock.doubtful
    machine.pass_time(clock, 2)
    assert clock.now() == pytest.approx(machine.wall)
    assert not clock.doubtful


def test_a_jump_there_and_back_changes_nothing(machine: Machine) -> None:
    clock = machine.clock()
    machine.wall += YEARS
    machine.pass_time(clock, BELIEVED_SECONDS / 2)
    machine.wall -= YEARS
    assert clock.now() == pytest.approx(NOW + BELIEVED_SECONDS / 2)
    assert not clock.doubtful


def test_a_clock_that_jumps_again_and_again_is_not_believed(machine: Machine) -> None:
    clock = machine.clock()
    for _ in range(10):
        machine.wall += 3600
        machine.pass_time(clock, BELIEVED_SECONDS / 2)
    assert clock.now() == pytest.approx(NOW + 5 * BELIEVED_SECONDS)


def test_a_machine_that_slept_is_no_jump(machine: Machine) -> None:
    clock = machine.clock()
    machine.wall += 8 * 3600
    machine.elapsed += 8 * 3600
    assert clock.now() == machine.wall
    assert not clock.doubtful


@pytest.mark.parametrize("ahead", [-JUMP_SECONDS, 0, 3600, AHEAD_SECONDS_MAX])
def test_a_start_after_a_plausible_time_is_believed(machine: Machine, ahead: float) -> None:
    clock = machine.clock(newest=NOW - ahead)
    assert clock.now() == clock.settled() == NOW
    assert not clock.doubtful


def test_a_start_years_later_books_by_its_clock_and_removes_nothing_by_it_at_first(machine: Machine) -> None:
    clock = machine.clock(newest=NOW - YEARS)
    machine.pass_time(clock, BELIEVED_SECONDS - 1)
    assert clock.now() == machine.wall
    assert clock.settled() == pytest.approx(NOW - YEARS + BELIEVED_SECONDS - 1)
    assert clock.doubtful
    machine.pass_time(clock, 2)
    assert clock.settled() == machine.wall
    assert not clock.doubtful


def test_a_start_before_the_last_write_removes_nothing_by_a_time_to_come(machine: Machine) -> None:
    clock = machine.clock(newest=NOW + YEARS)
    assert clock.now() == clock.settled() == NOW
    assert clock.doubtful


@pytest.mark.parametrize("off", [-YEARS, YEARS])
def test_a_clock_that_is_set_right_soon_after_the_start_is_believed_at_once(machine: Machine, off: float) -> None:
    machine.wall = NOW + off
    clock = machine.clock(newest=NOW - 3600)
    machine.wall = NOW
    assert clock.now() == clock.settled() == NOW
    assert not clock.doubtful


@pytest.mark.parametrize("off", [-YEARS, 0, YEARS])
def test_what_is_noted_is_remembered_for_its_time_whatever_the_clock_says_at_the_start(
    machine: Machine, off: float
) -> None:
    machine.wall = NOW + off
    clock = machine.clock(newest=NOW - 3600)
    noted = clock.noted()
    assert noted >= NOW - 3600
    machine.wall = NOW
    machine.pass_time(clock, 2 * BELIEVED_SECONDS)
    assert clock.forgetting() - noted <= 2 * BELIEVED_SECONDS
    # The next start is half an hour later, by a clock that is right.
    machine.pass_time(clock, 1800)
    clock = machine.clock(newest=noted)
    assert clock.forgetting() - noted <= 3600 + 2 * BELIEVED_SECONDS + 1800


def test_what_is_noted_is_forgotten_in_time_by_a_clock_that_is_right(machine: Machine) -> None:
    clock = machine.clock(newest=NOW - 3600)
    noted = clock.noted()
    machine.pass_time(clock, 1000)
    assert clock.forgetting() - noted == pytest.approx(1000)
