"""The engine's desk for its fronts: takes their messages, and answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeAlias

import attrs
import structlog
import trio

from likd.model import Accepted, ActorEvent, IdempotencyKey, Outcome, Submission
from likd.queries.live_hub import LiveHub
from likd.web.access.caller import Caller as Admitted
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.credentials import Credentials
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.answers import Answer, answer_problem
from likd.web.api.events import Posting
from likd.web.api.live_news import Status
from likd.web.express.exchange import Exchange
from likd.web.express.hot_requests import MakeRequests
from likd.web.express.http1 import Heads
from likd.web.fronts.link import Link
from likd.web.fronts.messages import (
    Answered,
    Charge,
    Charged,
    Closed,
    Enter,
    Entered,
    Events,
    Full,
    Hand,
    Message,
    Opened,
    Pong,
    Refused,
    Request,
    Response,
    Submit,
    TurnedAway,
    Unwatch,
    Watch,
)
from likd.web.fronts.watches import Watches
from likd.web.fronts.wire import WireError
from likd.web.problems import Problem

log = structlog.get_logger(__name__)

Left: TypeAlias = list[tuple[int, int] | None]
"""What the payers of a message have left, see `Answered`."""
TakeConnection = Callable[[socket.socket, bytes, Callable[[], None], str], None]


@attrs.frozen
class Seat:
    """The seat of a connection from `address`, given back by `leave`."""

    address: str
    leave: Callable[[], None]


@attrs.define(eq=False)
class Caller:
    """One life of a front: its end of the wire, and the seats of its connections."""

    link: Link
    watches: Watches
    seats: dict[int, Seat] = attrs.field(factory=dict)
    asked: int = 0
    """How many messages with events or requests came from it."""
    pinged: int = 0
    """The last ping that it answered."""
    faults: int = 0
    gone: bool = False

    def send(self, message: Message) -> None:
        """Send it a message, if it still exists."""
        if not self.gone:
            self.link.send(message)

    def leave(self) -> None:
        """The front is gone, and its connections with it."""
        self.gone = True
        for seat in self.seats.values():
            seat.leave()
        self.seats.clear()


class Desk:
    """Does for fronts what the lanes do for clients, with the same parts, so that limits apply to all together."""

    def __init__(
        self,
        *,
        posting: Posting,
        gate: Gate,
        hub: LiveHub,
        status: Status,
        make_requests: MakeRequests,
        seats: ConnectionLimit,
        take_connection: TakeConnection,
        base: str,
    ) -> None:
        self._posting = posting
        self._gate = gate
        self._hub = hub
        self._status = status
        self._requests = make_requests(self._respond, self._drop)
        self._heads = Heads(base)
        self._seats = seats
        self._take_connection = take_connection
        # No bound of its own: a connection has one at a time.
        self._lookups_in, self._lookups = trio.open_memory_channel[tuple[Caller, int, Left, Submission]](float("inf"))
        self.submit = self._requests.submit
        """Submit the single events that came as requests since the last call."""

    @property
    def faults(self) -> int:
        """Requests that could not be answered because of a fault in likd."""
        return self._requests.faults

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer what takes longer, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._requests.run)
            task_status.started()
            async for asked in self._lookups:
                nursery.start_soon(self._look_up, *asked)

    def begin(self, link: Link) -> Caller:
        """A front has connected, at the other end of `link`."""
        return Caller(link, Watches(self._hub, self._status, link))

    def take(self, caller: Caller, message: Message, connection: socket.socket | None) -> None:
        """Handle a front's message. Raises WireError if fronts do not send such messages."""
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
                if (taken := caller.seats.pop(seat, None)) is not None:
                    taken.leave()
            case Hand(seat, data):
                assert connection is not None
                self._take(caller, seat, data, connection)
            case Pong(number, faults):
                caller.pinged, caller.faults = number, faults
            case _:
                self._take_of_live(caller, message)

    def _take_of_live(self, caller: Caller, message: Message) -> None:
        """Handle a front's message on behalf of its live lane's clients."""
        match message:
            case Enter():
                self._enter(caller, message)
            case Charge(number, role, name):
                caller.send(Charged(number, self._gate.charge(Admitted(Role(role), name))))
            case Watch():
                caller.watches.watch(message)
            case Unwatch():
                caller.watches.unwatch(message)
            case Refused(status, reason, name, setting):
                self._gate.tell(status, reason, name, setting)
            case _:
                raise WireError(f"a front sent {type(message).__name__}")

    def _count(self, caller: Caller, message: Events) -> None:
        events, requests = message.events, message.requests
        left: list[tuple[int, int] | None] = []
        for kind, url, payer in message.priced:
            left.append(self._pay(payer, 1))
            if left[-1] is not None:
                requests += 1
                urls = events.setdefault(kind, {})
                urls[url] = urls.get(url, 0) + 1

        def settled(outcome: Outcome) -> None:
            each = Accepted(1) if isinstance(outcome, Accepted) else outcome
            caller.send(_answered(message.number, self._posting.answer(each), left))

        if not requests:
            settled(Accepted(0))
            return
        submission = Submission(events, requests, requests=requests)
        answering = self._posting.submit_nowait(submission)
        assert answering is not None, "events without actors need no look into the store"
        answering.on_settled(settled)

    def _submit(self, caller: Caller, message: Submit) -> None:
        left = [self._pay(message.payer, message.size)] if message.payer else []
        if None in left:
            caller.send(_answered(message.number, _COMES_AGAIN, left))
            return
        key = None if message.key is None else IdempotencyKey(*message.key)
        acts = [ActorEvent(*act) for act in message.acts]
        submission = Submission(
            message.events, message.size, key, acts=acts, ignored=message.ignored, act_urls=message.act_urls
        )
        try:
            answering = self._posting.submit_nowait(submission)
        except Problem as problem:
            caller.send(_answered(message.number, answer_problem(problem), left))
            return
        if answering is None:
            self._lookups_in.send_nowait((caller, message.number, left, submission))
        else:
            self._answer_when_settled(caller, message.number, left, answering)

    def _pay(self, payer: str, events: int) -> tuple[int, int] | None:
        left = self._gate.pay(payer, events)
        return None if left is None else (left.remaining, left.reset_seconds)

    async def _look_up(self, caller: Caller, number: int, left: Left, submission: Submission) -> None:
        try:
            self._answer_when_settled(caller, number, left, await self._posting.submit(submission))
        except Problem as problem:
            caller.send(_answered(number, answer_problem(problem), left))
        except Exception as error:
            log.error("request failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
            caller.send(_answered(number, answer_problem(Problem(500, "the request could not be answered")), left))

    def _answer_when_settled(self, caller: Caller, number: int, left: Left, submission: Submission) -> None:
        submission.on_settled(
            lambda outcome: caller.send(_answered(number, self._posting.answer(outcome, submission.ignored), left))
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
            caller.seats[seat] = Seat(address, leave)

    def _take(self, caller: Caller, seat: int, data: bytes, connection: socket.socket) -> None:
        taken = caller.seats.pop(seat, None)
        if taken is None:
            # There was no seat, and the front did not know yet.
            connection.close()
        else:
            self._take_connection(connection, data, taken.leave, taken.address)

    def _enter(self, caller: Caller, message: Enter) -> None:
        try:
            admitted = self._gate.admit(message.address, Credentials(*message.credentials), Role.PUBLIC)
        except Problem as problem:
            told = answer_problem(problem)
            caller.send(TurnedAway(message.number, told.status, told.body, told.content_type, told.headers))
        else:
            share = None if admitted.share is None else attrs.astuple(admitted.share)
            caller.send(Entered(message.number, admitted.role, admitted.name, share))


_COMES_AGAIN = Answer(429, b"")
"""Nobody sees this: the request comes again unchanged."""


def _answered(number: int, answer: Answer, left: Left) -> Answered:
    return Answered(number, answer.status, answer.body, answer.content_type, answer.headers, left)
