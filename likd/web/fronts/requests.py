"""The requests of a front: those that can be read here go to the engine as events, all others unchanged."""

from __future__ import annotations

import attrs
import trio

from likd.model import Submission
from likd.runtime.cooperative import finish, finish_in_turns
from likd.runtime.notice import Notice
from likd.web.access.body_budget import BodyBudget
from likd.web.access.caller import UNRESTRICTED, Caller
from likd.web.access.rate_limit import Allowance
from likd.web.access.tokens import Role
from likd.web.answers import HEALTHY, Answer, answer_problem
from likd.web.api.event_bodies import EventBodies
from likd.web.api.files import Files
from likd.web.express.answering import Answering, Send
from likd.web.express.exchange import Exchange
from likd.web.express.hot_requests import INLINE_BYTES_MAX, Drop
from likd.web.express.http1 import KEEP_ALIVE, FileRequest, Head, Operation
from likd.web.fronts.gate import FrontGate
from likd.web.fronts.link import Link
from likd.web.fronts.messages import Answered, Events, Request, Response, Submit
from likd.web.problems import Problem

BACKLOG_BYTES_MAX = 1 << 24
"""How much the engine may leave untaken; beyond that, 503."""

TURNS = 6
"""How often the loop turns before gathered events are sent, so that clients answered just now can join."""


@attrs.frozen
class _Asked:
    """A request that the engine is asked about: its address, and the name of its payer."""

    exchange: Exchange
    address: str = ""
    payer: str = ""


@attrs.frozen
class _Gathered:
    """Requests of one event each that go together."""

    events: dict[str, dict[str, int]] = attrs.field(factory=dict)
    free: list[Exchange] = attrs.field(factory=list)
    """Those of `events`."""
    events_priced: list[tuple[str, str, str]] = attrs.field(factory=list)
    priced: list[_Asked] = attrs.field(factory=list)
    """Those of `events_priced`, in their order."""

    def __bool__(self) -> bool:
        return bool(self.free or self.priced)


class FrontRequests:
    """Answers the requests of a front's lane with what the engine says over `link`.

    Events of callers that `gate` knows are read here. Errors and refusals are left to the engine, which then gets the
    request unchanged. Single events are gathered while the previous ones are on their way: the busier the engine, the
    more go together.
    """

    def __init__(
        self,
        *,
        link: Link,
        gate: FrontGate,
        bodies: EventBodies,
        files: Files,
        room: BodyBudget,
        body_bytes_max: int,
        send: Send,
        drop: Drop,
    ) -> None:
        self._link = link
        self._gate = gate
        self._bodies = bodies
        self._files = files
        self._room = room
        self._body_bytes_max = body_bytes_max
        self._send = send
        self._drop = drop
        self._answering = Answering(send)
        self._last = 0
        self._asked: dict[int, _Asked] = {}
        """Requests that the engine answers one by one."""
        self._gathered = _Gathered()
        self._underway: tuple[int, _Gathered] | None = None
        self._due = Notice()
        # No bound of its own: a connection has one at a time.
        self._long_in, self._long = trio.open_memory_channel[tuple[Exchange, Caller, str]](float("inf"))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send gathered events, and read long bodies, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_gathered)
            task_status.started()
            async for exchange, caller, address in self._long:
                nursery.start_soon(self._read_long, exchange, caller, address)

    def gather(self, exchange: Exchange, event: tuple[str, str]) -> None:
        """Let a request that is one event go with the others."""
        kind, url = event
        urls = self._gathered.events.setdefault(kind, {})
        urls[url] = urls.get(url, 0) + 1
        self._gathered.free.append(exchange)

    def submit(self) -> None:
        """Send what was gathered soon; if others are on their way, after those."""
        if self._gathered and self._underway is None:
            self._due.give()

    def takes(self, announced: Exchange) -> bool:
        """Whether a large body may be read here and there is room; if not, the engine has more."""
        head = announced.head
        if head.events.content_encoding or self._room.taken + head.length > self._room.bytes_max:
            return False
        caller = self._gate.knows(head.credentials, "")
        return caller is not None and head.length <= min(self._body_bytes_max, self._bodies.limit(caller))

    def admit(self, announced: Exchange, address: str) -> Problem | None:
        """Take room for the body of a request."""
        taken = self._room.take(announced.head.length)
        assert taken, "there was room"
        return None

    def begin(self, exchange: Exchange, address: str) -> bool:
        """Answer a request from `address`, now or later. Returns whether nothing after it may begin until then."""
        head = exchange.head
        if head.says_keep_alive:
            exchange.headers = KEEP_ALIVE
        try:
            if exchange.problem is not None:
                raise exchange.problem
            if isinstance(head.asked, FileRequest):
                asked = head.asked
                answer = self._files.answer(asked.path, compressed=asked.compressed, if_none_match=asked.if_none_match)
                self._answering.answer(exchange, answer)
                return False
            if head.operation is Operation.HEALTH and not head.credentials.origin:
                self._answering.answer(exchange, HEALTHY)
                return False
            if self._link.backlog > BACKLOG_BYTES_MAX:
                raise Problem(503, "too many requests are waiting to be counted", headers={"Retry-After": "1"})
            return self._answer(exchange, head, address)
        except Problem as problem:
            self._answering.answer(exchange, answer_problem(problem))
        except Exception as error:
            self._answering.fail(exchange, error)
        return False

    def answered(self, message: Answered) -> None:
        """The engine has answered events."""
        answer = Answer(message.status, message.body, message.content_type, message.headers)
        if self._underway is not None and self._underway[0] == message.number:
            _, gathered = self._underway
            self._underway = None
            if gathered.free:
                response = self._answering.responses.make(answer, keep_alive=True)
                for exchange in gathered.free:
                    if exchange.keep_alive and not exchange.headers:
                        self._send(exchange, response)
                    else:
                        self._answering.answer(exchange, answer)
            for asked, left in zip(gathered.priced, message.left, strict=True):
                self._fill_paid(asked, answer, left)
            self.submit()
            return
        asked = self._asked.pop(message.number)
        if asked.payer:
            self._fill_paid(asked, answer, message.left[0])
        else:
            self._answering.answer(asked.exchange, answer)

    def responded(self, message: Response) -> None:
        """The engine has answered a request completely, or it will get no answer."""
        exchange = self._asked.pop(message.number).exchange
        if message.data is None:
            self._drop(exchange)
        else:
            self._send(exchange, message.data)

    def _answer(self, exchange: Exchange, head: Head, address: str) -> bool:
        body = exchange.body
        assert body is not None
        caller = None
        if head.operation is Operation.EVENTS and not head.events.content_encoding:
            caller = self._gate.knows(head.credentials, address)
        if caller is None:
            self._pass_on(exchange, address)
            return True
        if len(body) > INLINE_BYTES_MAX:
            self._long_in.send_nowait((exchange, caller, address))
            return True
        asked = self._pays(exchange, caller, address)
        event = self._bodies.recall(body) if head.plain and caller.role is not Role.PUBLIC else None
        if event is not None:
            self._gather(asked, event)
            return False
        try:
            submission = finish(self._bodies.read(body, head.events, caller))
        except Problem:
            if caller is UNRESTRICTED:
                raise
            self._pass_on(exchange, address)
            return True
        if head.plain and (event := submission.single) is not None:
            self._gather(asked, event)
            return False
        self._submit(asked, submission)
        # Acts of one connection may have to be looked up, and stay in order all the same.
        return bool(submission.acts)

    def _pays(self, exchange: Exchange, caller: Caller, address: str) -> _Asked:
        """The request of a known caller: its answer gets the caller's headers."""
        if caller is UNRESTRICTED:
            return _Asked(exchange)
        if caller.headers:
            exchange.headers = {**exchange.headers, **caller.headers}
        return _Asked(exchange, address, self._gate.payer(caller, address, exchange.head.credentials) or "")

    def _gather(self, asked: _Asked, event: tuple[str, str]) -> None:
        if asked.payer:
            self._gathered.events_priced.append((*event, asked.payer))
            self._gathered.priced.append(asked)
        else:
            self.gather(asked.exchange, event)

    async def _send_gathered(self) -> None:
        while True:
            await self._due.wait()
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()
            if self._gathered and self._underway is None:
                gathered, self._gathered = self._gathered, _Gathered()
                self._last += 1
                self._underway = self._last, gathered
                self._link.send(Events(self._last, gathered.events, len(gathered.free), gathered.events_priced))

    async def _read_long(self, exchange: Exchange, caller: Caller, address: str) -> None:
        assert exchange.body is not None
        try:
            submission = await finish_in_turns(self._bodies.read(exchange.body, exchange.head.events, caller))
            self._submit(self._pays(exchange, caller, address), submission)
        except Problem as problem:
            if caller is UNRESTRICTED:
                self._answering.answer(exchange, answer_problem(problem))
            else:
                self._pass_on(exchange, address)
        except Exception as error:
            self._answering.fail(exchange, error)

    def _pass_on(self, exchange: Exchange, address: str) -> None:
        """Let the engine answer the whole request, unchanged."""
        number = self._ask(_Asked(exchange))
        self._link.send(Request(number, exchange.head.data, exchange.body or b"", exchange.keep_alive, address))

    def _submit(self, asked: _Asked, submission: Submission) -> None:
        key = submission.key
        self._link.send(
            Submit(
                self._ask(asked),
                submission.events,
                submission.event_count,
                None if key is None else (key.key, key.digest),
                [(act.kind, act.url, act.key) for act in submission.acts],
                submission.act_urls,
                submission.ignored,
                asked.payer,
            )
        )

    def _ask(self, asked: _Asked) -> int:
        self._last += 1
        self._asked[self._last] = asked
        return self._last

    def _fill_paid(self, asked: _Asked, answer: Answer, left: tuple[int, int] | None) -> None:
        """The engine has answered events that count against a limit, and says what their payer has left."""
        exchange = asked.exchange
        if left is None:
            self._pass_on(exchange, asked.address)
            return
        allowance = Allowance(*left, allowed=True)
        exchange.headers = {**exchange.headers, **self._gate.price_headers(asked.payer, allowance)}
        self._answering.answer(exchange, answer)

    @property
    def faults(self) -> int:
        """Requests that could not be answered because of a fault in likd."""
        return self._answering.faults
