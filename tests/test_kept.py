"""Answers that are given again: only as long as nothing has moved, for a second, and a few megabytes of them."""

from __future__ import annotations

import attrs
import pytest

from likd.web.answers import Answer
from likd.web.api import kept as kept_module
from likd.web.api.kept import KEPT_SECONDS, Kept

ANSWER = Answer(200, b"1")


@attrs.define
class World:
    """Where things are, and when."""

    position: int = 0
    now: float = 100.0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def kept(world: World) -> Kept:
    return Kept(lambda: world.position, lambda: world.now)


def test_an_answer_is_given_again_for_a_second(world: World, kept: Kept) -> None:
    kept.keep("a", ANSWER, kept.position)
    world.now += KEPT_SECONDS / 2
    kept.keep("b", ANSWER, kept.position)
    assert [kept.get("a"), kept.get("b"), kept.get("c")] == [ANSWER, ANSWER, None]
    world.now += KEPT_SECONDS / 2
    assert [kept.get("a"), kept.get("b")] == [None, None]


def test_no_answer_outlives_a_move(world: World, kept: Kept) -> None:
    kept.keep("a", ANSWER, kept.position)
    world.position += 1
    assert kept.get("a") is None
    world.position -= 1
    assert kept.get("a") is None


def test_what_moved_while_it_was_read_is_not_kept(world: World, kept: Kept) -> None:
    position = kept.position
    world.position += 1
    kept.keep("a", ANSWER, position)
    assert kept.get("a") is None


def test_an_answer_is_kept_beside_none_of_another_position(world: World, kept: Kept) -> None:
    kept.keep("a", ANSWER, kept.position)
    world.position += 1
    kept.keep("b", ANSWER, kept.position)
    assert [kept.get("a"), kept.get("b")] == [None, ANSWER]


def test_what_is_kept_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch, kept: Kept) -> None:
    monkeypatch.setattr(kept_module, "KEPT_BYTES_MAX", 10 * kept_module._ANSWER_BYTES)
    for n in range(100):
        kept.keep(n, ANSWER, kept.position)
    assert 0 < sum(kept.get(n) is not None for n in range(100)) <= 10
    kept.keep("huge", Answer(200, b"x" * 20 * kept_module._ANSWER_BYTES), kept.position)
    assert kept.get("huge") is None
