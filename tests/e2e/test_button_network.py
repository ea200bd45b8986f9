"""A network that refuses, stalls, goes silent and comes back: the count is shown, and each like arrives once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, wait_until
from tests.e2e.browsers import HURRY, SOCKETS, Site, counts, face, hide, like, show, shows
from tests.e2e.network import Network, is_handshake

pytestmark = pytest.mark.thorough

URL = "https://example.com/network"
BLOCKED = """
    // An error, and no end.
    window.WebSocket = class {
        static OPEN = 1;
        constructor() { setTimeout(() => this.onerror?.({}), 0); }
        close() {}
    };
"""
CLOSED = BLOCKED.replace("onerror", "onclose")
THROWN = "window.WebSocket = class { constructor() { throw new DOMException('forbidden', 'SecurityError'); } };"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A URL of the test's own."""
    return f"https://example.com/{request.node.name.replace('[', '/').rstrip(']')}"


def page_of(context: Any, network: Network, site: Site, public: Daemon, *urls: str, hurry: bool = True) -> Any:
    """A page with buttons that reach the daemon over the network."""
    page = context.new_page()
    if hurry:
        page.add_init_script(HURRY)
    buttons = "".join(f'<like-button url="{url}" server="{network.url}"></like-button>' for url in urls)
    page.goto(site.write(public.url, buttons))
    return page


def test_a_handshake_that_is_never_answered_keeps_no_count_back(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    network.stalls = is_handshake
    like(public, url, 3)
    page = page_of(context, network, site, public, url, hurry=False)
    began = time.monotonic()
    shows(page, 3)
    assert time.monotonic() - began < 4


def test_counts_are_polled_while_handshakes_are_never_answered(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    network.stalls = is_handshake
    page = page_of(context, network, site, public, url)
    shows(page, 0)
    like(public, url, 3)
    shows(page, 3)
    network.stalls = lambda _: False
    like(public, url)
    shows(page, 4)


def test_a_connection_that_dies_silently_is_replaced(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    page = page_of(context, network, site, public, url)
    shows(page, 0)
    wait_until(lambda: any(b"/v1/live" in line for line in network.asked))
    network.hush()
    like(public, url, 2)
    shows(page, 2)


def test_online_opens_a_fresh_connection(context: Any, network: Network, site: Site, public: Daemon, url: str) -> None:
    page = page_of(context, network, site, public, url, hurry=False)
    like(public, url)
    shows(page, 1)
    network.hush()
    like(public, url, 2)
    began = time.monotonic()
    page.evaluate("dispatchEvent(new Event('online'))")
    shows(page, 3)
    assert time.monotonic() - began < 5
    assert sum(b"/v1/live" in line for line in network.asked) == 2


def test_a_like_that_is_never_answered_holds_back_no_other_and_counts_once(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    page = page_of(context, network, site, public, url, url + "/other")
    shows(page, 0)
    stalled: list[bytes] = []

    def first_like(data: bytes) -> bool:
        if b"POST /v1/events" in data and not stalled:
            stalled.append(data)
            return True
        return False

    network.stalls = first_like
    face(page).click()
    wait_until(lambda: stalled)
    face(page, 1).click()
    wait_until(lambda: counts(public, url + "/other")["net"] == 1)
    wait_until(lambda: counts(public, url)["net"] == 1)
    shows(page, 1, liked=True)
    shows(page, 1, liked=True, which=1)
    assert counts(public, url)["likes"] == 1


def test_a_like_goes_out_within_seconds_of_an_outage(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    page = page_of(context, network, site, public, url, hurry=False)
    shows(page, 0)
    network.refuses = True
    network.stalls = lambda _: True
    network.hush()
    face(page).click()
    shows(page, 1, liked=True)
    # Long enough for the pauses between attempts to grow.
    page.wait_for_timeout(12_000)
    assert counts(public, url)["net"] == 0
    network.refuses = False
    network.stalls = lambda _: False
    began = time.monotonic()
    wait_until(lambda: counts(public, url)["net"] == 1)
    assert time.monotonic() - began < 8


def test_an_outage_is_a_state_of_the_button(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    network.refuses = True
    page = page_of(context, network, site, public, url)
    page.wait_for_function("document.querySelector('like-button').matches(':state(offline)')")
    network.refuses = False
    page.wait_for_function("document.querySelector('like-button').matches(':state(ready)')")
    shows(page, 0)


@pytest.mark.parametrize("forbidden", [BLOCKED, CLOSED, THROWN], ids=["error", "close", "throw"])
def test_without_websockets_counts_are_polled(
    context: Any, network: Network, site: Site, public: Daemon, url: str, forbidden: str
) -> None:
    context.add_init_script(forbidden)
    page = page_of(context, network, site, public, url)
    shows(page, 0)
    like(public, url, 3)
    shows(page, 3)


def test_an_answer_that_was_overtaken_by_news_is_not_shown(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    page = context.new_page()
    # The read at connecting is answered when the websocket has told more.
    page.add_init_script("""
        const read = window.fetch;
        window.fetch = async (...asked) => {
            const answer = await read(...asked);
            if (window.held === undefined) await new Promise((release) => (window.held = release));
            return answer;
        };
    """)
    page.goto(site.write(public.url, f'<like-button url="{url}" server="{network.url}"></like-button>'))
    shows(page, 0)
    page.wait_for_function("() => Boolean(window.held)")
    like(public, url, 2)
    shows(page, 2)
    page.evaluate("held()")
    page.wait_for_timeout(300)
    shows(page, 2)


def test_a_daemon_that_comes_back_is_found(context: Any, tmp_path: Path, site: Site, url: str) -> None:
    flags = ["--address-rate", "0", "--live-interval", "0.05"]
    with Daemon(tmp_path / "data", *flags) as daemon:
        network = Network(daemon.address)
        page = context.new_page()
        page.add_init_script(HURRY)
        page.goto(site.write(daemon.url, f'<like-button url="{url}" server="{network.url}"></like-button>'))
        shows(page, 0)
        daemon.stop()
        face(page).click()
        shows(page, 1, liked=True)
    with Daemon(tmp_path / "data", *flags) as daemon:
        network.lead(daemon.address)
        wait_until(lambda: counts(daemon, url)["net"] == 1)
        like(daemon, url)
        shows(page, 2, liked=True)
    network.close()


def test_a_hidden_page_hangs_up_and_is_live_again_when_it_is_seen(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    context.add_init_script(SOCKETS)
    page = page_of(context, network, site, public, url, hurry=False)
    shows(page, 0)
    page.wait_for_function("sockets.length === 1 && sockets[0].readyState === 1")
    hide(page)
    page.wait_for_function("sockets[0].readyState > 1")
    like(public, url, 2)
    show(page)
    shows(page, 2)
    page.wait_for_function("sockets.length === 2 && sockets[1].readyState === 1")
    like(public, url)
    shows(page, 3)


def test_a_page_to_which_the_visitor_goes_back_is_live(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    away = site.write(public.url, "", name="away", script="")
    page = page_of(context, network, site, public, url, hurry=False)
    face(page).click()
    shows(page, 1, liked=True)
    wait_until(lambda: counts(public, url)["net"] == 1)
    page.goto(away)
    like(public, url, 2)
    page.go_back()
    shows(page, 3, liked=True)
    like(public, url)
    shows(page, 4, liked=True)
