"""The button in a real Chromium."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Client, Daemon, wait_until
from tests.e2e.browsers import AS_A_PERSON

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the browser tests are skipped")

URL = "https://example.com/demo"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    playwright.expect.set_options(timeout=15_000)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "data", "--live-interval", "0.05", "--flush-interval", "0.5") as daemon:
        yield daemon


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(reduced_motion="reduce")
    context.add_init_script(AS_A_PERSON)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    assert errors == []


def button(page: Page) -> Locator:
    return page.locator("like-button").first.locator("button")


def shows(page: Page, count: int, *, liked: bool) -> None:
    playwright.expect(button(page)).to_have_attribute("aria-pressed", str(liked).lower())
    playwright.expect(button(page).locator("[part=count]")).to_have_text(str(count))


def net(daemon: Daemon, url: str = URL) -> int:
    with Client(daemon.address) as client:
        count: int = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]["net"]
        return count


def like(daemon: Daemon, times: int = 1) -> None:
    with Client(daemon.address) as client:
        body = b"\n".join([json.dumps({"kind": "like", "url": URL}).encode()] * times)
        assert client.request("POST", "/v1/events", body).status == 202


@pytest.fixture
def page(context: BrowserContext, daemon: Daemon) -> Page:
    page = context.new_page()
    page.goto(daemon.url + "/demo")
    shows(page, 0, liked=False)
    return page


def test_a_visitor_likes_and_takes_it_back(page: Page, daemon: Daemon) -> None:
    button(page).click()
    shows(page, 1, liked=True)
    wait_until(lambda: net(daemon) == 1)
    button(page).click()
    shows(page, 0, liked=False)
    wait_until(lambda: net(daemon) == 0)


def test_a_reload_remembers_and_a_visitor_has_one_like(page: Page, daemon: Daemon) -> None:
    button(page).click()
    wait_until(lambda: net(daemon) == 1)
    page.reload()
    shows(page, 1, liked=True)
    # Even if the browser forgets that it liked, the daemon knows the visitor.
    page.evaluate("localStorage.removeItem('likd:liked')")
    page.reload()
    shows(page, 1, liked=False)
    button(page).click()
    shows(page, 1, liked=True)
    assert net(daemon) == 1


def test_two_tabs_follow_each_other(page: Page, context: BrowserContext, daemon: Daemon) -> None:
    other = context.new_page()
    other.goto(daemon.url + "/demo")
    page.bring_to_front()
    button(page).click()
    other.bring_to_front()
    shows(other, 1, liked=True)
    like(daemon, 41)
    shows(other, 42, liked=True)


def test_counts_of_others_are_live(page: Page, daemon: Daemon) -> None:
    like(daemon, 7)
    shows(page, 7, liked=False)


def test_likes_while_offline_are_sent_once_later(page: Page, context: BrowserContext, daemon: Daemon) -> None:
    context.set_offline(True)
    button(page).click()
    shows(page, 1, liked=True)
    assert net(daemon) == 0
    context.set_offline(False)
    wait_until(lambda: net(daemon) == 1)
    shows(page, 1, liked=True)


def test_a_like_survives_a_page_that_was_closed_while_offline(
    page: Page, context: BrowserContext, daemon: Daemon
) -> None:
    context.set_offline(True)
    button(page).click()
    shows(page, 1, liked=True)
    page.close()
    context.set_offline(False)
    context.new_page().goto(daemon.url + "/demo")
    wait_until(lambda: net(daemon) == 1)


def test_the_keyboard_is_enough_and_screen_readers_are_told(page: Page) -> None:
    button(page).focus()
    page.keyboard.press("Space")
    shows(page, 1, liked=True)
    page.keyboard.press("Enter")
    shows(page, 0, liked=False)
    snapshot = page.locator("like-button").first.aria_snapshot()
    assert snapshot == '- button "Like, 0"'


def test_without_a_websocket_counts_are_polled(context: BrowserContext, daemon: Daemon) -> None:
    page = context.new_page()
    page.add_init_script("""
        window.WebSocket = class {
            static OPEN = 1;
            constructor() { setTimeout(() => this.onclose?.({}), 0); }
            close() {}
        };
        const later = window.setTimeout;
        window.setTimeout = (work, delay) => later(work, Math.min(delay ?? 0, 50));
    """)
    page.goto(daemon.url + "/demo")
    shows(page, 0, liked=False)
    like(daemon, 3)
    shows(page, 3, liked=False)


def test_views_are_counted_once_a_page(page: Page, daemon: Daemon) -> None:
    def impressions() -> int:
        with Client(daemon.address) as client:
            count: int = client.request("GET", f"/v1/counts?url={URL}").json["counts"][0]["impressions"]
            return count

    wait_until(lambda: impressions() == 1)
    page.reload()
    wait_until(lambda: impressions() == 2)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """A site of another origin, whose root the tests write."""
    root = tmp_path / "site"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("let_in", [True, False])
def test_a_button_on_another_site(context: BrowserContext, elsewhere: str, tmp_path: Path, let_in: bool) -> None:
    sites = "localhost,example.com" if let_in else "example.com"
    secrets = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    if not let_in:
        elsewhere = elsewhere.replace("localhost", "lh.test.localhost")
    with Daemon(tmp_path / "public", "--public-sites", sites, environment=secrets) as daemon:
        (tmp_path / "site" / "index.html").write_text(
            f'<!doctype html><script src="{daemon.url}/likd.js" defer></script><like-button url="{URL}"></like-button>'
        )
        page = context.new_page()
        page.goto(elsewhere)
        button(page).click()
        if let_in:
            shows(page, 1, liked=True)
            wait_until(lambda: net(daemon) == 1)
        else:
            page.wait_for_timeout(500)
            assert net(daemon) == 0


def test_the_button_works_under_a_strict_content_security_policy(page: Page) -> None:
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text) if "Content Security" in message.text else None)
    page.reload()
    button(page).click()
    shows(page, 1, liked=True)
    assert button(page).evaluate("button => getComputedStyle(button).borderRadius") == "999px"
    assert blocked == []
