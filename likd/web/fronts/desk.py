"""The engine's desk for its fronts: it takes what they say, and answers."""

from __future__ import annotations

import socket
from collections.abc import Callable

import attrs
import structlog
import trio

from likd.model import Accepted, ActorEvent, IdempotencyKey, Outcome, Submission
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.answers import Answer, answer_problem
from likd.web.api.events import Posting
from likd.web.express.exchange import Exchange
from likd.web.express.http1 import Heads
from likd.web.express.requests import MakeRequests
from likd.web.fronts.link import Link
from likd.web.fronts.messages import (
    Answered,
    Closed,
    Events,
    Full,
    Hand,
    Message,
    Opened,
    Pong,
    Request,
    Response,
    Submit,
)
from likd.web.fronts.wire import WireError
from likd.web.problems import Problem

log = structlog.get_logger(__name__)

TakeConnection = Callable[[socket.socket, bytes, Callable[[], None]], None]


@attrs.define(eq=False)
class Caller:
    """One life of a front: its end of the wire, and the seats of the connections that it has."""

    link: Link
    seats: dict[int, Callable[[], None]] = attrs.field(factory=dict)
    asked: int = 0
    """Messages with events or requests that came of it."""
    pinged: int = 0
    """The last ping that it answered."""
    faults: int = 0
    gone: bool = False

    def send(self, message: Message) -> None:
        """Tell it, if it is still there."""
        if not self.gone:
            self.link.send(message)

    def leave(self) -> None:
        """It is gone, and its connections with it."""
        self.gone = True
        for leave in self.seats.values():
            leave()
        self.seats.clear()


class Desk:
    """Does for fronts what the lanes do for clients, by the same parts: limits are those of all together."""

    def __init__(
        self,
        *,
        posting: Posting,
        make_requests: MakeRequests,
        seats: ConnectionLimit,
        take_connection: TakeConnection,
        base: str,
    ) -> None:
        self._posting = posting
        self._requests = make_requests(self._respond, self._drop)
        self._heads = Heads(base)
        self._seats = seats
        self._take_connection = take_connection
        # No bound of its own: a connection has one at a time.
        self._lookups_in, self._lookups = trio.open_memory_channel[tuple[Caller, int, Submission]](float("inf"))
        self.submit = self._requests.submit
        """Submit the single events that came as requests since the last time."""

    @property
    def faults(self) -> int:
        """Requests that could not be answered because of a fault of likd's own."""
        return self._requests.faults

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer what takes longer, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._requests.run)
            task_status.started()
            async for caller, number, submission in self._lookups:
                nursery.start_soon(self._look_up, caller, number, submission)

    def take(self, caller: Caller, message: Message, connection: socket.socket | None) -> None:
        """Do what a front says. Raises WireError if fronts do not say such things."""
        match message:
            case Events():
                caller.asked += 1
                self._count(caller, message)
            case Request():
                caller.asked += 1
                self._answer(caller, message)
            case Submit():
                caller.asked += 1
                self._submit(caller, message)
            case Opened(seat, address):
                self._open(caller, seat, address)
            case Closed(seat):
                if (leave := caller.seats.pop(seat, None)) is not None:
                    leave()
            case Hand(seat, data):
                assert connection is not None
                self._take(caller, seat, data, connection)
            case Pong(number, faults):
                caller.pinged, caller.faults = number, faults
            case _:
                raise WireError(f"a front says {type(message).__name__}")

    def _count(self, caller: Caller, message: Events) -> None:
        def settled(outcome: Outcome) -> None:
            each = Accepted(1) if isinstance(outcome, Accepted) else outcome
            caller.send(_answered(message.number, self._posting.answer(each)))

        submission = Submission(message.events, message.requests, requests=message.requests)
        answering = self._posting.submit_nowait(submission)
        assert answering is not None, "events without actors need no look into the store"
        answering.on_settled(settled)

    def _submit(self, caller: Caller, message: Submit) -> None:
        key = None if message.key is None else IdempotencyKey(*message.key)
        acts = [ActorEvent(*act) for act in message.acts]
        submission = Submission(message.events, message.size, key, acts=acts, act_urls=message.act_urls)
        try:
            answering = self._posting.submit_nowait(submission)
        except Problem as problem:
            caller.send(_answered(message.number, answer_problem(problem)))
            return
        if answering is None:
            self._lookups_in.send_nowait((caller, message.number, submission))
        else:
            self._answer_when_settled(caller, message.number, answering)

    async def _look_up(self, caller: Caller, number: int, submission: Submission) -> None:
        try:
            self._answer_when_settled(caller, number, await self._posting.submit(submission))
        except Problem as problem:
            caller.send(_answered(number, answer_problem(problem)))
        except Exception as error:
            log.error("request failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
            caller.send(_answered(number, answer_problem(Problem(500, "the request could not be answered"))))

    def _answer_when_settled(self, caller: Caller, number: int, submission: Submission) -> None:
        submission.on_settled(
            lambda outcome: caller.send(_answered(number, self._posting.answer(outcome, submission.ignored)))
        )

    def _answer(self, caller: Caller, message: Request) -> None:
        exchange = Exchange(self._heads.read(message.head), message.body)
        exchange.keep_alive = message.keep_alive
        exchange.client = (caller, message.number)
        self._requests.begin(exchange, message.address)

    def _respond(self, exchange: Exchange, response: bytes) -> None:
        caller, number = exchange.client
        caller.send(Response(number, response))

    def _drop(self, exchange: Exchange) -> None:
        caller, number = exchange.client
        caller.send(Response(number, None))

    def _open(self, caller: Caller, seat: int, address: str) -> None:
        leave = self._seats.take(address)
        if leave is None:
            caller.send(Full(seat))
        else:
            caller.seats[seat] = leave

    def _take(self, caller: Caller, seat: int, data: bytes, connection: socket.socket) -> None:
        leave = caller.seats.pop(seat, None)
        if leave is None:
            # There was none, and the front did not know yet.
            connection.close()
        else:
            self._take_connection(connection, data, leave)


def _answered(number: int, answer: Answer) -> Answered:
    return Answered(number, answer.status, answer.body, answer.content_type, answer.headers)
