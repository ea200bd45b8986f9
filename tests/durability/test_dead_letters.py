"""Events kept aside: a file of readable lines, read back as it was written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from likd.durability import dead_letters
from likd.durability.dead_letters import DeadLetterFile, DeadLetters
from likd.durability.disk import RealDisk
from likd.durability.filenames import DEAD_LETTERS
from likd.model import DeadLetter
from tests.damage import Stroke, strokes

EVENTS = st.lists(
    st.builds(DeadLetter, st.just("likes"), st.just("like"), st.text(max_size=20), st.integers(1, 1 << 40))
)


@given(EVENTS)
def test_events_are_read_back(events: list[DeadLetter]) -> None:
    assert dead_letters.decode(dead_letters.encode(events, 7.25)) == DeadLetterFile(events, 7.25)


async def test_they_are_lines_that_a_person_can_read(disk: RealDisk) -> None:
    await dead_letters.write(
        disk, 7, [DeadLetter("likes", "like", "http://a/", 2), DeadLetter("mine", "mine", "http://b/", 1)]
    )
    head, *lines = (disk.path / "aside_000000000007").read_text().splitlines()
    assert head.startswith('{"aside":1,"at":0.0,"events":2,"sha256":"')
    assert lines == ['["likes","like","http://a/",2]', '["mine","mine","http://b/",1]']


def test_a_file_of_an_earlier_version_is_read() -> None:
    written = b'["likes","like","http://a/",2]\n'
    assert dead_letters.decode(written) == DeadLetterFile([DeadLetter("likes", "like", "http://a/", 2)])


async def test_nothing_aside_is_no_file(disk: RealDisk) -> None:
    await dead_letters.write(disk, 7, [])
    assert await disk.names() == []


async def test_nothing_aside_takes_the_place_of_what_an_earlier_try_left(disk: RealDisk) -> None:
    await dead_letters.write(disk, 7, [DeadLetter("likes", "like", "http://a/", 2)])
    await dead_letters.write(disk, 7, [], replaces=True)
    assert dead_letters.decode(await disk.read(DEAD_LETTERS.name(7))).events == []


DATA = dead_letters.encode(
    [DeadLetter("likes", "like", "http://a/", 2), DeadLetter("mine", "mine", "http://b/", 1)], 1_790_000_000.25
)


@given(strokes(len(DATA)))
def test_any_changed_byte_is_found(stroke: Stroke) -> None:
    broken = stroke.on(DATA)
    assume(broken not in (DATA, b""))
    with pytest.raises(msgspec.DecodeError):
        dead_letters.decode(broken)


def test_every_cut_is_found() -> None:
    for size in range(1, len(DATA)):
        with pytest.raises(msgspec.DecodeError):
            dead_letters.decode(DATA[:size])


def test_what_is_kept_grows_with_unique_urls_only() -> None:
    kept: DeadLetters = {}
    for n in range(10):
        dead_letters.add(
            kept, [DeadLetter("likes", "like", "http://a/", 1), DeadLetter("likes", "like", "http://b/", n)]
        )
    listed = dead_letters.listed(kept)
    assert listed == [DeadLetter("likes", "like", "http://a/", 10), DeadLetter("likes", "like", "http://b/", 45)]


@given(st.binary(min_size=1, max_size=60))
def test_a_damaged_file_is_an_error_of_one_kind(data: bytes) -> None:
    try:
        found = dead_letters.decode(data)
    except msgspec.DecodeError:
        return
    assert all(isinstance(event, DeadLetter) for event in found.events)


@pytest.mark.parametrize("data", [b'["likes","like","http://a/\xff",2]\n', b'["likes","like","http://a/"]\n', b"\0\0"])
def test_damage_is_found(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        dead_letters.decode(data)
