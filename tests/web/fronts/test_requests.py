"""What a front does with requests: events are read and gathered, all else goes to the engine as it came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio
import trio.testing

from likd.config.parsers import Bind
from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.ingest.parser import Ingest
from likd.ingest.urls import UrlRules
from likd.web.access.body_budget import BodyBudget
from likd.web.access.tokens import Tokens
from likd.web.access.visitors import Visitors
from likd.web.api.event_bodies import EventBodies
from likd.web.api.files import Files
from likd.web.express.exchange import Exchange
from likd.web.express.http1 import Heads
from likd.web.fronts.front import BODY_BYTES_MAX
from likd.web.fronts.gate import FrontGate
from likd.web.fronts.link import Link
from likd.web.fronts.messages import Answered, Events, Message, Request, Response, Submit
from likd.web.fronts.requests import BACKLOG_BYTES_MAX, FrontRequests

LIKE = b'{"kind":"like","url":"https://a.example/"}'
HEADS = Heads()
NO_TOKENS = Tokens()
SECRET = "a-token-of-the-tests"
BEARER = f"Authorization: Bearer {SECRET}"
GUARDED: dict[str, Any] = {"tokens": Tokens(write=(SECRET.encode(),), admin=(b"an-admin-token",))}
PUBLIC: dict[str, Any] = {**GUARDED, "public_sites": ("a.example",)}


Left = Sequence[tuple[int, int] | None]


class FakeLink:
    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.backlog = 0

    def send(self, message: Message) -> None:
        self.sent.append(message)


class Front:
    """A front's requests, with what it sends to either side."""

    def __init__(self, *, room: int = 1 << 20, tokens: Tokens = NO_TOKENS, **settings: Any) -> None:
        self.link = FakeLink()
        self.answers: list[tuple[Exchange, bytes]] = []
        self.dropped: list[Exchange] = []
        gate = FrontGate(Config(bind=(Bind("127.0.0.1", 1),), **settings), tokens, None)
        bodies = EventBodies(
            ingest=Ingest(["like", "unlike", "impression"], UrlRules(), ActorKeys(b"secret")),
            gate=gate,
            visitors=Visitors("free", ignore_bots=False, actor=lambda address, agent: ""),
            body_bytes_max=1 << 20,
            bodies_bytes_max=1 << 20,
            urls_max=1000,
        )
        self.requests = FrontRequests(
            link=cast(Link, self.link),
            gate=gate,
            bodies=bodies,
            files=Files(),
            room=BodyBudget(room),
            body_bytes_max=BODY_BYTES_MAX,
            send=lambda exchange, data: self.answers.append((exchange, data)),
            drop=self.dropped.append,
        )

    def post(self, body: bytes = LIKE, *fields: str) -> Exchange:
        exchange = Exchange(self.head("POST /v1/events", f"Content-Length: {len(body)}", *fields), body)
        self.held = self.requests.begin(exchange, "127.0.0.1")
        return exchange

    def get(self, path: str) -> Exchange:
        exchange = Exchange(self.head(f"GET {path}"), b"")
        self.held = self.requests.begin(exchange, "127.0.0.1")
        return exchange

    def head(self, line: str, *fields: str) -> Any:
        return HEADS.read("\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode())

    def accept(self, number: int, events: int = 1, left: Left = ()) -> None:
        body = b'{"accepted":%d}' % events
        self.requests.answered(Answered(number, 202, body, "application/json", {}, list(left)))


async def test_what_comes_while_others_are_on_their_way_goes_together_when_these_are_answered() -> None:
    front = Front()
    async with trio.open_nursery() as nursery:
        await nursery.start(front.requests.run)
        first = front.post()
        front.requests.submit()
        await trio.testing.wait_all_tasks_blocked()
        later = [front.post() for _ in range(3)]
        front.requests.submit()
        await trio.testing.wait_all_tasks_blocked()
        assert front.link.sent == [Events(1, {"like": {"https://a.example/": 1}}, 1)]

        front.accept(1)
        await trio.testing.wait_all_tasks_blocked()

        assert [exchange for exchange, _ in front.answers] == [first]
        assert front.link.sent[1:] == [Events(2, {"like": {"https://a.example/": 3}}, 3)]
        front.accept(2)
        assert [exchange for exchange, _ in front.answers] == [first, *later]
        assert all(data.endswith(b'{"accepted":1}') for _, data in front.answers)
        nursery.cancel_scope.cancel()


def test_several_events_go_by_themselves_with_their_key() -> None:
    front = Front()
    exchange = front.post(LIKE + b"\n" + LIKE, "Idempotency-Key: k")
    (sent,) = front.link.sent
    assert isinstance(sent, Submit)
    assert (sent.events, sent.size, sent.key and sent.key[0]) == ({"like": {"https://a.example/": 2}}, 2, "local k")
    front.accept(sent.number, 2)
    assert front.answers[0][0] is exchange


def test_nothing_begins_behind_what_an_actor_does() -> None:
    front = Front()
    front.post(LIKE[:-1] + b',"actor":"me"}')
    (sent,) = front.link.sent
    assert isinstance(sent, Submit)
    assert len(sent.acts) == 1
    assert front.held


@pytest.mark.parametrize(
    "path", ["/v1/counts?url=https://a.example/", "/v1/top", "/badge.svg?url=https://a.example/", "/pixel.gif?url=x"]
)
def test_reads_go_to_the_engine_as_they_came(path: str) -> None:
    front = Front()
    exchange = front.get(path)
    (sent,) = front.link.sent
    assert sent == Request(1, exchange.head.data, b"", True, "127.0.0.1")
    assert front.held
    front.requests.responded(Response(1, b"HTTP/1.1 200 OK\r\n\r\n"))
    assert front.answers == [(exchange, b"HTTP/1.1 200 OK\r\n\r\n")]


def test_a_request_that_the_engine_will_not_answer_ends_its_connection() -> None:
    front = Front()
    exchange = front.get("/v1/top")
    front.requests.responded(Response(1, None))
    assert (front.dropped, front.answers) == ([exchange], [])


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({}, ("Origin: https://elsewhere.example",)),
        ({}, ("Content-Encoding: gzip",)),
        (GUARDED, ()),
        (GUARDED, ("Authorization: Bearer none-that-is-known",)),
        (PUBLIC, (BEARER, "Content-Encoding: gzip")),
        (PUBLIC, (BEARER, "Origin: https://elsewhere.example")),
        (PUBLIC, ("Cookie: likd_admin=1",)),
        (PUBLIC, ("Authorization: Bearer s_a-link",)),
    ],
)
def test_events_of_those_whom_only_the_engine_knows_or_refuses_go_as_they_came(
    settings: dict[str, Any], fields: tuple[str, ...]
) -> None:
    front = Front(**settings)
    exchange = front.post(LIKE, *fields)
    assert front.link.sent == [Request(1, exchange.head.data, LIKE, True, "127.0.0.1")]
    assert front.held


@pytest.mark.parametrize(
    "body", [b"{", LIKE.replace(b"a.example", b"b.example"), LIKE.replace(b"}", b',"count":2}'), (LIKE + b"\n") * 101]
)
def test_what_is_wrong_with_events_of_the_public_is_the_engines_to_say(body: bytes) -> None:
    front = Front(**PUBLIC)
    front.post(body)
    assert [type(message) for message in front.link.sent] == [Request]
    assert front.answers == []


async def test_events_that_have_a_price_go_together_each_with_who_pays_it() -> None:
    front = Front(**PUBLIC, token_rate=1.0, address_rate=1.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(front.requests.run)
        by_token, by_page, poor = front.post(LIKE, BEARER), front.post(LIKE, "Origin: https://a.example"), front.post()
        front.requests.submit()
        await trio.testing.wait_all_tasks_blocked()
        (sent,) = front.link.sent
        assert isinstance(sent, Events)
        assert (sent.events, sent.requests) == ({}, 0)
        event = ("like", "https://a.example/")
        assert [each[:2] for each in sent.priced] == [event] * 3
        assert [each[2] for each in sent.priced][1:] == ["127.0.0.1"] * 2
        assert sent.priced[0][2].startswith("token ")

        front.accept(sent.number, left=[(9, 0), (7, 1), None])

        assert [exchange for exchange, _ in front.answers] == [by_token, by_page]
        assert b'RateLimit: "events";r=9;t=0\r\n' in front.answers[0][1]
        assert b'RateLimit: "events";r=7;t=1\r\n' in front.answers[1][1]
        assert b"Access-Control-Allow-Origin: https://a.example\r\n" in front.answers[1][1]
        assert front.link.sent[1:] == [Request(2, poor.head.data, LIKE, True, "127.0.0.1")]
        nursery.cancel_scope.cancel()


def test_several_events_of_a_payer_who_has_nothing_left_come_to_the_engine_as_they_came() -> None:
    front = Front(**GUARDED, token_rate=1.0)
    twice = LIKE + b"\n" + LIKE
    exchange = front.post(twice, BEARER)
    (sent,) = front.link.sent
    assert isinstance(sent, Submit)
    assert (sent.size, sent.payer.startswith("token ")) == (2, True)
    front.accept(sent.number, left=[None])
    assert front.link.sent[1:] == [Request(2, exchange.head.data, twice, True, "127.0.0.1")]
    assert front.answers == []


@pytest.mark.parametrize("path", ["/healthz", "/likd.js"])
def test_what_needs_no_engine_is_answered_at_once(path: str) -> None:
    front = Front()
    front.get(path)
    assert front.link.sent == []
    assert front.answers[0][1].startswith(b"HTTP/1.1 200 ")


def test_a_body_that_is_wrong_is_refused_here() -> None:
    front = Front()
    front.post(b"{")
    assert front.link.sent == []
    assert front.answers[0][1].startswith(b"HTTP/1.1 400 ")


def test_an_engine_that_takes_nothing_refuses() -> None:
    front = Front()
    front.link.backlog = BACKLOG_BYTES_MAX + 1
    front.post()
    assert front.answers[0][1].startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in front.answers[0][1]


@pytest.mark.parametrize(
    ("length", "fields", "taken"),
    [
        (100_000, (), True),
        (BODY_BYTES_MAX + 1, (), False),
        (100_000, ("Content-Encoding: gzip",), False),
        (100_000, ("Origin: https://elsewhere.example",), False),
    ],
)
def test_large_bodies_are_read_here_if_they_are_not_too_large(
    length: int, fields: tuple[str, ...], taken: bool
) -> None:
    front = Front()
    announced = Exchange(front.head("POST /v1/events", f"Content-Length: {length}", *fields), None)
    assert front.requests.takes(announced) is taken


def test_large_bodies_for_which_there_is_no_room_here_are_the_engines() -> None:
    front = Front(room=150_000)
    announced = Exchange(front.head("POST /v1/events", "Content-Length: 100000"), None)
    assert front.requests.takes(announced)
    assert front.requests.admit(announced, "127.0.0.1") is None
    assert not front.requests.takes(announced)
