"""The button in real browsers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Client, Daemon, wait_until
from tests.e2e.browsers import HURRY, Site, counts, expect, face, shows
from tests.e2e.network import Network

URL = "https://example.com/demo"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "data", "--live-interval", "0.05", "--flush-interval", "0.5") as daemon:
        yield daemon


def net(daemon: Daemon) -> int:
    return counts(daemon, URL)["net"]


def like(daemon: Daemon, times: int = 1) -> None:
    with Client(daemon.address) as client:
        body = b"\n".join([json.dumps({"kind": "like", "url": URL}).encode()] * times)
        assert client.request("POST", "/v1/events", body).status == 202


@pytest.fixture
def page(context: Any, daemon: Daemon) -> Any:
    page = context.new_page()
    page.goto(daemon.url + "/demo")
    shows(page, 0, liked=False)
    return page


@pytest.mark.core
def test_a_visitor_likes_and_takes_it_back(page: Any, daemon: Daemon) -> None:
    face(page).click()
    shows(page, 1, liked=True)
    wait_until(lambda: net(daemon) == 1)
    face(page).click()
    shows(page, 0, liked=False)
    wait_until(lambda: net(daemon) == 0)


def test_a_reload_remembers_and_a_visitor_has_one_like(page: Any, daemon: Daemon) -> None:
    face(page).click()
    wait_until(lambda: net(daemon) == 1)
    page.reload()
    shows(page, 1, liked=True)
    # Even if the browser forgets that it liked, the daemon knows the visitor.
    page.evaluate("localStorage.removeItem('likd:liked')")
    page.reload()
    shows(page, 1, liked=False)
    face(page).click()
    shows(page, 1, liked=True)
    assert net(daemon) == 1


def test_two_tabs_follow_each_other(page: Any, context: Any, daemon: Daemon) -> None:
    other = context.new_page()
    other.goto(daemon.url + "/demo")
    page.bring_to_front()
    face(page).click()
    other.bring_to_front()
    shows(other, 1, liked=True)
    like(daemon, 41)
    shows(other, 42, liked=True)


@pytest.mark.core
def test_counts_of_others_are_live(page: Any, daemon: Daemon) -> None:
    like(daemon, 7)
    shows(page, 7, liked=False)


@pytest.mark.core
def test_likes_while_offline_are_sent_once_later(page: Any, context: Any, daemon: Daemon) -> None:
    context.set_offline(True)
    face(page).click()
    shows(page, 1, liked=True)
    assert net(daemon) == 0
    context.set_offline(False)
    wait_until(lambda: net(daemon) == 1)
    shows(page, 1, liked=True)


def test_a_like_survives_a_page_that_was_closed_while_offline(page: Any, context: Any, daemon: Daemon) -> None:
    context.set_offline(True)
    face(page).click()
    shows(page, 1, liked=True)
    page.close()
    context.set_offline(False)
    context.new_page().goto(daemon.url + "/demo")
    wait_until(lambda: net(daemon) == 1)


def test_the_keyboard_is_enough_and_screen_readers_are_told(page: Any) -> None:
    face(page).focus()
    page.keyboard.press("Space")
    shows(page, 1, liked=True)
    page.keyboard.press("Enter")
    shows(page, 0, liked=False)
    snapshot = face(page).aria_snapshot()
    assert snapshot == '- button "Like, 0"'


@pytest.mark.core
def test_where_a_policy_forbids_websockets_counts_are_polled_and_a_bad_url_disables_its_button_alone(
    context: Any, site: Site, daemon: Daemon
) -> None:
    network = Network(daemon.address)
    page = context.new_page()
    page.add_init_script(HURRY)
    head = f'<meta http-equiv="Content-Security-Policy" content="connect-src {network.url}">'
    bad, good = (f'<like-button url="{url}" server="{network.url}"></like-button>' for url in ("mailto:a@b.c", URL))
    page.goto(site.write(daemon.url, bad + good, head=head))
    shows(page, 0, which=1)
    expect(face(page)).to_be_disabled()
    like(daemon, 3)
    shows(page, 3, which=1)
    face(page, 1).click()
    wait_until(lambda: net(daemon) == 4)
    assert not any(b"/v1/live" in line for line in network.asked)
    network.close()


def test_views_are_counted_once_a_page(page: Any, daemon: Daemon) -> None:
    wait_until(lambda: counts(daemon, URL)["impressions"] == 1)
    page.reload()
    wait_until(lambda: counts(daemon, URL)["impressions"] == 2)


@pytest.mark.parametrize("let_in", [True, False])
def test_a_button_on_another_site(context: Any, site: Site, tmp_path: Path, let_in: bool) -> None:
    sites = "localhost,example.com" if let_in else "example.com"
    secrets = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    with Daemon(tmp_path / "public", "--public-sites", sites, environment=secrets) as daemon:
        address = site.write(daemon.url, f'<like-button url="{URL}"></like-button>')
        page = context.new_page()
        page.goto(address if let_in else address.replace("localhost", "lh.test.localhost"))
        face(page).click()
        if let_in:
            shows(page, 1, liked=True)
            wait_until(lambda: net(daemon) == 1)
        else:
            page.wait_for_timeout(500)
            assert net(daemon) == 0


def test_the_button_works_under_a_strict_content_security_policy(page: Any) -> None:
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text) if "Content Security" in message.text else None)
    page.reload()
    face(page).click()
    shows(page, 1, liked=True)
    assert face(page).evaluate("button => getComputedStyle(button).borderRadius") == "999px"
    assert blocked == []
