"""What is waited for: a condition, or how an element comes to be."""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Callable
from typing import Any, Protocol

import attrs

PATIENCE_SECONDS = 15.0
POLL_SECONDS = 0.02


def part(name: str) -> Any:
    """A part of selenium."""
    return importlib.import_module("selenium.webdriver." + name)


class ScriptError(Exception):
    """A script of the tests has failed in its page, or found no element of its own."""


def wait_for(condition: Callable[[], Any], what: Callable[[], str]) -> None:
    """Poll `condition`, through loads of pages, for as long as there is patience."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    failure: Exception | None = None
    while True:
        try:
            if condition():
                return
            failure = None
        except (ScriptError, part("remote.errorhandler").WebDriverException) as error:
            failure = error
        assert time.monotonic() < deadline, f"it did not come true: {what()} ({failure})"
        time.sleep(POLL_SECONDS)


class Elements(Protocol):
    """Those that a locator finds."""

    @property
    def steps(self) -> list[Any]: ...

    def all(self, work: str) -> list[Any]: ...


Wanted = str | re.Pattern[str]


@attrs.frozen
class Expectation:
    """What is waited for of a locator."""

    locator: Elements

    def to_have_text(self, wanted: Wanted) -> None:
        self._wait("words", lambda found: len(found) == 1 and _fits(found[0], wanted), wanted)

    def not_to_have_text(self, unwanted: Wanted) -> None:
        self._wait("words", lambda found: len(found) == 1 and not _fits(found[0], unwanted), unwanted)

    def to_contain_text(self, wanted: list[str]) -> None:
        def comes(found: list[str]) -> bool:
            rest = iter(found)
            return all(any(text in one for one in rest) for text in wanted)

        self._wait("words", comes, wanted)

    def to_have_attribute(self, name: str, value: str) -> None:
        self._wait(f"one => one.getAttribute({json.dumps(name)})", lambda found: found == [value], value)

    def to_have_count(self, count: int, timeout: float = 0) -> None:
        self._wait("() => 0", lambda found: len(found) == count, count)

    def to_be_disabled(self) -> None:
        self._wait("one => one.disabled", lambda found: found == [True], "disabled")

    def to_be_visible(self) -> None:
        self._wait("isSeen", lambda found: found == [True], "visible")

    def to_be_hidden(self) -> None:
        self._wait("isSeen", lambda found: found in ([], [False]), "hidden")

    def _wait(self, work: str, holds: Callable[[list[Any]], bool], wanted: object) -> None:
        found: list[Any] = []

        def look() -> bool:
            found[:] = self.locator.all(work)
            return holds(found)

        wait_for(look, lambda: f"{self.locator.steps}: expected {wanted!r}, found {found!r}")


def _fits(text: str, wanted: Wanted) -> bool:
    return text == " ".join(wanted.split()) if isinstance(wanted, str) else wanted.search(text) is not None
