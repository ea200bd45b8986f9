"""The requests of a front: what can be read here is, and goes to the engine as events; all else goes as it came."""

from __future__ import annotations

import structlog
import trio

from likd.model import Submission
from likd.runtime.cooperative import finish, finish_in_turns
from likd.runtime.notice import Notice
from likd.web.access.body_budget import BodyBudget
from likd.web.access.caller import UNRESTRICTED
from likd.web.access.gate import Gate
from likd.web.answers import HEALTHY, Answer, Responses, answer_problem
from likd.web.api.event_bodies import EventBodies
from likd.web.api.files import Files
from likd.web.express.exchange import Exchange
from likd.web.express.http1 import KEEP_ALIVE, FileRequest, Head, Operation
from likd.web.express.requests import INLINE_BYTES_MAX, Drop, Send
from likd.web.fronts.link import Link
from likd.web.fronts.messages import Answered, Events, Request, Response, Submit
from likd.web.problems import Problem

BACKLOG_BYTES_MAX = 1 << 24
"""What the engine has not taken yet: beyond that, 503."""

TURNS = 6
"""The loop turns so often before gathered events are sent: what clients send who were answered just now goes along."""

log = structlog.get_logger(__name__)


class FrontRequests:
    """Answers the requests of a front's lane, by what the engine says over `link`.

    With `bodies` the daemon is open, and the events of those whom `gate` lets do everything are read here. Single ones
    are gathered for as long as the ones before are on their way: the busier the engine, the more go together.
    """

    def __init__(
        self,
        *,
        link: Link,
        gate: Gate,
        bodies: EventBodies | None,
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
        self._responses = Responses()
        self._last = 0
        self._asked: dict[int, Exchange] = {}
        """Requests that the engine answers one by one."""
        self._events: dict[str, dict[str, int]] = {}
        self._gathered: list[Exchange] = []
        self._underway: tuple[int, list[Exchange]] | None = None
        self._due = Notice()
        # No bound of its own: a connection has one at a time.
        self._long_in, self._long = trio.open_memory_channel[Exchange](float("inf"))
        self.faults = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what is gathered, and read long bodies, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_gathered)
            task_status.started()
            async for exchange in self._long:
                nursery.start_soon(self._read_long, exchange)

    def gather(self, exchange: Exchange, event: tuple[str, str]) -> None:
        """Let a request that is one event go with the others."""
        kind, url = event
        urls = self._events.setdefault(kind, {})
        urls[url] = urls.get(url, 0) + 1
        self._gathered.append(exchange)

    def submit(self) -> None:
        """Send what was gathered soon, unless others are on their way: then it waits for these."""
        if self._gathered and self._underway is None:
            self._due.give()

    def takes(self, announced: Exchange) -> bool:
        """Whether a large body may be read here, and there is room; if not, the engine has more."""
        head = announced.head
        return (
            self._bodies is not None
            and not head.events.content_encoding
            and head.length <= self._body_bytes_max
            and self._room.taken + head.length <= self._room.bytes_max
            and self._gate.lets_everyone(head.credentials)
        )

    def admit(self, announced: Exchange, address: str) -> Problem | None:
        """Take room for the body of a request."""
        taken = self._room.take(announced.head.length)
        assert taken, "there was room"
        return None

    def begin(self, exchange: Exchange, address: str) -> bool:
        """Answer a request from `address`, now or later; whether nothing may begin behind it before."""
        head = exchange.head
        if head.says_keep_alive:
            exchange.headers = KEEP_ALIVE
        try:
            if exchange.problem is not None:
                raise exchange.problem
            if isinstance(head.asked, FileRequest):
                asked = head.asked
                answer = self._files.answer(asked.path, compressed=asked.compressed, if_none_match=asked.if_none_match)
                self._fill(exchange, answer)
                return False
            if head.operation is Operation.HEALTH and not head.credentials.origin:
                self._fill(exchange, HEALTHY)
                return False
            if self._link.backlog > BACKLOG_BYTES_MAX:
                raise Problem(503, "too many requests are waiting to be counted", headers={"Retry-After": "1"})
            return self._answer(exchange, head, address)
        except Problem as problem:
            self._fill(exchange, answer_problem(problem))
        except Exception as error:
            self._fail(exchange, error)
        return False

    def answered(self, message: Answered) -> None:
        """The engine has answered events."""
        answer = Answer(message.status, message.body, message.content_type, message.headers)
        if self._underway is not None and self._underway[0] == message.number:
            _, exchanges = self._underway
            self._underway = None
            response = self._responses.make(answer, keep_alive=True)
            for exchange in exchanges:
                if exchange.keep_alive and not exchange.headers:
                    self._send(exchange, response)
                else:
                    self._fill(exchange, answer)
            self.submit()
        else:
            self._fill(self._asked.pop(message.number), answer)

    def responded(self, message: Response) -> None:
        """The engine has answered a request whole, or it will have no answer."""
        exchange = self._asked.pop(message.number)
        if message.data is None:
            self._drop(exchange)
        else:
            self._send(exchange, message.data)

    def _answer(self, exchange: Exchange, head: Head, address: str) -> bool:
        body = exchange.body
        assert body is not None
        if (
            self._bodies is None
            or head.operation is not Operation.EVENTS
            or head.events.content_encoding
            or not self._gate.lets_everyone(head.credentials)
        ):
            number = self._ask(exchange)
            self._link.send(Request(number, head.data, body, exchange.keep_alive, address))
            return True
        if len(body) > INLINE_BYTES_MAX:
            self._long_in.send_nowait(exchange)
            return True
        event = self._bodies.recall(body) if head.plain else None
        if event is not None:
            self.gather(exchange, event)
            return False
        submission = finish(self._bodies.read(body, head.events, UNRESTRICTED))
        if head.plain and (event := submission.single) is not None:
            self.gather(exchange, event)
            return False
        self._submit(exchange, submission)
        # Acts of one connection may have to be looked up, and are in their order all the same.
        return bool(submission.acts)

    async def _send_gathered(self) -> None:
        while True:
            await self._due.wait()
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()
            if self._gathered and self._underway is None:
                gathered, self._gathered = self._gathered, []
                events, self._events = self._events, {}
                self._last += 1
                self._underway = self._last, gathered
                self._link.send(Events(self._last, events, len(gathered)))

    async def _read_long(self, exchange: Exchange) -> None:
        assert self._bodies is not None
        assert exchange.body is not None
        try:
            steps = self._bodies.read(exchange.body, exchange.head.events, UNRESTRICTED)
            self._submit(exchange, await finish_in_turns(steps))
        except Problem as problem:
            self._fill(exchange, answer_problem(problem))
        except Exception as error:
            self._fail(exchange, error)

    def _submit(self, exchange: Exchange, submission: Submission) -> None:
        key = submission.key
        self._link.send(
            Submit(
                self._ask(exchange),
                submission.events,
                submission.size,
                None if key is None else (key.key, key.digest),
                [(act.kind, act.url, act.key) for act in submission.acts],
                submission.act_urls,
            )
        )

    def _ask(self, exchange: Exchange) -> int:
        self._last += 1
        self._asked[self._last] = exchange
        return self._last

    def _fill(self, exchange: Exchange, answer: Answer) -> None:
        response = self._responses.make(
            answer, keep_alive=exchange.keep_alive, extra=exchange.headers, head_only=exchange.head.head_only
        )
        self._send(exchange, response)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        """One request's fault must reach nobody else."""
        self.faults += 1
        log.error("request failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        self._fill(exchange, answer_problem(Problem(500, "the request could not be answered")))
