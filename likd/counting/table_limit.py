"""How many unique URLs a table takes: more of them while tables fill in no time."""

from __future__ import annotations

import attrs

FILLED_SOON_SECONDS = 0.5
"""A table that is full sooner is worth another twice as large: what it costs besides its URLs is had half as often."""
FILLED_SLOWLY_SECONDS = 5.0
"""One that is swapped later is followed by one half as large."""


@attrs.define
class TableLimit:
    """The unique URLs that a table takes, from `lowest` to `highest`.

    With many URLs liked at random, larger tables have more likes a row: four times as large, they make half as many
    rows for the store. A daemon with little to do swaps as often as `lowest` says.
    """

    lowest: int
    highest: int
    urls: int = attrs.field(init=False)
    """What holds for the table that is open."""

    def __attrs_post_init__(self) -> None:
        self.urls = self.lowest

    def swapped(self, seconds: float, *, full: bool) -> None:
        """Let the next table take as many as suits, after one that was open for `seconds` and swapped `full` or not."""
        if full and seconds < FILLED_SOON_SECONDS:
            self.urls = max(self.lowest, min(2 * self.urls, self.highest))
        elif seconds >= FILLED_SLOWLY_SECONDS or not full:
            self.urls = max(self.lowest, self.urls // 2)
