"""What happened of late: the newest faults, and what was refused in a day, no more of either than there is room for."""

from __future__ import annotations

from likd.runtime.recent import FAULTS_MAX, LastDay, RecentFaults


def test_errors_are_kept_newest_first_and_nothing_else_is() -> None:
    faults = RecentFaults(lambda: 7.0)
    faults(None, "info", {"event": "all is well"})
    for number in range(FAULTS_MAX + 5):
        event = {"event": "store failed", "fault": f"{number}"}
        assert faults(None, "error", event) is event
    faults(None, "error", {"event": "crashed", "child": "drainer"})
    newest = faults.newest()
    assert len(newest) == FAULTS_MAX
    assert (newest[0].time, newest[0].part, newest[0].text) == (7.0, "drainer", "crashed")
    assert newest[1].text == f"store failed: {FAULTS_MAX + 4}"
    assert newest[1].part == "test_recent"


def test_a_day_forgets_what_is_older_by_the_hour() -> None:
    now = 0.0
    day = LastDay(lambda: now)
    day.add("a")
    now = 23 * 3600.0
    day.add("b")
    day.add("b")
    assert day.counts() == {"a": 1, "b": 2}
    now = 24 * 3600.0
    assert day.counts() == {"b": 2}


def test_reasons_are_bounded() -> None:
    day = LastDay()
    for number in range(1000):
        day.add(f"{number}")
    assert len(day.counts()) == 101
    assert day.counts()["other"] == 900
