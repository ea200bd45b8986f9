"""Problems: RFC 9457 answers."""

from __future__ import annotations

import json

import pytest

from likd.web.problems import Problem


def test_a_problem_says_its_status_title_and_detail() -> None:
    assert json.loads(Problem(422, "kind is 'x'").body()) == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "kind is 'x'",
    }


def test_members_say_where_and_those_that_do_not_apply_are_left_out() -> None:
    problem = Problem(422, "wrong", members={"line": 3, "index": None, "field": "kind"})
    body = json.loads(problem.body())
    assert (body["line"], body["field"]) == (3, "kind")
    assert "index" not in body


def test_headers_are_kept_for_the_answer() -> None:
    assert Problem(503, "full", headers={"Retry-After": "1"}).headers == {"Retry-After": "1"}


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 422, 500, 503])
def test_every_status_in_use_has_a_title(status: int) -> None:
    assert json.loads(Problem(status, "").body())["title"]
