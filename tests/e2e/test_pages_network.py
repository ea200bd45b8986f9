"""Pages where websockets fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, wait_until
from tests.e2e.browsers import HURRY, expect, like
from tests.e2e.network import Network

pytestmark = pytest.mark.thorough

URL = "https://example.com/dashboard"
THROWN = "window.WebSocket = class { constructor() { throw new DOMException('forbidden', 'SecurityError'); } };"
SILENT = """
    // As Chromium does it where a policy forbids them: an error, and no end.
    window.WebSocket = class { constructor() { setTimeout(() => this.onerror?.({}), 0); } close() {} };
"""
POLLED = HURRY + "const every = window.setInterval; window.setInterval = (work, delay) => every(work, delay / 10);"


@pytest.fixture(scope="module")
def private(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of this machine alone."""
    path: Path = tmp_path_factory.mktemp("dashboard") / "data"
    with Daemon(path, "--live-interval", "0.05", "--flush-interval", "0.2") as daemon:
        yield daemon


@pytest.mark.parametrize("forbidden", [THROWN, SILENT], ids=["throw", "error"])
def test_without_websockets_a_page_claims_nothing_and_a_urls_page_asks(
    context: Any, private: Daemon, forbidden: str
) -> None:
    like(private, URL, 3)
    page = context.new_page()
    page.add_init_script(POLLED + forbidden)
    page.goto(private.url + "/")
    expect(page.locator("#link")).to_have_text("Not connected: live figures are out of date")
    expect(page.locator("#now-none")).to_be_hidden()
    page.goto(f"{private.url}/url?url={URL}")
    before = int(page.locator("[data-count=likes]").inner_text())
    like(private, URL, 2)
    expect(page.locator("[data-count=likes]")).to_have_text(str(before + 2))


def test_a_connection_that_dies_silently_is_replaced(context: Any, private: Daemon) -> None:
    like(private, URL)
    network = Network(private.address)
    page = context.new_page()
    page.add_init_script(HURRY)
    page.goto(network.url + "/engine")
    expect(page.locator("#link")).to_have_text("Live")
    network.hush()
    wait_until(lambda: page.evaluate("1") and sum(b"/v1/live" in line for line in network.asked) >= 2)
    expect(page.locator("#link")).to_have_text("Live")
    network.close()
