"""The table of mutations stays true: each place is there once, and so are the tests that are to notice."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "scripts" / "mutations.toml"
MUTATIONS = tomllib.loads(TABLE.read_text())["mutation"]


def test_there_are_many_each_with_a_name_of_its_own() -> None:
    assert len({mutation["name"] for mutation in MUTATIONS}) == len(MUTATIONS) >= 45


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation["name"] for mutation in MUTATIONS])
def test_its_place_is_there_once_and_what_takes_it_is_python(mutation: dict[str, str]) -> None:
    source = (ROOT / mutation["file"]).read_text()

    assert source.count(mutation["old"]) == 1
    mutated = source.replace(mutation["old"], mutation["new"])
    assert mutated != source
    ast.parse(mutated)


def test_the_tests_that_are_to_notice_are_there() -> None:
    for mutation in MUTATIONS:
        assert mutation["tests"]
        for test in set(mutation["tests"]) - {"simulation", "simulation of nodes"}:
            file, _, name = test.partition("::")
            assert f"def {name}" in (ROOT / file).read_text()
