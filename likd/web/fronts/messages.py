"""What front and engine say to each other: one small class a meaning."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

VERSION = 2
"""Grows with each change of what is said here: both ends have to be of the same."""

Topic: TypeAlias = tuple[str, str, str]
"""What is watched: what kind of thing, and which, in up to two words (`likd.web.fronts.topics`)."""


class Hello(msgspec.Struct, tag=0, array_like=True, frozen=True):
    """A front is there. The first message of all; its form never changes."""

    version: int


class Welcome(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """What a front has to know. The first message of the engine."""

    version: int
    base: str
    tls: tuple[str, str] | None
    """The files of the certificates and of the key, if clients speak TLS."""
    binds: tuple[str, ...]
    origins: tuple[str, ...]
    connections_max: int
    head_seconds: float
    idle_seconds: float
    body_bytes_max: int
    bodies_bytes_max: int
    """The front's part of the memory for bodies."""
    urls_max: int
    kinds: tuple[str, ...]
    done: dict[str, str]
    """Kinds of which an actor has one at a time, each with what is done."""
    same_schemes: bool
    drop_parameters: tuple[str, ...]
    secret: bytes
    """By which the keys of actors are made."""
    public_sites: tuple[str, ...]
    counts: tuple[str, ...]
    """The names of what is counted."""
    live_interval: float
    watches_max: int
    admin_tokens: tuple[bytes, ...]
    write_tokens: tuple[bytes, ...]
    trusted_proxies: tuple[str, ...]
    public_actors: str
    ignore_bots: bool
    address_limit: tuple[float, int]
    """Events a second and at once, as the answers tell it: who has how many left is known to the engine."""
    token_limit: tuple[float, int]

    def __repr__(self) -> str:
        return f"Welcome(version={self.version})"


class Events(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """Single events of several requests, which their callers may post. Answered."""

    number: int
    events: dict[str, dict[str, int]]
    """Those that have no price."""
    requests: int
    """How many they are of."""
    priced: list[tuple[str, str, str]] = []
    """Kind and URL of the others, and the name of who pays for each."""


class Submit(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """The events of one request, which its caller may post. Answered."""

    number: int
    events: dict[str, dict[str, int]]
    size: int
    key: tuple[str, bytes] | None
    acts: list[tuple[str, str, bytes]]
    act_urls: int | None
    ignored: int = 0
    payer: str = ""
    """The name of who pays for them, if they have a price."""


class Answered(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """What is answered to the events of a number."""

    number: int
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]
    left: list[tuple[int, int] | None] = []
    """Events that each payer has left, and after how many seconds more. None had any: its request is not answered yet,
    and comes again as it came, to be refused by the whole gate."""


class Request(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """A request as it came, which the engine answers whole."""

    number: int
    head: bytes
    body: bytes
    keep_alive: bool
    address: str


class Response(msgspec.Struct, tag=6, array_like=True, frozen=True):
    """The bytes of its answer; None if it will have none."""

    number: int
    data: bytes | None


class Opened(msgspec.Struct, tag=7, array_like=True, frozen=True):
    """A connection was accepted. The engine may say that there is no seat."""

    seat: int
    address: str


class Full(msgspec.Struct, tag=8, array_like=True, frozen=True):
    """There is no seat for a connection: it is to be closed."""

    seat: int


class Closed(msgspec.Struct, tag=9, array_like=True, frozen=True):
    """A connection has ended, and its seat is free."""

    seat: int


class Hand(msgspec.Struct, tag=10, array_like=True, frozen=True):
    """A connection goes over to the engine, with its seat and what was read of it. Its descriptor comes along."""

    seat: int
    data: bytes


class Ping(msgspec.Struct, tag=11, array_like=True, frozen=True):
    """Is the front alive?"""

    number: int


class Pong(msgspec.Struct, tag=12, array_like=True, frozen=True):
    """It is. So many of its requests and connections ended because of a fault of likd's own."""

    number: int
    faults: int


class Enter(msgspec.Struct, tag=14, array_like=True, frozen=True):
    """Is a websocket of this address let in that shows these credentials? Answered by Entered or TurnedAway."""

    number: int
    address: str
    credentials: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Enter(number={self.number}, address={self.address!r})"


class Entered(msgspec.Struct, tag=15, array_like=True, frozen=True):
    """It is, as this caller."""

    number: int
    role: int
    name: str
    share: tuple[str, str, str, int | None] | None


class TurnedAway(msgspec.Struct, tag=23, array_like=True, frozen=True):
    """It is not; what it is told instead."""

    number: int
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]


class Charge(msgspec.Struct, tag=16, array_like=True, frozen=True):
    """A caller that was let in says something more, which has its price. Answered by Charged."""

    number: int
    role: int
    name: str


class Charged(msgspec.Struct, tag=17, array_like=True, frozen=True):
    """Whether it had that left."""

    number: int
    had: bool


class Watch(msgspec.Struct, tag=18, array_like=True, frozen=True):
    """Somebody watches these now, of whom nobody did here before. Answered by Watching, after News of them all."""

    number: int
    topics: list[Topic]


class Watching(msgspec.Struct, tag=19, array_like=True, frozen=True):
    """They are watched; or not, because the store has no such part, or does not answer."""

    number: int
    unsupported: str = ""
    away: str = ""


class Unwatch(msgspec.Struct, tag=20, array_like=True, frozen=True):
    """Nobody watches these here any more."""

    topics: list[Topic]


class News(msgspec.Struct, tag=21, array_like=True, frozen=True):
    """The newest state of what is watched and has changed, or is new: once for all who watch it there."""

    whole: bool
    """Whether those who watch are to be told now; else more follows."""
    urls: dict[str, tuple[dict[str, int], float]] = {}
    """Counts and rate of each."""
    tops: list[tuple[str, int, list[tuple[str, dict[str, int]]], dict[str, float]]] = []
    """By what, how many, the list, and the rates of those that are in it."""
    hot: list[tuple[Literal["events", "likes"], str, list[tuple[str, float, float]]]] = []
    """By what, of which site, and the hottest, each with its rate and likes."""
    sites: list[tuple[str, dict[str, int], dict[str, int], float]] = []
    """The host, its counts, those of today, and its rate."""
    status: dict[str, bytes] = {}
    """The daemon's, each part as JSON, if it is asked for."""


class Stopped(msgspec.Struct, tag=24, array_like=True, frozen=True):
    """Every connection has ended or was handed over. With TLS the front still encrypts what is said on the latter."""


class Refused(msgspec.Struct, tag=22, array_like=True, frozen=True):
    """A front has refused a caller: with which status, why, by the name it gave, and what would let it in."""

    status: str
    reason: str
    name: str
    setting: str


class Stop(msgspec.Struct, tag=13, array_like=True, frozen=True):
    """Accept nothing more, answer what was asked, and end."""


Message: TypeAlias = (
    Hello
    | Welcome
    | Events
    | Submit
    | Answered
    | Request
    | Response
    | Opened
    | Full
    | Closed
    | Hand
    | Ping
    | Pong
    | Stop
    | Enter
    | Entered
    | TurnedAway
    | Charge
    | Charged
    | Watch
    | Watching
    | Unwatch
    | News
    | Refused
    | Stopped
)
