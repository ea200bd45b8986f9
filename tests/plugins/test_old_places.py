"""What a package with a handler or an observer imported before the rooms were made works for a release, and warns."""

from __future__ import annotations

from importlib import import_module

import pytest

from likd import __version__

MOVED = [
    ("likd.handlers", "Handler", "likd.plugins.handlers"),
    ("likd.handlers", "HandlerError", "likd.plugins.handlers"),
    ("likd.handlers", "Likes", "likd.plugins.handlers"),
    ("likd.handlers", "Impressions", "likd.plugins.handlers"),
    ("likd.counter", "Observer", "likd.plugins.observers"),
    ("likd.events", "LIKE", "likd.model"),
    ("likd.events", "LIKES", "likd.model"),
    ("likd.events", "IMPRESSION", "likd.model"),
    ("likd.events", "Counts", "likd.model"),
]


@pytest.mark.parametrize(("old", "name", "new"), MOVED)
def test_a_name_is_found_in_its_old_place_which_says_where_it_is_now(old: str, name: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old}.{name} is {new}.{name} now") as warned:
        found = getattr(import_module(old), name)
    assert found is getattr(import_module(new), name)
    assert [warning.filename for warning in warned] == [__file__], "the line to change is the importer's"


@pytest.mark.parametrize("old", sorted({old for old, _, _ in MOVED}))
def test_an_old_place_has_nothing_else(old: str) -> None:
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {old} import nothing")


def test_an_import_statement_warns_once() -> None:
    with pytest.warns(DeprecationWarning, match="likd.plugins.handlers") as warned:
        exec("from likd.handlers import Handler")
    assert len(warned) == 1


def test_old_places_end_with_the_release_that_they_are_kept_for() -> None:
    assert tuple(map(int, __version__.split(".")[:2])) < (0, 3), (
        "remove likd/handlers.py, likd/counter.py, likd/events.py"
    )
