"""likd's errors: what a caller may want to distinguish from a bug.

Each is raised where it happens and translated at the boundaries: one line on the command line, a problem over HTTP.
"""

from __future__ import annotations


class LikdError(Exception):
    """Something that likd expects to go wrong now and then; the message says what, for people."""


class StartError(LikdError):
    """The daemon can't start here and now with this configuration."""


class StoreError(LikdError):
    """The store failed, or it is not known whether it did. Retrying is safe."""


class StoreAway(StoreError):
    """The store can't be reached or is not ready. It may be back soon, and the daemon can start without it."""


class Unsupported(StoreError):
    """The store lacks this part of the interface; the message says which. Retrying is useless."""


class CountTooLarge(StoreError):
    """An addition is more than the store can hold. Retrying is safe but useless."""


class TotalTooLarge(LikdError):
    """Starting counts would bring a URL's total past TOTAL_MAX; none of them were added."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(f"the total of {name} would exceed 2^62")
        self.url = url
        self.name = name


class Fenced(StoreError):
    """A newer start of this data directory writes to the store: this one has to end, and its write was not applied."""


class Behind(StoreError):
    """The store went back in time: it has the tables up to `mark`, but had more. Reopen it to continue."""

    def __init__(self, mark: int) -> None:
        super().__init__(f"the store went back in time, to table {mark}")
        self.mark = mark


class TooNew(StoreError):
    """A later version of likd made the store, and this one can't read it. Retrying is useless."""

    def __init__(self, where: str, version: int, known: int) -> None:
        super().__init__(f"{where} has schema {version}, and this likd knows {known}: it was made by a later version")
