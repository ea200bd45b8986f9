"""POST /v1/merge: the answers when the store is behind, when another merge is in progress, when nothing was done."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from likd.counting.actors import Actors
from likd.ingest.urls import UrlRules
from likd.model import Refused
from likd.queries.merging import MergeBusy, Merged, MergeError, MergeRefused
from likd.web.api.admin import Admin
from likd.web.problems import Problem
from tests.fakestore import FakeStore, totals_over

OLD, NEW = "https://example.com/old", "https://example.com/new"


class Merging:
    """A merger that has an answer ready."""

    def __init__(self, answer: Merged | Exception) -> None:
        self._answer = answer

    async def merge(self, old: str, new: str, *, store_seconds: float) -> Merged:
        assert store_seconds == 40
        assert (old, new) == (OLD, NEW)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Rows:
    """As much of the operations as merges need."""

    def row(self, url: str, counts: dict[str, int]) -> dict[str, Any]:
        return {"url": url, **counts}


def admin(answer: Merged | Exception) -> Admin:
    store = FakeStore({NEW: {"likes": 3}})
    totals = totals_over(store, applied=0, cache_urls_max=10, actors=Actors(store, applied=0, cached_max=10))
    return Admin(
        cast(Any, None), cast(Any, Rows()), cast(Any, Merging(answer)), totals, cast(Any, store), UrlRules(), ("likes",)
    )


BODY = msgspec.json.encode({"old": OLD, "new": NEW})


async def test_a_merge_that_is_done_has_the_counts() -> None:
    answer = await admin(Merged(NEW, pending=False, liked_both=1)).merge(BODY)
    assert answer.status == 200
    done = {"url": NEW, "likes": 3, "merged": OLD, "pending": False, "liked_both": 1}
    assert msgspec.json.decode(answer.body) == done


async def test_a_merge_that_the_store_has_yet_to_do_is_pending() -> None:
    answer = await admin(Merged(NEW, pending=True)).merge(BODY)
    assert (answer.status, msgspec.json.decode(answer.body)) == (202, {"url": NEW, "merged": OLD, "pending": True})


@pytest.mark.parametrize("wait", [-1, 40.5, "5", None])
async def test_nobody_waits_longer_than_may_be_asked_for(wait: object) -> None:
    body = msgspec.json.encode({"old": OLD, "new": NEW, "wait": wait})
    with pytest.raises(Problem) as problem:
        await admin(Merged(NEW, pending=True)).merge(body)
    assert problem.value.status == 422
    assert problem.value.members == {"field": "wait", "expected": "fields old and new, and wait from 0 to 40 seconds"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MergeBusy("another merge is in progress"), 409),
        (MergeError("a URL can't be merged into itself"), 422),
        (MergeRefused(Refused("the disk is full", 10)), 503),
        (MergeRefused(Refused("the disk is full", certain=False)), 500),
    ],
)
async def test_what_is_not_merged_is_a_problem_that_says_why(error: Exception, status: int) -> None:
    with pytest.raises(Problem, match=str(error)) as problem:
        await admin(error).merge(BODY)
    assert problem.value.status == status
