"""One setting: how it is declared, read and explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

PREFIX = "LIKD_"


@attrs.frozen
class Setting:
    """How one setting is read and explained."""

    name: str
    parse: Callable[[object], object]
    default: object
    unit: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()


def declared(
    parse: Callable[[object], object], default: object, unit: str, description: str, choices: tuple[str, ...] = ()
) -> Any:
    """A field of a group of settings."""
    return attrs.field(
        default=attrs.Factory(lambda: parse(default)),
        metadata={"parse": parse, "default": default, "unit": unit, "help": description, "choices": choices},
    )
