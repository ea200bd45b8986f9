"""The fast path begins what the usual way would begin, and nothing else; afterwards the connection is the same."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.web.access.credentials import Credentials
from likd.web.access.gate import Gate
from likd.web.express.connection import Connection
from likd.web.express.exchange import Exchange
from likd.web.express.fast_path import FastPath
from likd.web.express.http1 import Heads
from likd.web.express.states import Timeouts
from tests.web.express.test_connection import COLD, GET, post

EVENT = ("like", "https://a.example/")
KNOWN = b'{"kind":"like"}'
ORIGIN = "Origin: https://b.example"
HEADS = [
    post(KNOWN),
    post(b"{not known}"),
    post(KNOWN, "Connection: close"),
    post(KNOWN, "Connection: keep-alive"),
    post(KNOWN, "Expect: 100-continue"),
    post(KNOWN, "Idempotency-Key: k"),
    post(KNOWN, "Content-Encoding: gzip"),
    post(KNOWN, "Content-Type: image/png"),
    post(KNOWN, ORIGIN),
    post(KNOWN, version="1.0"),
    post(KNOWN, "Connection: keep-alive", version="1.0"),
    post(b""),
    post(b"x" * 40_000),
    b"\r\n" + post(KNOWN),
    GET,
    COLD,
    b"\x16\x03\x01",
]


class Open:
    """A gate that lets everyone in, but for pages of other origins."""

    def lets_everyone(self, credentials: Credentials) -> bool:
        return not credentials.origin


class Lane:
    """A connection, with or without the fast path before it."""

    def __init__(self, *, fast: bool) -> None:
        self.http = Connection(Heads(), Timeouts(10.0, 60.0), 0.0)
        self.begun: list[Exchange] = []
        self.fast = 0
        self._path = FastPath(
            self.http._heads, cast(Gate, Open()), {KNOWN: EVENT}.get, lambda exchange, _: self.begun.append(exchange)
        )
        self._is_fast = fast

    def receive(self, data: bytes, now: float) -> None:
        if self._is_fast and self.http.resting and self._path.begin(self, self.http, data, now):
            self.fast += 1
        else:
            self.http.receive(data, now)
        self._begin(now)

    def answer(self, now: float) -> bytes:
        said = b""
        while self.begun:
            exchange = self.begun.pop(0)
            said += self.http.answer(exchange, b"to " + (exchange.body or b"nobody")[:20], now)
            self._begin(now)
        return said

    def _begin(self, now: float) -> None:
        while (exchange := self.http.next(now)) is not None:
            if exchange.body is None:
                self.http.admit(now)
            else:
                self.begun.append(exchange)

    def seen(self) -> object:
        """All that can be seen of it from outside."""
        http = self.http
        begun = [(each.head, each.body, each.keep_alive, each.problem is None, each.admitted) for each in self.begun]
        flags = (http.quiet, http.resting, http.wants_input, http.over, http.input_size, http.spoke_tls)
        return begun, http.state, http.deadline, http.rest, flags


@given(
    st.lists(
        st.sampled_from(HEADS)
        | st.builds(lambda data, cut: data[: cut % len(data)], st.sampled_from(HEADS), st.integers(1, 1000))
        | st.builds(lambda a, b: a + b, st.sampled_from(HEADS), st.sampled_from(HEADS))
        | st.sampled_from(["answer", "answer", "end", "finish", "expire", "hold"]),
        max_size=20,
    )
)
def test_nothing_is_different_with_the_fast_path(steps: list[bytes | str]) -> None:
    lanes = [Lane(fast=True), Lane(fast=False)]
    for now, step in enumerate(["answer", *HEADS[:1], "answer", *steps], start=1):
        said: list[bytes] = []
        for lane in lanes:
            match step:
                case bytes(data):
                    if lane.http.wants_input and data:
                        lane.receive(data, now)
                case "answer":
                    said.append(lane.answer(now))
                case "end":
                    lane.http.receive_end()
                case "finish":
                    lane.http.finish()
                case "expire":
                    refused = lane.http.expire(now)
                    lane.begun += [refused] if refused is not None else []
                case "hold" if lane.begun:
                    lane.http.hold()
        assert said == said[:1] * len(said)
        assert lanes[0].seen() == lanes[1].seen()


@pytest.mark.parametrize("data", HEADS)
def test_only_what_came_before_and_is_one_event_for_everyone_takes_it(data: bytes) -> None:
    lane = Lane(fast=True)
    for _ in range(2):
        lane.receive(data, 0.0)
        lane.answer(0.0)
    assert lane.fast == (data in (HEADS[0], HEADS[3], HEADS[4]))


@pytest.mark.parametrize("said", [KNOWN[:-1], KNOWN + b" "], ids=["shorter", "longer"])
def test_a_body_ends_where_its_head_says(said: bytes) -> None:
    lane = Lane(fast=True)
    lane.receive(post(said), 0.0)
    lane.answer(0.0)
    lane.receive(post(said)[: -len(said)] + KNOWN, 0.0)
    assert lane.fast == 0
    assert [exchange.body for exchange in lane.begun] == ([said] if len(said) < len(KNOWN) else [])
