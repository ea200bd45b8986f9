"""Rows: the counts of a URL as the API shows them, and the lists of those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likd.ingest.schema import short
from likd.model import IMPRESSIONS, LIKES, UNLIKES, Counts
from likd.queries.top_lists import NET
from likd.web.problems import Problem

TOP_LIMIT_MAX = 1000


class CountRows:
    """Makes rows of counts, which have these `names`. Raises Problem."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def row(self, url: str, counts: Counts) -> dict[str, Any]:
        """The counts of one URL as the API shows them."""
        likes, unlikes = counts.get(LIKES, 0), counts.get(UNLIKES, 0)
        row: dict[str, Any] = {
            "url": url,
            "likes": likes,
            "unlikes": unlikes,
            "net": likes - unlikes,
            "impressions": counts.get(IMPRESSIONS, 0),
        }
        for name in self._names:
            row.setdefault(name, counts.get(name, 0))
        return row

    def check_by(self, by: str) -> str:
        """`by` if lists can be ranked by it."""
        if by not in self._names and by != NET:
            expected = f"one of {', '.join(sorted({*self._names, NET}))}"
            raise Problem(422, f"by is {short(by)}", members={"field": "by", "expected": expected})
        return by

    def check_limit(self, limit: str) -> int:
        """`limit` as a number within the limits of a top list."""
        if not (limit.isdecimal() and limit.isascii() and len(limit) <= 9 and 1 <= int(limit) <= TOP_LIMIT_MAX):
            expected = f"a whole number from 1 to {TOP_LIMIT_MAX}"
            raise Problem(422, f"limit is {short(limit)}", members={"field": "limit", "expected": expected})
        return int(limit)


def refused(url: str, problem: Problem) -> dict[str, object]:
    """What is told of a URL in the place of its counts."""
    return {"url": url, "problem": problem.about()}
