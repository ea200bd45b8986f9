"""The hot requests: answered at once, with the next group, or by a task of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeAlias

import trio

from likd.model import Outcome, Submission
from likd.web.access.body_budget import BodyBudget
from likd.web.access.caller import UNRESTRICTED, Caller
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.answers import HEALTHY, Answer, answer_problem
from likd.web.api.event_bodies import EventBodies
from likd.web.api.events import Posting
from likd.web.api.pictures import PictureRequest
from likd.web.express.answering import Answering, Send
from likd.web.express.coalescer import Coalescer
from likd.web.express.exchange import Exchange
from likd.web.express.hot_reads import HotReads
from likd.web.express.http1 import KEEP_ALIVE, Head, Operation
from likd.web.problems import Problem

INLINE_BYTES_MAX = 1 << 16
"""Bodies over this size are read in a task of their own, which lets others in between.

So are encoded ones, because it is not known how much they hold.
"""

Work: TypeAlias = Callable[[], Awaitable[Answer | Submission]]
"""Answers a request, or takes its events."""

Drop: TypeAlias = Callable[[Exchange], None]


class Requests(Protocol):
    """Answers the requests of an express lane, here or by asking another process."""

    def gather(self, exchange: Exchange, event: tuple[str, str], /) -> None:
        """Let a request that is one event go with the others."""

    @property
    def faults(self) -> int:
        """Requests that could not be answered because of a fault in likd."""

    def submit(self) -> None:
        """Submit the single events gathered since the last call."""

    def takes(self, announced: Exchange) -> bool:
        """Whether a request with an announced large body is for this lane; if not, its connection is handed over."""

    def admit(self, announced: Exchange, address: str) -> Problem | None:
        """Take room for a request's body if there is some and its sender may send it. Returns why not, if not."""

    def begin(self, exchange: Exchange, address: str) -> bool:
        """Answer a request from `address`, now or later. Returns whether nothing after it may begin until then."""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Answer the requests that take longer, until cancelled."""


MakeRequests: TypeAlias = Callable[[Send, Drop], Requests]
"""Makes them from a function that sends an answer, and one that drops a request that will get none."""

_NEEDS = {Operation.HEALTH: Role.NOBODY, Operation.TOP: Role.WRITER}
"""The role that an operation needs, if it is not PUBLIC. Files are for pages of all origins."""


class HotRequests:
    """Answers the hot requests by calling `send` with the bytes.

    At most `long_requests_max` are answered by tasks of their own at a time. `drop` is called with a request that will
    get no answer.
    """

    def __init__(
        self,
        *,
        posting: Posting,
        bodies: EventBodies,
        reads: HotReads,
        gate: Gate,
        room: BodyBudget,
        long_requests_max: int,
        send: Send,
        drop: Drop,
    ) -> None:
        self._posting = posting
        self._bodies = bodies
        self._reads = reads
        self._gate = gate
        self._room = room
        self._answering = Answering(send)
        self._drop = drop
        self._gathering = Coalescer(posting, self._answering.responses, send)
        self._long_requests = 0
        self._long_requests_max = long_requests_max
        self._long_in, self._long = trio.open_memory_channel[tuple[Exchange, Work]](long_requests_max)
        self.gather = self._gathering.add
        """Let a request that is one event go with the others."""
        self.submit = self._gathering.submit
        """Submit the single events gathered since the last call."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer the requests that take longer, until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            async for exchange, work in self._long:
                nursery.start_soon(self._answer_later, exchange, work)

    def begin(self, exchange: Exchange, address: str) -> bool:
        """Answer a request from `address`, now or later. Returns whether a task of its own does it."""
        head, body = exchange.head, exchange.body
        assert body is not None
        if head.says_keep_alive:
            exchange.headers = KEEP_ALIVE
        try:
            if exchange.problem is not None:
                raise exchange.problem
            if head.operation is Operation.FILE:
                self._answering.answer(exchange, self._reads.file(head))
                return False
            caller = UNRESTRICTED
            if not self._gate.lets_everyone(head.credentials):
                caller = self._gate.admit(address, head.credentials, _NEEDS.get(head.operation, Role.PUBLIC))
                _add_headers(exchange, caller)
            if head.plain and caller.role is not Role.PUBLIC:
                event = self._bodies.recall(body)
                if event is not None:
                    self._gathering.add(exchange, event)
                    return False
            return self._answer(exchange, head, body, caller)
        except Problem as problem:
            self._answering.answer(exchange, answer_problem(problem))
        except Exception as error:
            self._answering.fail(exchange, error)
        return False

    def takes(self, announced: Exchange) -> bool:
        """Requests that could not be answered because of a fault in likd, in all parts."""
        return True

    def admit(self, announced: Exchange, address: str) -> Problem | None:
        """Take room for a request's body if there is some and its sender may send it. Returns why not, if not."""
        head = announced.head
        caller = UNRESTRICTED
        try:
            caller = self._gate.recognize(head.credentials, Role.PUBLIC, address)
            if head.length > self._bodies.limit(caller):
                raise self._bodies.too_large(caller)
            if not self._room.take(head.length):
                raise Problem(503, "too many request bodies are being received", headers={"Retry-After": "1"})
        except Problem as problem:
            _add_headers(announced, caller)
            return problem
        return None

    def _answer(self, exchange: Exchange, head: Head, body: bytes, caller: Caller) -> bool:
        """Answer, or raise Problem. Returns whether a task does it."""
        if head.operation is Operation.EVENTS:
            if len(body) > INLINE_BYTES_MAX or (body and head.events.content_encoding):
                return self._do_later(exchange, partial(self._posting.submit_long, body, head.events, caller))
            return self._read(exchange, head, body, caller)
        if head.operation is Operation.HEALTH:
            self._answering.answer(exchange, HEALTHY)
            return False
        if head.operation is Operation.PIXEL:
            self._show_pixel(exchange, head, caller)
            return False
        answer = self._reads.nowait(head, caller)
        if answer is None:
            return self._do_later(exchange, partial(self._reads.later, head, caller))
        self._answering.answer(exchange, answer)
        return False

    def _show_pixel(self, exchange: Exchange, head: Head, caller: Caller) -> None:
        pictures = self._reads.pictures
        assert isinstance(head.asked, PictureRequest)
        seen = pictures.see(head.asked, caller)
        if seen is None:
            self._answering.answer(exchange, pictures.pixel(None))
        else:
            seen.on_settled(lambda outcome: self._answering.answer(exchange, pictures.pixel(outcome)))

    def _read(self, exchange: Exchange, head: Head, body: bytes, caller: Caller) -> bool:
        submission = self._posting.read(body, head.events, caller)
        if head.plain and (event := submission.single) is not None:
            self._gathering.add(exchange, event)
            return False
        answering = self._posting.submit_nowait(submission)
        if answering is None:
            return self._do_later(exchange, partial(self._posting.submit, submission))
        self._fill_when_settled(exchange, answering)
        return False

    def _do_later(self, exchange: Exchange, work: Work) -> bool:
        # Counted until they are done: a client that disconnects leaves its request running.
        if self._long_requests >= self._long_requests_max:
            raise Problem(503, "too many long requests are being answered", headers={"Retry-After": "1"})
        self._long_requests += 1
        self._long_in.send_nowait((exchange, work))
        return True

    async def _answer_later(self, exchange: Exchange, work: Work) -> None:
        try:
            done = await work()
            if isinstance(done, Answer):
                self._answering.answer(exchange, done)
            else:
                self._fill_when_settled(exchange, done)
        except Problem as problem:
            self._answering.answer(exchange, answer_problem(problem))
        except Exception as error:
            self._answering.fail(exchange, error)
        except BaseException:
            # Cancelled: the client must not wait for an answer that won't come.
            self._drop(exchange)
            raise
        finally:
            self._long_requests -= 1

    def _fill_when_settled(self, exchange: Exchange, submission: Submission) -> None:
        def settled(outcome: Outcome) -> None:
            self._answering.answer(exchange, self._posting.answer(outcome, submission.ignored))

        submission.on_settled(settled)

    @property
    def faults(self) -> int:
        """Requests that could not be answered because of a fault in likd."""
        return self._answering.faults


def _add_headers(exchange: Exchange, caller: Caller) -> None:
    if caller.headers:
        exchange.headers = {**exchange.headers, **caller.headers}
