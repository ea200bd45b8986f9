"""The dashboard where websockets fail, and how its figures are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Client, Daemon, wait_until
from tests.e2e.browsers import HURRY, expect, like, new_page
from tests.e2e.network import Network

URL = "https://example.com/dashboard"
THROWN = "window.WebSocket = class { constructor() { throw new DOMException('forbidden', 'SecurityError'); } };"
SILENT = """
    // As Chromium does it where a policy forbids them: an error, and no end.
    window.WebSocket = class { constructor() { setTimeout(() => this.onerror?.({}), 0); } close() {} };
"""


@pytest.fixture(scope="module")
def private(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of this machine alone."""
    path: Path = tmp_path_factory.mktemp("dashboard") / "data"
    with Daemon(path, "--live-interval", "0.05", "--flush-interval", "0.2") as daemon:
        yield daemon


def many(daemon: Daemon, likes: int) -> None:
    with Client(daemon.address) as client:
        event = json.dumps({"kind": "like", "url": URL}).encode()
        assert client.request("POST", "/v1/events", b"\n".join([event] * likes)).status == 202


@pytest.mark.parametrize("forbidden", [THROWN, SILENT], ids=["throw", "error"])
def test_without_websockets_the_dashboard_claims_nothing_and_a_urls_page_asks(
    context: Any, private: Daemon, forbidden: str
) -> None:
    like(private, URL, 3)
    page = context.new_page()
    page.add_init_script(HURRY + forbidden)
    page.goto(private.url + "/")
    expect(page.locator("#link")).to_have_text("no websocket: figures are old")
    for said in ("#hot-empty", "#top-empty"):
        expect(page.locator(said)).to_be_hidden()
    page.goto(f"{private.url}/url?url={URL}")
    expect(page.locator("[data-count=likes]")).not_to_have_text("–")


def test_a_connection_that_dies_silently_is_replaced(context: Any, private: Daemon) -> None:
    network = Network(private.address)
    page = context.new_page()
    page.add_init_script(HURRY)
    page.goto(network.url + "/")
    expect(page.locator("#link")).to_have_text("live")
    network.hush()
    wait_until(lambda: page.evaluate("1") and sum(b"/v1/live" in line for line in network.asked) >= 2)
    expect(page.locator("#link")).to_have_text("live")
    network.close()


def test_figures_are_written_as_the_page_is_and_stay_on_one_line(browser: Any, private: Daemon) -> None:
    many(private, 4_321)
    page = new_page(browser, locale="de-DE")
    page.goto(private.url + "/")
    figure = page.locator("#top li b")
    expect(figure).to_have_text(re.compile(r"^4,3\d\d$"))
    assert figure.first.evaluate("item => getComputedStyle(item).whiteSpace") == "nowrap"
    page.close()
