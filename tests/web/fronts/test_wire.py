"""The wire between front and engine: however it is cut it says the same, and another version is refused."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.web.fronts.messages import (
    VERSION,
    Answered,
    Charge,
    Charged,
    Closed,
    Enter,
    Entered,
    Events,
    Full,
    Hand,
    Hello,
    Message,
    News,
    Opened,
    Ping,
    Pong,
    Refused,
    Request,
    Response,
    Stop,
    Stopped,
    Submit,
    TurnedAway,
    Unwatch,
    Watch,
    Watching,
    Welcome,
)
from likd.web.fronts.wire import LENGTH_BYTES, MESSAGE_BYTES_MAX, Receiver, WireError, frame

NUMBER = st.integers(0, 1 << 62)
EVENTS = st.dictionaries(st.sampled_from(["like", "clap"]), st.dictionaries(st.text(max_size=9), NUMBER, max_size=3))
COUNTS = st.dictionaries(st.sampled_from(["likes", "claps"]), NUMBER)
RATE = st.floats(0, 1e9)
TOPICS = st.lists(st.tuples(*[st.text(max_size=5)] * 3), max_size=3)
SAID: st.SearchStrategy[Message] = st.one_of(
    st.builds(Events, NUMBER, EVENTS, NUMBER, st.lists(st.tuples(*[st.text(max_size=5)] * 3), max_size=3)),
    st.builds(
        Submit,
        NUMBER,
        EVENTS,
        NUMBER,
        st.none() | st.tuples(st.text(max_size=9), st.binary(max_size=16)),
        st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5), st.binary(max_size=20)), max_size=3),
        st.none() | NUMBER,
        NUMBER,
        st.text(max_size=9),
    ),
    st.builds(
        Answered,
        NUMBER,
        st.integers(200, 599),
        st.binary(max_size=99),
        st.text(max_size=9),
        st.just({"a": "b"}),
        st.lists(st.none() | st.tuples(NUMBER, NUMBER), max_size=3),
    ),
    st.builds(Request, NUMBER, st.binary(max_size=99), st.binary(max_size=99), st.booleans(), st.text(max_size=9)),
    st.builds(Response, NUMBER, st.none() | st.binary(max_size=300)),
    st.builds(Opened, NUMBER, st.text(max_size=9)),
    st.builds(Closed, NUMBER),
    st.builds(Full, NUMBER),
    st.builds(Hand, NUMBER, st.binary(max_size=99)),
    st.builds(Ping, NUMBER),
    st.builds(Pong, NUMBER, NUMBER),
    st.just(Stop()),
    st.just(Stopped()),
    st.builds(Enter, NUMBER, st.text(max_size=9), st.lists(st.text(max_size=5), max_size=7).map(tuple)),
    st.builds(Entered, NUMBER, NUMBER, st.text(max_size=9), st.none() | st.just(("id", "", "a", None))),
    st.builds(TurnedAway, NUMBER, st.integers(200, 599), st.binary(max_size=9), st.text(max_size=9), st.just({})),
    st.builds(Charge, NUMBER, NUMBER, st.text(max_size=9)),
    st.builds(Charged, NUMBER, st.booleans()),
    st.builds(Watch, NUMBER, TOPICS),
    st.builds(Watching, NUMBER, st.text(max_size=9), st.text(max_size=9)),
    st.builds(Unwatch, TOPICS),
    st.builds(
        News,
        st.booleans(),
        st.dictionaries(st.text(max_size=9), st.tuples(COUNTS, RATE), max_size=3),
        st.lists(st.just(("likes", 10, [("http://a/", {"likes": 1})], {"http://a/": 0.5})), max_size=2),
        st.lists(st.just(("events", "", [("http://a/", 1.5, 0.5)])), max_size=2),
        st.lists(st.tuples(st.text(max_size=9), COUNTS, COUNTS, RATE), max_size=2),
        st.dictionaries(st.sampled_from(["status", "tree"]), st.binary(max_size=99)),
    ),
    st.builds(Refused, *[st.text(max_size=9)] * 4),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


@given(st.lists(SAID, max_size=6), st.lists(st.integers(0, 10_000), max_size=20))
def test_what_is_said_is_heard_in_its_order_however_it_is_cut_and_delayed(said: list[Message], cuts: list[int]) -> None:
    data = b"".join(map(frame, [Hello(VERSION), *said]))
    receiver = Receiver(Hello)
    heard = [message for piece in pieces(data, cuts) for message in receiver.feed(piece)]

    assert heard == [Hello(VERSION), *said]
    assert not receiver.incomplete


@given(SAID, st.integers(1, 10_000))
def test_a_message_that_is_cut_off_is_not_heard(said: Message, missing: int) -> None:
    receiver = Receiver(Hello)
    list(receiver.feed(frame(Hello(VERSION))))
    whole = frame(said)
    assert not list(receiver.feed(whole[: -(1 + missing % len(whole))]))


@given(st.integers(0, 1 << 32).filter(lambda version: version != VERSION))
def test_another_version_is_refused_whatever_it_goes_on_with(version: int) -> None:
    receiver = Receiver(Hello)
    with pytest.raises(WireError, match=f"speaks version {version}, expected {VERSION}"):
        list(receiver.feed(frame(Hello(version)) + frame(Events(1, {"like": {"https://a.example/": 1}}, 1))))


def test_a_front_of_a_later_version_may_say_more_of_itself_and_is_refused_for_its_version() -> None:
    data = msgspec.msgpack.encode([0, VERSION + 1, "something new"])
    with pytest.raises(WireError, match=f"speaks version {VERSION + 1}"):
        list(Receiver(Hello).feed(len(data).to_bytes(LENGTH_BYTES, "little") + data))


@given(SAID)
def test_the_first_message_says_who_speaks(said: Message) -> None:
    for first in (Hello, Welcome):
        with pytest.raises(WireError, match="the first message is"):
            list(Receiver(first).feed(frame(said)))


@given(st.binary(min_size=LENGTH_BYTES + 1, max_size=200))
def test_noise_is_never_taken_for_something_that_was_said(noise: bytes) -> None:
    receiver = Receiver(Hello)
    heard = []
    try:
        heard = list(receiver.feed(noise))
    except WireError:
        return
    assert heard in ([], [Hello(VERSION)])


def test_a_length_that_no_message_has_is_refused_at_once() -> None:
    receiver = Receiver(Hello)
    list(receiver.feed(frame(Hello(VERSION))))
    with pytest.raises(WireError, match="a message of"):
        list(receiver.feed((MESSAGE_BYTES_MAX + 1).to_bytes(LENGTH_BYTES, "little")))


def test_what_was_heard_before_a_fault_stays_heard() -> None:
    said = Receiver(Hello).feed(frame(Hello(VERSION)) + frame(Ping(1)) + frame(Ping(2))[:LENGTH_BYTES] + b"\xc1" * 8)
    assert [next(said), next(said)] == [Hello(VERSION), Ping(1)]
    with pytest.raises(WireError):
        next(said)


def test_secrets_are_not_shown() -> None:
    fields = {field.name: None for field in msgspec.structs.fields(Welcome)}
    welcome = Welcome(**{**fields, "version": VERSION, "secret": b"a secret"})  # type: ignore[arg-type]
    assert "secret" not in repr(welcome)
