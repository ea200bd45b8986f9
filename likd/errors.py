"""The errors of likd: what a caller may want to tell from a bug.

Each is raised where it happens and translated at the boundaries: a line for the command line, a problem for HTTP.
"""

from __future__ import annotations


class LikdError(Exception):
    """Something that likd expects to go wrong at times; the message says what, for people."""


class StartError(LikdError):
    """The daemon can't start as it is configured, here and now."""


class StoreError(LikdError):
    """The store did not do what was asked, or it is not known whether it did. Asking again is safe."""


class StoreAway(StoreError):
    """The store can't be reached, or is not ready: it may be back soon, and the daemon can begin without it."""


class Unsupported(StoreError):
    """The store has no such part; the message says which. Asking again is useless."""


class CountTooLarge(StoreError):
    """What was to be added is more than the store can hold; asking again is as useless as safe."""


class TotalTooLarge(LikdError):
    """Starting counts would bring the total of a URL past TOTAL_MAX; none of them are added."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(f"the total of {name} would be past 2^62")
        self.url = url
        self.name = name


class Fenced(StoreError):
    """A newer life of this data directory writes to the store: this one has to end, and nothing of it was taken."""


class Behind(StoreError):
    """The store went back in time: it has what is up to table `mark`, and had more. Opened again, it goes on."""

    def __init__(self, mark: int) -> None:
        super().__init__(f"the store went back in time, to table {mark}")
        self.mark = mark


class TooNew(StoreError):
    """The store was made by a later version of likd, which this one can't read: there is nothing to be tried again."""

    def __init__(self, where: str, version: int, known: int) -> None:
        super().__init__(f"{where} has schema {version}, and this likd knows {known}: it was made by a later version")
