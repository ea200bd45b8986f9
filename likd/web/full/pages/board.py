"""The figures for a range of time, and the pieces from which its charts are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from likd.model import IMPRESSIONS, LIKES, UNLIKES
from likd.web.figures import per_hundred
from likd.web.full.pages.ranges import Range

TONES = {"likes": "like", "gone": "gone", "views": "view", "rate": "rate"}
"""What a chart can show, with the colour of each."""
KNOWN = ("time", "url", "net", LIKES, UNLIKES, IMPRESSIONS)
"""What rows of the API have whatever kinds there are."""
SPARK_WIDTH, SPARK_HEIGHT = 100, 24


@attrs.frozen
class Sum:
    """What came in some stretch of time."""

    likes: int = 0
    gone: int = 0
    views: int = 0
    more: Mapping[str, int] = attrs.field(factory=dict)
    """The counts of other kinds, by name."""

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Sum:
        """Make it from counts by name, as the API has them."""
        more = {name: n for name, n in counts.items() if name not in KNOWN}
        return cls(counts.get(LIKES, 0), counts.get(UNLIKES, 0), counts.get(IMPRESSIONS, 0), more)

    def __add__(self, other: Sum) -> Sum:
        more = {name: self.more.get(name, 0) + other.more.get(name, 0) for name in {**self.more, **other.more}}
        return Sum(self.likes + other.likes, self.gone + other.gone, self.views + other.views, more)

    def value(self, metric: str) -> float | None:
        """The figure that a chart of `metric` shows; None if it is unknown."""
        if metric == "rate":
            return round(self.likes / self.views * 100, 2) if self.views else None
        value: int = getattr(self, metric)
        return value

    @property
    def rate(self) -> str:
        """Likes per 100 views."""
        return per_hundred(self.likes, self.views)


@attrs.frozen
class Piece:
    """One unit of time."""

    long: str
    short: str
    now: Sum
    before: Sum | None
    """The same in the period before."""
    long_before: str = ""


@attrs.frozen
class Board:
    """A range of time with its sums; `before` is the same part of the period before, if known."""

    range: Range
    pieces: Sequence[Piece]
    now: Sum
    before: Sum | None
    words: str
    words_before: str
    going_on: bool
    """Whether the last piece has not ended yet."""


def board_of(history: Mapping[str, Any], chosen: Range, now: int) -> Board:
    """The board from an answer of the history that was given `now` (Unix time)."""
    rows = [row for row in history["history"] if row["time"] <= now]
    earlier = history.get("before") or []
    pieces = []
    for index, row in enumerate(rows):
        other = earlier[index] if index < len(earlier) else None
        pieces.append(
            Piece(
                chosen.long(row["time"]),
                chosen.short(row["time"]),
                Sum.of(row),
                Sum.of(other) if other is not None else None,
                chosen.long(other["time"]) if other is not None else "",
            )
        )
    before = Sum.of(history["sum_before"]) if "sum_before" in history else None
    total = Sum.of(history["sum"]) if "sum" in history else sum((piece.now for piece in pieces), Sum())
    return Board(
        range=chosen,
        pieces=pieces,
        now=total,
        before=before,
        words=chosen.words(now),
        words_before=chosen.before().words(now - (chosen.end - chosen.begin)),
        going_on=now < chosen.end,
    )


def spark(values: Sequence[int]) -> str:
    """The SVG path of a small line through `values`, in a picture of 100 by 24; "" for fewer than two."""
    if len(values) < 2:
        return ""
    most = max(*values, 1)
    step = SPARK_WIDTH / (len(values) - 1)
    points = (
        f"{index * step:.4g},{SPARK_HEIGHT - 1 - max(value, 0) / most * (SPARK_HEIGHT - 2):.4g}"
        for index, value in enumerate(values)
    )
    return "M" + "L".join(points)
