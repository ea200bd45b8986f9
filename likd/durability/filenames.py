"""The names of the files in a data directory, formed and parsed here and nowhere else.

    journal_<id>  tab_<id>  aside_<id>  keys_<id>  applied_<id>    of tables, with the id in twelve digits
    aside_<id>.tab_<target>     dead letters that are being replayed into the table `target`
    <name>.tmp                  is being written, and worthless after a crash
    damaged/<name>              was set aside, with a + at its end for each earlier one of that name
    lock  source  secret  logins  shares    of the directory itself

The settings name the database and the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

LOCK = "lock"
SOURCE = "source"
SECRET = "secret"
LOGINS = "logins"
SHARES = "shares"
TEMPORARY = ".tmp"
"""Suffix of a file that is being written."""
DAMAGED = "damaged"
"""The folder of files that were set aside as damaged."""

_ID = r"(\d{12})"


@attrs.frozen
class Numbered:
    """The files of one kind, each with the id of a table. Sorted by name, they are sorted by id."""

    prefix: str

    def name(self, table_id: int) -> str:
        """The name of the file of this kind that belongs to the table."""
        return f"{self.prefix}_{table_id:012d}"

    def id_of(self, name: str) -> int | None:
        """The id of the table whose file is called `name`, None if it is not a file of this kind."""
        match = re.fullmatch(f"{self.prefix}_{_ID}", name)
        return int(match[1]) if match else None

    def ids(self, names: Iterable[str]) -> list[int]:
        """The ids of those `names` that are of this kind, in order."""
        return [table_id for name in names if (table_id := self.id_of(name)) is not None]

    def among(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are of this kind, in order."""
        return [name for name in names if self.id_of(name) is not None]


JOURNAL = Numbered("journal")
BATCH = Numbered("tab")
DEAD_LETTERS = Numbered("aside")
KEYS = Numbered("keys")
APPLIED = Numbered("applied")

_REPLAYED = re.compile(rf"({DEAD_LETTERS.prefix}_{_ID})\.{BATCH.prefix}_{_ID}")
_ANY = re.compile(rf"(?:{'|'.join(kind.prefix for kind in (JOURNAL, BATCH, DEAD_LETTERS, KEYS, APPLIED))})_{_ID}\+*")
_ANY_REPLAYED = re.compile(_REPLAYED.pattern + r"\+*")


def replayed_into(name: str, target_id: int) -> str:
    """The name of the dead letters `name` while they are being replayed into the table `target_id`."""
    return f"{name}.{BATCH.name(target_id)}"


def dead_letters(names: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    """Those of `names` that are files of dead letters, each with the table it is being replayed into, if any."""
    for name in names:
        if match := _REPLAYED.fullmatch(name):
            yield name, int(match[3])
        elif DEAD_LETTERS.id_of(name) is not None:
            yield name, None


def newest_id(names: Iterable[str]) -> int:
    """The highest table id in `names`, including those of files that were set aside; 0 if there is none."""
    newest = 0
    for name in names:
        if match := _ANY.fullmatch(name):
            newest = max(newest, int(match[1]))
        elif match := _ANY_REPLAYED.fullmatch(name):
            newest = max(newest, int(match[2]), int(match[3]))
    return newest
