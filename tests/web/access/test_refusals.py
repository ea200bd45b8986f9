"""Refusals in the log: who was not let in, and which setting would let them in."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from structlog.testing import capture_logs

from likd.config.parsers import Bind
from likd.config.settings import Config
from likd.web.access.addresses import Proxies
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.credentials import Credentials
from likd.web.access.gate import Gate
from likd.web.access.refusals import AGAIN_SECONDS, NAME_CHARACTERS_MAX, NAMES_MAX, Refusals
from likd.web.access.tokens import Role, Tokens
from likd.web.problems import Problem

TOKENS = Tokens((b"an-admin-token-of-some-length",), (b"a-write-token-of-some-length",))
PEER = "203.0.113.9"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_name_is_told_of_once_a_minute_with_how_many_were_not() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    with capture_logs() as logs:
        for _ in range(5):
            refusals.tell("the site is not public", "evil.test", "--public-sites")
        refusals.tell("the site is not public", "other.test", "--public-sites")
        clock.now += AGAIN_SECONDS
        refusals.tell("the site is not public", "evil.test", "--public-sites")
    assert [(line["name"], line["setting"], line["suppressed"]) for line in logs] == [
        ("evil.test", "--public-sites", 0),
        ("other.test", "--public-sites", 0),
        ("evil.test", "--public-sites", 4),
    ]
    assert {line["log_level"] for line in logs} == {"warning"}


def test_names_that_attackers_make_up_fill_neither_log_nor_memory() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    with capture_logs() as logs:
        for number in range(1000):
            refusals.tell("the site is not public", f"{number}.test", "--public-sites")
        refusals.tell("pages of this origin are not allowed", "https://mine.test", "--origins")
        assert len(logs) == NAMES_MAX + 1
        assert len(refusals._reasons["the site is not public"].names) == NAMES_MAX
        clock.now += AGAIN_SECONDS
        refusals.tell("the site is not public", "mine.test", "--public-sites")
    assert (logs[-1]["name"], logs[-1]["of_others"]) == ("mine.test", 1000 - NAMES_MAX)


def test_names_are_short_and_printable() -> None:
    with capture_logs() as logs:
        Refusals().tell("reason", "a\r\n\x1b[31m\u202eé\x00" + "x" * 10_000, "--origins")
    assert logs[0]["name"].startswith("a???[31m???x")
    assert len(logs[0]["name"]) == NAME_CHARACTERS_MAX


def refused(
    gate: Gate, credentials: Credentials, need: Role = Role.PUBLIC, urls: tuple[str, ...] = ()
) -> tuple[str, str]:
    """The name and the setting that the log tells of a request that is refused."""
    with capture_logs() as logs:
        for _ in range(3):
            with contextlib.suppress(Problem):
                gate.check_urls(gate.admit(PEER, credentials, need), urls)
    (line,) = logs
    return line["name"], line["setting"]


def test_each_refusal_names_who_it_was_and_what_would_let_it_in() -> None:
    def gate(tokens: Tokens = TOKENS, **settings: Any) -> Gate:
        return Gate(Config(**settings), tokens)

    sites: dict[str, Any] = {"public_sites": ("example.com",)}
    nobody = Credentials()
    url = ("https://www.example.com/",)
    assert refused(gate(**sites), nobody, urls=url) == ("www.example.com", "--public-sites")
    page = Credentials(origin="https://app.test", host="likes.test")
    assert refused(gate(**sites), page) == ("https://app.test", "--origins")
    assert refused(gate(Tokens()), Credentials(host="likes.test:8080")) == ("likes.test:8080", "--origins")
    tokens = "--tokens-file, --write-tokens-file, --admin-token-file"
    assert refused(gate(), nobody) == (PEER, tokens)
    assert refused(gate(), Credentials("Bearer no-such-token")) == (PEER, tokens)
    slow = {**sites, "address_rate": 0.1, "address_burst": 1}
    assert refused(gate(**slow), nobody) == (PEER, "--address-rate")
    behind = Credentials(forwarded_for="198.51.100.7")
    assert refused(gate(**slow), behind) == (PEER, "--trusted-proxies")
    assert refused(gate(**slow, trusted_proxies=(PEER,)), behind) == ("198.51.100.7", "--address-rate")
    writer = Credentials("Bearer a-write-token-of-some-length")
    assert refused(gate(token_rate=0.1, token_burst=1), writer)[1] == "--token-rate"
    assert refused(gate(bind=(Bind("0.0.0.0", 1),)), writer, Role.ADMIN)[1] == tokens


def test_no_token_is_told() -> None:
    with capture_logs() as logs, pytest.raises(Problem):
        Gate(Config(), TOKENS).admit(PEER, Credentials("Bearer a-secret-that-is-mistyped"), Role.PUBLIC)
    assert "mistyped" not in str(logs)


def test_a_connection_without_a_seat_is_told_of() -> None:
    seats = ConnectionLimit(3, 1, Proxies([]), Refusals())
    with capture_logs() as logs:
        for address in (PEER, PEER, "192.0.2.1", "192.0.2.2", "192.0.2.3"):
            seats.take(address)
    assert [line["setting"] for line in logs] == ["--connections-per-address", "--connections-max"]
