"""Interprets the daemon's answer to a batch."""

from __future__ import annotations

from typing import TypeAlias

import attrs
import httpx
import msgspec

from likd.cli.client import ClientError, printable
from likd.cli.sending.batches import Batch

NOTHING_COUNTED = frozenset([429, 503])
"""Not accepted now, but may be later."""
RETRIED = NOTHING_COUNTED | {500, 502, 504}
_REFUSED = frozenset([400, 413, 422])


@attrs.frozen
class Counted:
    """All events in the batch are counted."""


@attrs.frozen
class Wrong:
    """Nothing in the batch is counted because of one `line` of the source, which may be unknown."""

    line: int | None
    detail: str


ResponseStatus: TypeAlias = Counted | Wrong


class _Accepted(msgspec.Struct):
    accepted: int
    ignored: int = 0


class _Problem(msgspec.Struct):
    detail: str = ""
    title: str = ""
    line: int | None = None
    field: str | None = None
    expected: str | None = None

    def __str__(self) -> str:
        text = self.detail or self.title
        return printable(f"{text} (expected {self.expected})" if self.expected else text)


def read_response(response: httpx.Response, batch: Batch) -> ResponseStatus:
    """What `response` says about `batch`. Raises ClientError if it concerns every batch: then send no more."""
    problem = _problem(response)
    status = response.status_code
    if status == 202:
        try:
            answer = msgspec.json.decode(response.content, type=_Accepted)
        except msgspec.DecodeError:
            raise ClientError(f"answered 202, but not like likd: {_excerpt(response)}") from None
        if answer.accepted != batch.events:
            raise ClientError(f"{answer.accepted} events of a batch of {batch.events} were accepted")
        if answer.ignored:
            # To a daemon with public sites, a client without a token is a bot, judged by its User-Agent.
            raise ClientError("the daemon does not count programs' impressions without a token: give one with --token")
        return Counted()
    # A proxy may refuse a large body, too, in its own words.
    if status in _REFUSED and (problem or status == 413):
        detail = str(problem) if problem else f"answered {status}"
        if problem and problem.field == "Idempotency-Key":
            raise ClientError(f"answered {status}: {detail}")
        if problem and problem.field == "kind" and batch.line_range.source.format.from_log:
            # All lines of a log are of one kind: none of them would ever be accepted.
            raise ClientError(detail)
        if batch.events == 1:
            return Wrong(batch.lines[0], detail)
        if problem and problem.line is not None and 1 <= problem.line <= batch.events:
            return Wrong(batch.lines[problem.line - 1], detail)
        return Wrong(None, detail)
    raise ClientError(f"answered {status}: {problem or _excerpt(response)}")


def _problem(response: httpx.Response) -> _Problem | None:
    if response.headers.get("Content-Type", "").partition(";")[0].strip() != "application/problem+json":
        return None
    try:
        return msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        return None


def _excerpt(response: httpx.Response) -> str:
    return printable(" ".join(response.text[:200].split())) or "(empty)"
