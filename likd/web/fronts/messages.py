"""What fronts and engine say to each other: one small class for each meaning."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

VERSION = 2
"""Grows with each change of these messages: both ends must have the same."""

Topic: TypeAlias = tuple[str, str, str]
"""What is watched: the kind of thing, and which one, in up to two words (`likd.web.fronts.topics`)."""


class Hello(msgspec.Struct, tag=0, array_like=True, frozen=True):
    """A front has connected. The very first message; its form never changes."""

    version: int


class Welcome(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """What a front has to know. The engine's first message."""

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
    """The front's share of the memory for bodies."""
    urls_max: int
    kinds: tuple[str, ...]
    done: dict[str, str]
    """Kinds of which an actor has at most one per URL, and those that take them back, each with the former."""
    same_schemes: bool
    drop_parameters: tuple[str, ...]
    secret: bytes
    """The secret with which actors' keys are made."""
    public_sites: tuple[str, ...]
    counts: tuple[str, ...]
    """The names of the counts."""
    live_interval: float
    watches_max: int
    admin_tokens: tuple[bytes, ...]
    write_tokens: tuple[bytes, ...]
    trusted_proxies: tuple[str, ...]
    public_actors: str
    ignore_bots: bool
    address_limit: tuple[float, int]
    """The limit (events per second and at once) for answers; only the engine knows how many are left."""
    token_limit: tuple[float, int]

    def __repr__(self) -> str:
        return f"Welcome(version={self.version})"


class Events(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """Single events from several requests, which their callers may post. Answered."""

    number: int
    events: dict[str, dict[str, int]]
    """The events that count against no limit."""
    requests: int
    """How many requests they come from."""
    priced: list[tuple[str, str, str]] = []
    """The kind and URL of the others, with the name of each one's payer."""


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
    """The name of their payer, if they count against a limit."""


class Answered(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """The answer to the events with a number."""

    number: int
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]
    left: list[tuple[int, int] | None] = []
    """What each payer has left, and after how many seconds there is more.

    None: it had nothing left; its request is not answered yet, and comes again unchanged, to be refused by the complete
    gate.
    """


class Request(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """A request as received, which the engine answers completely."""

    number: int
    head: bytes
    body: bytes
    keep_alive: bool
    address: str


class Response(msgspec.Struct, tag=6, array_like=True, frozen=True):
    """The bytes of its answer; None if it will get none."""

    number: int
    data: bytes | None


class Opened(msgspec.Struct, tag=7, array_like=True, frozen=True):
    """A connection was accepted. The engine may answer that there is no seat."""

    seat: int
    address: str


class Full(msgspec.Struct, tag=8, array_like=True, frozen=True):
    """There is no seat for a connection: close it."""

    seat: int


class Closed(msgspec.Struct, tag=9, array_like=True, frozen=True):
    """A connection has ended, and its seat is free."""

    seat: int


class Hand(msgspec.Struct, tag=10, array_like=True, frozen=True):
    """A connection moves to the engine, with its seat and what was read from it. Its descriptor comes along."""

    seat: int
    data: bytes


class Ping(msgspec.Struct, tag=11, array_like=True, frozen=True):
    """Is the front alive?"""

    number: int


class Pong(msgspec.Struct, tag=12, array_like=True, frozen=True):
    """It is. Tells how many of its requests and connections ended because of a fault in likd."""

    number: int
    faults: int


class Enter(msgspec.Struct, tag=14, array_like=True, frozen=True):
    """Is a websocket from this address with these credentials let in? Answered by Entered or TurnedAway."""

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
    """It is not; this is the answer that it gets instead."""

    number: int
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]


class Charge(msgspec.Struct, tag=16, array_like=True, frozen=True):
    """A caller that was let in sends one more message, which counts against its limit. Answered by Charged."""

    number: int
    role: int
    name: str


class Charged(msgspec.Struct, tag=17, array_like=True, frozen=True):
    """Whether the limit allows it."""

    number: int
    had: bool


class Watch(msgspec.Struct, tag=18, array_like=True, frozen=True):
    """Somebody watches these now, and nobody here did before. Answered by Watching, after News about all of them."""

    number: int
    topics: list[Topic]


class Watching(msgspec.Struct, tag=19, array_like=True, frozen=True):
    """They are watched; or not, because the store lacks that part or does not answer."""

    number: int
    unsupported: str = ""
    away: str = ""


class Unwatch(msgspec.Struct, tag=20, array_like=True, frozen=True):
    """Nobody watches these here any more."""

    topics: list[Topic]


class News(msgspec.Struct, tag=21, array_like=True, frozen=True):
    """The newest state of watched things that changed or are new, once for all who watch them there."""

    whole: bool
    """Whether the watchers are to be told now; if not, more follows."""
    urls: dict[str, tuple[dict[str, int], float]] = {}
    """Counts and rate of each."""
    tops: list[tuple[str, int, list[tuple[str, dict[str, int]]], dict[str, float]]] = []
    """By what, how many, the list, and the rates of the URLs in it."""
    hot: list[tuple[Literal["events", "likes"], str, list[tuple[str, float, float]]]] = []
    """By what, of which site, and the hottest, each with its rate and likes."""
    sites: list[tuple[str, dict[str, int], dict[str, int], float]] = []
    """The host, its counts, today's counts, and its rate."""
    status: dict[str, bytes] = {}
    """The daemon's status, each part as JSON, if it was asked for."""


class Stopped(msgspec.Struct, tag=24, array_like=True, frozen=True):
    """Every connection has ended or was handed over. With TLS the front still encrypts what is said on the latter."""


class Refused(msgspec.Struct, tag=22, array_like=True, frozen=True):
    """A front has refused a caller: the status, the reason, the name it gave, and the setting that would let it in."""

    status: str
    reason: str
    name: str
    setting: str


class Stop(msgspec.Struct, tag=13, array_like=True, frozen=True):
    """Accept nothing more, answer pending requests, and end."""


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
