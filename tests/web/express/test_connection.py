"""One connection, without its socket: whatever happens in whatever order, it answers in order or is over for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.web.answers import HEAD_BYTES_MAX
from likd.web.express.connection import PIPELINE_MAX, Connection
from likd.web.express.exchange import Exchange
from likd.web.express.http1 import Heads, Operation
from likd.web.express.states import FINAL, NEXT, State, Timeouts
from likd.web.problems import Problem

TIMEOUTS = Timeouts(10.0, 60.0)


def post(body: bytes = b"{}", *fields: str, version: str = "1.1") -> bytes:
    lines = [f"POST /v1/events HTTP/{version}", "Host: a", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


GET = b"GET /v1/counts?url=https://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n"
COLD = b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = b"x" * 40_000


def new() -> Connection:
    return Connection(Heads(), TIMEOUTS, 0.0)


def begin(connection: Connection) -> list[Exchange]:
    """All requests that can be begun now."""
    begun = []
    while (exchange := connection.next(0.0)) is not None:
        if exchange.body is None:
            connection.admit(0.0)
        else:
            begun.append(exchange)
    return begun


def test_requests_are_answered_in_their_order() -> None:
    connection = new()
    connection.receive(post(b"1") + post(b"2"), 0.0)
    first, second = begin(connection)

    assert connection.answer(second, b"second", 0.0) == b""
    assert connection.answer(first, b"first ", 0.0) == b"first second"
    assert connection.resting


def test_a_read_waits_until_what_was_sent_before_it_is_answered() -> None:
    connection = new()
    connection.receive(post() + GET, 0.0)
    (posted,) = begin(connection)
    assert begin(connection) == []
    connection.answer(posted, b"202", 0.0)

    (read,) = begin(connection)

    assert read.head.operation is Operation.COUNTS


def test_nothing_is_begun_behind_a_request_that_takes_longer() -> None:
    connection = new()
    connection.receive(post(b"1"), 0.0)
    (first,) = begin(connection)
    connection.hold()
    connection.receive(post(b"2"), 0.0)
    assert begin(connection) == []
    connection.answer(first, b"202", 0.0)
    assert [exchange.body for exchange in begin(connection)] == [b"2"]


def test_what_is_not_hot_is_handed_over_after_the_answers_and_never_comes_back() -> None:
    connection = new()
    connection.receive(post() + COLD + b"more", 0.0)
    (posted,) = begin(connection)
    connection.receive_end()
    assert connection.answer(posted, b"202", 0.0) == b"202"
    assert begin(connection) == []

    assert (connection.state, connection.rest) == (State.HANDED_OVER, COLD + b"more")
    assert connection.answer(posted, b"again", 0.0) == b""
    connection.close()
    assert connection.state is State.HANDED_OVER


@pytest.mark.parametrize("last", [post(b"{}", "Connection: close"), post(version="1.0")])
def test_nothing_is_read_behind_the_last_request(last: bytes) -> None:
    connection = new()
    connection.receive(last + b"stray", 0.0)
    (exchange,) = begin(connection)
    connection.receive(b"more", 0.0)
    connection.receive_end()

    assert not connection.over
    assert connection.answer(exchange, b"202", 0.0) == b"202"
    assert connection.over
    assert not exchange.keep_alive


def test_an_answer_to_a_client_that_has_gone_is_dropped() -> None:
    connection = new()
    connection.receive(post() + b"no head\r\n\r\n", 0.0)
    (exchange,) = begin(connection)
    connection.close()

    assert connection.answer(exchange, b"202", 0.0) == b""
    assert connection.state is State.CLOSED
    assert begin(connection) == []


def test_old_clients_are_told_that_the_connection_stays_open_and_never_to_continue() -> None:
    connection = new()
    connection.receive(post(LARGE, "Connection: keep-alive", "Expect: 100-continue", version="1.0")[:200], 0.0)
    announced = connection.next(0.0)

    assert announced is not None
    assert announced.keep_alive
    assert announced.head.says_keep_alive
    assert not connection.admit(0.0)


def test_who_speaks_tls_is_noticed() -> None:
    connection = new()
    connection.receive(b"\x16\x03\x01\x02\x00", 0.0)

    assert connection.next(0.0) is None
    assert connection.spoke_tls
    assert connection.state is State.CLOSED


def test_a_head_without_end_is_refused() -> None:
    connection = new()
    connection.receive(b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX, 0.0)
    (refused,) = begin(connection)

    assert refused.problem is not None
    assert refused.problem.status == 431
    assert connection.state is State.ENDING


def test_a_bare_line_feed_is_for_the_other_lane_to_judge() -> None:
    connection = new()
    connection.receive(b"GET /healthz HTTP/1.1\nHost: a\n\n", 0.0)

    assert connection.next(0.0) is None
    assert connection.state is State.HANDED_OVER


PIECES = [
    post(b'{"kind":"like"}'),
    post(LARGE),
    post(LARGE, "Expect: 100-continue"),
    post(b"{}", "Connection: close"),
    post(version="1.0"),
    GET,
    COLD,
    b"\r\n",
    b"no head at all\r\n\r\n",
    b"a bare line feed\n",
    b"\x16\x03\x01",
    b"POST /v1/ev",
]


@given(st.data())
def test_any_order_of_events_keeps_the_rules(data: st.DataObject) -> None:
    connection = new()
    owed: list[Exchange] = []
    begun: list[Exchange] = []
    now = 0.0
    moves = ["receive", "next", "next", "answer", "answer", "end", "expire", "finish", "close", "hold", "again"]
    for move in data.draw(st.lists(st.sampled_from(moves), max_size=60)):
        now += data.draw(st.sampled_from([0.0, 0.1, 100.0]))
        before = connection.state
        out = b""
        if move == "receive":
            piece = data.draw(st.sampled_from(PIECES))
            cut = data.draw(st.integers(0, len(piece)))
            connection.receive(piece[:cut] or piece, now)
        elif move == "end":
            connection.receive_end()
        elif move in ("next", "expire"):
            exchange = connection.next(now) if move == "next" else connection.expire(now)
            if exchange is not None and exchange.body is None:
                if data.draw(st.booleans()):
                    connection.admit(now)
                    exchange = None
                else:
                    exchange = connection.refuse(Problem(413, "too large"))
            if exchange is not None:
                assert before not in FINAL
                assert exchange.head.operation is not Operation.COUNTS or not owed, "a read overtook a request"
                begun.append(exchange)
                owed.append(exchange)
        elif move == "answer" and owed:
            waiting = [exchange for exchange in owed if exchange.response is None]
            if waiting:
                exchange = data.draw(st.sampled_from(waiting))
                out = connection.answer(exchange, b"%d;" % begun.index(exchange), now)
        elif move == "again":
            answered = [exchange for exchange in begun if exchange.response is not None]
            assert not any(connection.answer(exchange, b"twice", now) for exchange in answered)
        elif move == "finish":
            connection.finish()
        elif move == "close":
            connection.close()
        elif move == "hold" and owed:
            connection.hold()
        assert connection.state is before or connection.state in _reachable(before)
        assert before not in FINAL or out == b"", "somebody was answered who is not there"
        if out:
            assert out == b"".join(b"%d;" % begun.index(exchange) for exchange in owed)
            owed.clear()
        assert len(owed) <= PIPELINE_MAX + 1
        if connection.over and connection.state is State.ENDING and not owed:
            connection.linger(now)


def _reachable(state: State) -> set[State]:
    found: set[State] = set()
    left = [state]
    while left:
        for following in NEXT[left.pop()] - found:
            found.add(following)
            left.append(following)
    return found
