"""Events kept aside: a file of readable lines, read back as it was written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd import aside
from likd.disk import RealDisk
from likd.handlers import Aside

EVENTS = st.lists(st.builds(Aside, st.just("likes"), st.just("like"), st.text(max_size=20), st.integers(1, 1 << 40)))


@given(EVENTS)
def test_events_are_read_back(events: list[Aside]) -> None:
    assert aside.decode(aside.encode(events)) == events


async def test_they_are_lines_that_a_person_can_read(disk: RealDisk) -> None:
    await aside.write(disk, 7, [Aside("likes", "like", "http://a/", 2), Aside("mine", "mine", "http://b/", 1)])
    text = (disk.path / "aside_000000000007").read_text()
    assert text == '["likes","like","http://a/",2]\n["mine","mine","http://b/",1]\n'


async def test_nothing_aside_is_no_file(disk: RealDisk) -> None:
    await aside.write(disk, 7, [])
    assert await disk.names() == []


@given(st.binary(min_size=1, max_size=60))
def test_a_damaged_file_is_an_error_of_one_kind(data: bytes) -> None:
    try:
        events = aside.decode(data)
    except msgspec.DecodeError:
        return
    assert all(isinstance(event, Aside) for event in events)


@pytest.mark.parametrize("data", [b'["likes","like","http://a/\xff",2]\n', b'["likes","like","http://a/"]\n', b"\0\0"])
def test_damage_is_found(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        aside.decode(data)


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("aside_000000000007", ("000000000007", None)),
        ("aside_000000000007.tab_000000000009", ("000000000007", "000000000009")),
    ],
)
def test_the_name_says_which_table_it_comes_from_and_goes_to(name: str, tables: tuple[str, str | None]) -> None:
    match = aside.NAME.fullmatch(name)
    assert match is not None
    assert match.groups() == tables
