"""Keeps the embedded store's sums whole numbers: SQLite silently turns what is beyond 63 bits into a float."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import structlog

from likd.errors import TotalTooLarge
from likd.stores.protocol import TOTAL_MAX

SUM_MAX = 2**63 - 1
_LOW = 2**32 - 1

log = structlog.get_logger(__name__)


def open_sums(connection: sqlite3.Connection) -> None:
    """Let `connection` use what `growth` returns."""
    connection.create_function("saturated", 2, _saturated)


def growth(name: str, of: str = "url") -> str:
    """SQL by which a row's count grows by the one that was to be inserted: up to SUM_MAX, where an error is logged.

    The column `of` says what the row is about.
    """
    return (
        f'"{name}" = CASE WHEN "{name}" <= {SUM_MAX} - excluded."{name}" THEN "{name}" + excluded."{name}"'
        f" ELSE saturated({of}, '{name}') END"
    )


def summed(name: str) -> str:
    """SQL for the sum of a group's counts: up to SUM_MAX, where an error is logged. SQLite's own would always fail."""
    high, low = f'(sum("{name}" >> 32) + (sum("{name}" & {_LOW}) >> 32))', f'(sum("{name}" & {_LOW}) & {_LOW})'
    return f"CASE WHEN {high} <= {SUM_MAX >> 32} THEN ({high} << 32) | {low} ELSE saturated(url, '{name}') END"


def check_staged(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Raise TotalTooLarge if a staged URL's total is beyond what events may be added to."""
    for name in names:
        query = f'SELECT counts.url FROM staged JOIN counts USING (id) WHERE counts."{name}" > {TOTAL_MAX} LIMIT 1'
        row = connection.execute(query).fetchone()
        if row is not None:
            raise TotalTooLarge(row[0], name)


def _saturated(url: str, name: str) -> int:
    log.error("a total has reached the largest possible value and stays there", url=url, count=name, total=SUM_MAX)
    return SUM_MAX
