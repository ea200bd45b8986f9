"""Small rooms: canonical URLs, settings, the write tolerance, heads of requests."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from likd.config.parsers import Bind
from likd.config.settings import ConfigError, load
from likd.draining.write_rate import WriteTolerance
from likd.ingest.urls import URL_BYTES_MAX, canonical
from likd.web.express.http1 import Heads, Operation


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com:443/a/../b#part", "https://example.com/b"),
        ("http://example.com:80/?q=1#x", "http://example.com/?q=1"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("https://example.com/ä b", "https://example.com/%C3%A4%20b"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("https://example.com/a%2fb", "https://example.com/a%2fb"),
    ],
)
def test_urls_are_brought_to_their_canonical_form(url: str, expected: str) -> None:
    assert canonical(url) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "/", "example.com", "ftp://example.com/", "javascript:alert(1)", "https://", "https://[::1"),
        *("https://a b/", "https://example.com/" + "x" * URL_BYTES_MAX, "https://example.com/" + "ä" * 400),
        " https://example.com/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected an absolute http or https URL"):
        canonical(url)


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, "https://" + text, "http://example.com/" + text):
        try:
            href = canonical(url)
        except ValueError:
            continue
        assert canonical(href) == href
        assert "#" not in href
        assert href.isascii()
        assert len(href) <= URL_BYTES_MAX


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "likd.toml"
    file.write_text('table_limit = 1\nflush_interval = 2\nbind = "127.0.0.1:1"\n')

    config = load(
        {"table_limit": "3"},
        file=file,
        environment={"LIKD_TABLE_LIMIT": "2", "LIKD_FLUSH_INTERVAL": "4"},
    )

    assert (config.table_limit, config.flush_interval, config.bind) == (3, 4.0, Bind("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("flags", "environment", "toml", "message"),
    [
        ({"table_limit": "0"}, {}, "", "--table-limit: '0' is not a whole number from 1 to 1000000"),
        ({"table_limit": "x"}, {}, "", "--table-limit: 'x' is not a whole number"),
        ({"bind": "x"}, {}, "", "--bind: 'x' is not HOST:PORT"),
        ({"durability": "maybe"}, {}, "", "--durability: 'maybe' is not one of fsync, os, none"),
        ({}, {"LIKD_POOL_SIZE": "-1"}, "", "LIKD_POOL_SIZE: '-1' is not"),
        ({}, {}, "pool_size = true", "pool_size: True is not a whole number"),
        ({}, {}, "no_such = 1", "there is no setting 'no_such'"),
        ({}, {}, "= broken", "Invalid statement"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, flags: dict[str, str], environment: dict[str, str], toml: str, message: str
) -> None:
    file = tmp_path / "likd.toml"
    file.write_text(toml)

    with pytest.raises(ConfigError) as wrong:
        load(flags, file=file, environment=environment)

    assert message in str(wrong.value)


async def test_the_tolerance_lets_through_so_many_rows_a_second(autojump_clock: MockClock) -> None:
    tolerance = WriteTolerance(100)
    began = trio.current_time()
    for _ in range(50):
        await tolerance.take(40)

    assert trio.current_time() - began == pytest.approx(50 * 40 / 100, abs=2.0)


async def test_rows_that_were_not_needed_are_not_saved_up(autojump_clock: MockClock) -> None:
    tolerance = WriteTolerance(100)
    await trio.sleep(3600)
    began = trio.current_time()
    for _ in range(10):
        await tolerance.take(100)

    assert trio.current_time() - began >= 8


HEAD = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"


def test_heads_are_read_and_remembered() -> None:
    heads = Heads()
    head = heads.read(HEAD + b"Content-Type: text/plain\r\n\r\n")

    assert (head.operation, head.length, head.keep_alive, head.plain) == (Operation.EVENTS, 5, True, True)
    assert heads.read(HEAD + b"Content-Type: text/plain\r\n\r\n") is head
    key = HEAD + b"Idempotency-Key: k\r\n\r\n"
    assert heads.read(key) is not heads.read(key), "keys are not remembered"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /v1/events HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ],
)
def test_what_is_not_hot_is_for_the_other_lane(head: bytes) -> None:
    assert Heads().read(head).operation is Operation.COLD


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("/badge.svg?url=https://a.example/", Operation.BADGE),
        ("/pixel.gif?url=https://a.example/", Operation.PIXEL),
        ("/likd.js", Operation.FILE),
        ("/likd.0123456789abcdef.js", Operation.FILE),
        ("/static/likd.css?0123", Operation.FILE),
        ("/openapi.json", Operation.FILE),
        ("/v1/history?url=https://a.example/&unit=day", Operation.HISTORY),
        ("/v1/top", Operation.TOP),
        ("/v1/counts?url=https://a.example/", Operation.COUNTS),
        ("/healthz", Operation.HEALTH),
    ],
)
def test_what_pages_are_full_of_is_hot(target: str, operation: Operation) -> None:
    browser = b"Host: a\r\nAccept: image/avif,*/*\r\nAccept-Encoding: gzip, br\r\nReferer: https://a.example/\r\n\r\n"
    for method in ("GET", "HEAD"):
        head = Heads().read(f"{method} {target} HTTP/1.1\r\n".encode() + browser)
        assert (head.operation, head.head_only) == (operation, method == "HEAD")


@given(st.data())
def test_mutated_heads_are_read_or_for_the_other_lane(data: st.DataObject) -> None:
    head = bytearray(HEAD + b"Content-Type: text/plain\r\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(head) - 1))
        head[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    read = Heads().read(bytes(head) + b"\r\n")

    assert read.operation in (Operation.EVENTS, Operation.COLD)
