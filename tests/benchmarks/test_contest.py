"""What the bench promises of its figures: turns by turns, and none where a sum is wrong."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import databases
from benchmarks.contest import PROCESSOR, Bench, Case, Measure, Version, Wrong, contender
from benchmarks.loads import SITE, accepted, load
from benchmarks.versions import NoSuchVersion, versions


def bench(tmp_path: Path, runs: int = 2) -> Bench:
    return Bench([Version("likd", tmp_path), Version("likd old", tmp_path)], tmp_path, runs)


@contextlib.contextmanager
def counting(version: Version, turns: list[str], *, wrong: bool = False) -> Iterator[Measure]:
    def measure() -> dict[str, float]:
        turns.append(version.name)
        return {PROCESSOR: float(len(turns))}

    yield measure
    if wrong:
        raise Wrong("WRONG")


def test_versions_measure_by_turns_after_one_each_to_warm_up(tmp_path: Path) -> None:
    it, turns = bench(tmp_path), list[str]()

    it.measure("bulk", Case("lines", it.likd(counting, turns)))

    assert turns == ["likd", "likd old"] * 3
    assert [outcome.of(PROCESSOR) for outcome in it.outcomes] == [[3.0, 5.0], [4.0, 6.0]]


def test_a_wrong_sum_of_one_leaves_no_figures_of_the_case(tmp_path: Path) -> None:
    it, turns = bench(tmp_path), list[str]()
    one = contender("wrong", counting, it.versions[1], turns, wrong=True)

    with pytest.raises(Wrong):
        it.measure("bulk", Case("lines", [*it.likd(counting, turns), one]))

    assert not it.outcomes


def test_a_missing_peer_is_said_in_one_line_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    it = bench(tmp_path)
    peer = contender("peer", counting, it.versions[0], [])

    assert it.peers("", peer) == [peer]
    assert it.peers("peer: no figures", peer) == []
    assert it.peers("peer: no figures", peer) == []

    assert capsys.readouterr().out == "missing: peer: no figures\n"
    assert it.missing == ["peer: no figures"]


def test_a_refusal_is_no_answer() -> None:
    assert not accepted(b"HTTP/1.1 202 Accepted\r\n")
    assert accepted(b'HTTP/1.1 202 Accepted\r\n\r\n{"accepted":1}')
    with pytest.raises(Wrong):
        accepted(b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"title":"full"}')


def test_batches_hold_what_all_connections_send_at_once() -> None:
    work = load([1, 2, 3, 4, 5, 1], 1, 2)

    assert work.batches() == [[f"{SITE}{n}" for n in some] for some in ([1, 2], [3, 4], [5, 1])]
    assert work.queues(lambda numbers: b"%d" % numbers[0]) == [[b"1", b"3", b"5"], [b"2", b"4", b"1"]]
    assert work.counts[f"{SITE}1"] == 2
    assert work.likes == 6


@pytest.mark.parametrize("change", ["likes = likes + 1", "likes = 0", "url = url || '99'"])
def test_a_like_more_or_less_in_a_full_store_is_found(tmp_path: Path, change: str) -> None:
    path = databases.copy(tmp_path, 100, tmp_path / "copy.db")
    databases.check_added("likd", path, 100, {})

    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE counts SET likes = likes + 2 WHERE url = ?", (f"{SITE}7",))
        db.execute("INSERT INTO counts (url, likes) VALUES (?, 1)", (f"{SITE}100",))
        db.commit()
        databases.check_added("likd", path, 100, {f"{SITE}7": 2, f"{SITE}100": 1})
        db.execute(f"UPDATE counts SET {change} WHERE url = ?", (f"{SITE}9",))
        db.commit()

    with pytest.raises(Wrong):
        databases.check_added("likd", path, 100, {f"{SITE}7": 2, f"{SITE}100": 1})


def test_a_revision_that_is_not_there_is_told() -> None:
    with pytest.raises(NoSuchVersion), versions("no-such-revision"):
        pass
