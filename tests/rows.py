"""Adding up rows, for tests."""

from __future__ import annotations

from collections.abc import Mapping

from likd.model import Counts, Rows, add


def add_rows(rows: Rows, increments: Mapping[str, Counts]) -> None:
    """Add the counts of every URL of `increments` to `rows` in place, sharing no dict between the two."""
    for url, counts in increments.items():
        mine = rows.get(url)
        if mine is None:
            rows[url] = counts.copy()
        else:
            add(mine, counts)
