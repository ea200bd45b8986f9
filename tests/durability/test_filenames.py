"""The names of the files in a data directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from likd.durability import filenames
from likd.durability.filenames import APPLIED, BATCH, DEAD_LETTERS, JOURNAL, KEYS, Numbered

LIKD = Path(filenames.__file__).parent.parent
KINDS = (JOURNAL, BATCH, DEAD_LETTERS, KEYS, APPLIED)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (JOURNAL, "journal_000000000017"),
        (BATCH, "tab_000000000017"),
        (DEAD_LETTERS, "aside_000000000017"),
        (KEYS, "keys_000000000017"),
        (APPLIED, "applied_000000000017"),
    ],
)
def test_a_name_tells_the_kind_and_the_table(kind: Numbered, name: str) -> None:
    assert kind.name(17) == name
    assert kind.id_of(name) == 17
    others = {*KINDS} - {kind}
    assert [other.id_of(name) for other in others] == [None] * 4


def test_names_sort_by_their_tables() -> None:
    names = sorted(map(BATCH.name, (10, 9, 100)))
    assert BATCH.ids(names) == [9, 10, 100]
    assert BATCH.among([JOURNAL.name(1), *names]) == names


@pytest.mark.parametrize("name", ["tab_17", "tab_0000000000017", "tab_000000000017.tmp", "tab_000000000017+", "tab_x"])
def test_what_only_looks_like_one_is_no_batch_file(name: str) -> None:
    assert BATCH.id_of(name) is None


def test_dead_letters_tell_which_table_they_come_from_and_go_to() -> None:
    renamed = filenames.replayed_into(DEAD_LETTERS.name(7), 9)
    assert renamed == "aside_000000000007.tab_000000000009"
    names = [BATCH.name(9), DEAD_LETTERS.name(8), renamed, renamed + ".tmp"]
    assert list(filenames.dead_letters(names)) == [(DEAD_LETTERS.name(8), None), (renamed, 9)]
    assert DEAD_LETTERS.among(names) == [DEAD_LETTERS.name(8)], "one that is being replayed is no longer its table's"


@pytest.mark.parametrize(
    "name",
    [*(kind.name(9) for kind in KINDS), "aside_000000000007.tab_000000000009"],
)
@pytest.mark.parametrize("behind", ["", "+", "++"])
def test_every_name_with_an_id_counts_for_the_newest_also_when_set_aside(name: str, behind: str) -> None:
    assert filenames.newest_id(["lock", BATCH.name(3), name + behind, JOURNAL.name(5), "tab_x"]) == 9


def test_no_other_file_of_likd_forms_such_names() -> None:
    for path in LIKD.rglob("*.py"):
        if path != Path(filenames.__file__):
            text = path.read_text()
            for kind in KINDS:
                assert f"{kind.prefix}_{{" not in text, path
                assert f"{kind.prefix}_(" not in text, path
