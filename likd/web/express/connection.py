"""HTTP/1.1 on one connection, without I/O: bytes in, requests out; answers in, bytes out, in order of the requests."""

from __future__ import annotations

from collections import deque
from io import BytesIO

from likd.web.access.body_budget import BODY_BYTES_PER_SECOND, BODY_SECONDS
from likd.web.answers import HEAD_BYTES_MAX
from likd.web.express.exchange import Exchange
from likd.web.express.http1 import COLD, Head, Heads, Operation
from likd.web.express.states import FINAL, NEXT, State, Timeouts
from likd.web.problems import Problem

PIPELINE_MAX = 64
"""How many requests of a connection may wait for answers; beyond that, it is not read."""
BODY_ADMITTED_BYTES = 1 << 14
"""Bodies up to this size are taken without asking: they arrive together with their heads."""
LINGER_SECONDS = 2.0
"""How long a client that got the last answer has to close the connection."""

_TLS_HANDSHAKE = 0x16


class Connection:
    """A client's connection. Whoever moves its bytes calls `next` until there is nothing, after each change.

    Requests are begun together if their order can't be noticed. A read waits until what was sent before it is answered
    (RFC 9112, 9.3.2), and nothing is begun after a request on `hold`.
    """

    __slots__ = (
        "_announced",
        "_body",
        "_data",
        "_ended",
        "_heads",
        "_held",
        "_last",
        "_missing",
        "_owed",
        "_timeouts",
        "_unanswered",
        "deadline",
        "spoke_tls",
        "state",
    )

    def __init__(self, heads: Heads, timeouts: Timeouts, now: float) -> None:
        self.state = State.HEADS
        self.deadline = now + timeouts.head_seconds
        """When `expire` is due, by the same clock as `now`, in seconds."""
        self.spoke_tls = False
        """Whether the client began with a TLS handshake; then the connection is closed."""
        self._heads = heads
        self._timeouts = timeouts
        self._data = b""
        self._ended = False
        self._announced: Exchange | None = None
        self._body = BytesIO()
        self._missing = 0
        self._owed: deque[Exchange] = deque()
        self._unanswered = 0
        self._held = False
        self._last = False

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to do until something is received or answered."""
        return not self._data and not self._ended and self.state is State.HEADS and len(self._owed) < PIPELINE_MAX

    @property
    def resting(self) -> bool:
        """Whether it is waiting for its next request, and owes no answer."""
        return not self._owed and not self._data and not self._ended and self.state is State.HEADS

    @property
    def wants_input(self) -> bool:
        """Whether there is room for more from the client."""
        if self._ended:
            return False
        if self.state is State.HEADS:
            return len(self._data) < HEAD_BYTES_MAX and len(self._owed) < PIPELINE_MAX
        return self.state is State.BODY or self.state is State.LINGERING

    @property
    def input_size(self) -> int:
        """How many bytes of a body are known to be still to come."""
        return self._missing if self.state is State.BODY else 0

    @property
    def over(self) -> bool:
        """Whether, once `next` has nothing, everything is answered and nothing more can come."""
        return not self._owed and (self.state is State.ENDING or self._ended)

    @property
    def ended(self) -> bool:
        """Whether the client has ended its side."""
        return self._ended

    @property
    def admitted(self) -> int:
        """Bytes of the body that is being received."""
        return self._announced.admitted if self._announced is not None else 0

    def begin(self, head: Head, body: bytes, now: float) -> Exchange:
        """A resting connection received exactly this one whole request. It is not the last one."""
        self.deadline = now + self._timeouts.head_seconds
        return self._begin(Exchange(head, body))

    def receive(self, data: bytes, now: float) -> None:
        """The client sent `data`."""
        if self.state is State.HEADS:
            if self._data:
                self._data += data
            else:
                self._data = data
                self.deadline = now + self._timeouts.head_seconds
        elif self.state is State.BODY:
            self._take_body(data)

    def receive_end(self) -> None:
        """The client sends no more, but may still be waiting for answers."""
        self._ended = True

    def next(self, now: float) -> Exchange | None:
        """The next request that can be begun, None if there is none yet.

        The state becomes `HANDED_OVER` if what follows is for another lane, which gets `rest`.
        """
        while self.state is State.HEADS and self._data and not self._held and len(self._owed) < PIPELINE_MAX:
            data = self._data
            if data[0] < 0x20:
                if data[0] == _TLS_HANDSHAKE:
                    self.spoke_tls = True
                    self.close()
                    return None
                if data[0] in b"\r\n":
                    # Empty lines before a request are ignored (RFC 9112, 2.2).
                    self._data = data.lstrip(b"\r\n")
                    continue
            return self._next_request(now)
        if self.state is State.BODY and not self._missing:
            return self._complete_body()
        return None

    def admit(self, now: float) -> bool:
        """Receive the body of the announced request. Returns whether its client waits for 100 Continue."""
        announced = self._announced
        assert announced is not None
        announced.admitted = self._missing = announced.head.length
        self._become(State.BODY)
        self.deadline = now + BODY_SECONDS + self._missing / BODY_BYTES_PER_SECOND
        data, self._data = self._data[self._data.index(b"\r\n\r\n") + 4 :], b""
        self._take_body(data)
        return announced.head.expects_continue and not data

    def hand_over(self) -> None:
        """Hand the announced request, and all that follows, over to another lane."""
        self._announced = None
        self._become(State.HANDED_OVER)

    def refuse(self, problem: Problem) -> Exchange:
        """Answer with `problem` a request after which nothing can be read, once earlier answers are sent."""
        exchange, self._announced = self._announced or Exchange(_UNREADABLE, b""), None
        exchange.problem = problem
        exchange.body = b""
        exchange.keep_alive = False
        return self._begin(exchange)

    def hold(self) -> None:
        """Begin nothing until everything begun so far is answered."""
        self._held = True

    def answer(self, exchange: Exchange, response: bytes, now: float) -> bytes:
        """Record the answer to a request. Returns what is to be sent now: nothing while earlier ones are missing.

        Answers that are ready together are sent together.
        """
        if self.state in FINAL or exchange.response is not None:
            return b""
        exchange.response = response
        self._unanswered -= 1
        if self._unanswered:
            return b""
        owed = self._owed
        out = response if len(owed) == 1 else b"".join([each.response or b"" for each in owed])
        owed.clear()
        self._held = False
        if self._last and self.state is State.HEADS:
            self._end()
        elif self.state is State.HEADS and not self._data:
            self.deadline = now + self._timeouts.idle_seconds
        return out

    def expire(self, now: float) -> Exchange | None:
        """The deadline has passed: close the connection, or refuse the request that did not arrive."""
        if self._owed and self.state is not State.BODY:
            self.deadline = now + self._timeouts.idle_seconds
        elif self.state is State.BODY or (self.state is State.HEADS and self._data):
            return self.refuse(Problem(408, "the request did not arrive in time"))
        else:
            self.close()
        return None

    def finish(self) -> None:
        """Take no more requests: the last one that is owed an answer is the last of all."""
        self._last = True
        if self._owed:
            self._owed[-1].keep_alive = False
        elif self.state is State.HEADS:
            self._end()

    def delay(self, now: float) -> None:
        """The client is taking its answers, even if slowly."""
        self.deadline = now + self._timeouts.idle_seconds

    def linger(self, now: float) -> None:
        """Everything was sent: leave the client time to read it."""
        self._become(State.LINGERING)
        self.deadline = now + LINGER_SECONDS

    def close(self) -> None:
        """The connection is closed."""
        if self.state not in FINAL:
            self._become(State.CLOSED)

    @property
    def rest(self) -> bytes:
        """What was received but belongs to no request yet."""
        return self._data

    def _become(self, state: State) -> None:
        if state not in NEXT[self.state]:
            raise AssertionError(f"a connection that is {self.state.name} can't become {state.name}")
        self.state = state

    def _next_request(self, now: float) -> Exchange | None:
        """The request at the beginning of what was received, if it can be begun."""
        data = self._data
        end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX) + 4
        head = self._heads.read(data[:end]) if end > 3 else self._heads.read_beginning(data)
        if head is None and self._ended:
            # What can't become a head is judged by the same parser as every head that is not plain.
            head = COLD
        if head is None:
            if len(data) >= HEAD_BYTES_MAX:
                return self.refuse(Problem(431, f"the head is longer than {HEAD_BYTES_MAX} bytes"))
            return None
        if self._owed and (head.operation is not Operation.EVENTS or head.expects_continue):
            return None
        if head.operation is Operation.COLD:
            self._become(State.HANDED_OVER)
            return None
        stop = end + head.length
        if stop <= len(data) and head.length <= BODY_ADMITTED_BYTES:
            self._data = data[stop:]
            self.deadline = now + self._timeouts.head_seconds
            return self._begin(Exchange(head, data[end:stop]))
        if self._announced is None:
            self._announced = Exchange(head, None)
            return self._announced
        return None

    def _begin(self, exchange: Exchange) -> Exchange:
        self._owed.append(exchange)
        self._unanswered += 1
        exchange.keep_alive &= not self._last
        if not exchange.keep_alive and self.state is not State.ENDING:
            self._end()
        return exchange

    def _end(self) -> None:
        """Read nothing more."""
        self._data, self._body = b"", BytesIO()
        self._become(State.ENDING)

    def _take_body(self, data: bytes) -> None:
        part = data[: self._missing]
        self._body.write(part)
        self._data += data[len(part) :]
        self._missing -= len(part)

    def _complete_body(self) -> Exchange:
        exchange, self._announced = self._announced, None
        assert exchange is not None
        # It hands out its own buffer: joining 32 MiB would take many slices of the loop's time.
        exchange.body = self._body.getvalue()
        self._body = BytesIO()
        self._become(State.HEADS)
        return self._begin(exchange)


_UNREADABLE = Head(Operation.COLD, keep_alive=False)
