"""How many unique URLs a table takes: more while tables fill very quickly."""

from __future__ import annotations

import attrs

FILLED_SOON_SECONDS = 0.5
"""After a table that fills sooner, the next is twice as large: the fixed cost of a table comes half as often."""
FILLED_SLOWLY_SECONDS = 5.0
"""After a table that is swapped later, the next is half as large."""


@attrs.define
class TableLimit:
    """The number of unique URLs that a table takes, from `lowest` to `highest`.

    With many URLs liked at random, larger tables have more likes per row: four times as large, they make half as many
    rows for the store. A daemon with little to do swaps as often as `lowest` says.
    """

    lowest: int
    highest: int
    urls: int = attrs.field(init=False)
    """The limit of the open table."""

    def __attrs_post_init__(self) -> None:
        self.urls = self.lowest

    def swapped(self, seconds: float, *, full: bool) -> None:
        """Choose the next table's limit, after one that was open for `seconds` and was swapped `full` or not."""
        if full and seconds < FILLED_SOON_SECONDS:
            self.urls = max(self.lowest, min(2 * self.urls, self.highest))
        elif seconds >= FILLED_SLOWLY_SECONDS or not full:
            self.urls = max(self.lowest, self.urls // 2)
