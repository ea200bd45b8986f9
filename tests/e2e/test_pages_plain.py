"""What an admin does to pages and sites in a browser without scripts, below a base path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.daemon import Client, Daemon, wait_until
from tests.e2e.browsers import expect
from tests.e2e.test_pages import assert_no_barriers, axe, only_chromium, page, plain, some_of

__all__ = ["axe", "page", "plain"]
SITE = "https://plain.example.com"
BASE = "/likes"
FLAGS = ["--base-path", BASE, "--flush-interval", "0.2", "--kinds", "clap"]


pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of this machine alone, all of which is below a path."""
    with Daemon(tmp_path_factory.mktemp("plain") / "data", *FLAGS) as daemon:
        yield daemon


def like(daemon: Daemon, url: str, count: int, kind: str = "like") -> None:
    line = json.dumps({"kind": kind, "url": url, "count": count}).encode()
    with Client(daemon.address) as client:
        assert client.request("POST", f"{BASE}/v1/events", line).status == 202


def net(daemon: Daemon, url: str) -> int:
    with Client(daemon.address) as client:
        response = client.request("GET", f"{BASE}/v1/counts?url={quote(url, safe='')}")
        counts: dict[str, int] = response.json["counts"][0]
        return counts["net"]


def text(daemon: Daemon, target: str) -> str:
    with Client(daemon.address) as client:
        return client.request("GET", BASE + target).body.decode()


def url_page(daemon: Daemon, url: str) -> str:
    return f"{daemon.url}/url?url={quote(url, safe='')}"


def test_a_merge_shows_what_it_will_do_and_asks_once_more(plain: Any, daemon: Daemon) -> None:
    new, old = f"{SITE}/new", f"{SITE}/old"
    like(daemon, new, 40)
    like(daemon, old, 2)
    plain.goto(url_page(daemon, new))
    plain.get_by_role("link", name="Merge…").click()
    plain.get_by_label("Page that moves here").fill(f"{SITE}/nothing")
    plain.get_by_role("button", name="Look").click()
    expect(plain.get_by_role("alert")).to_contain_text("Nothing was ever counted for that address")
    plain.go_back()
    plain.get_by_label("Page that moves here").fill(old)
    plain.get_by_role("button", name="Look").click()
    assert plain.locator("table.sum td").all_inner_texts() == ["40", "2", "0", "42"]
    assert net(daemon, new) == 40
    plain.get_by_role("button", name="Merge").click()
    expect(plain.locator("[data-count=net]")).to_have_text("42")
    plain.get_by_role("link", name="Change…").click()
    plain.get_by_role("button", name=f"Remove {old}").click()
    expect(plain.get_by_text("No other address.")).to_be_visible()
    plain.get_by_role("link", name="Back").click()
    assert plain.url == url_page(daemon, new)


def test_what_can_not_be_merged_is_said_beside_the_field(plain: Any, daemon: Daemon) -> None:
    like(daemon, f"{SITE}/same", 1)
    plain.goto(url_page(daemon, f"{SITE}/same"))
    plain.get_by_role("link", name="Merge…").click()
    plain.get_by_label("Page that moves here").fill(f"{SITE}/same")
    plain.get_by_role("button", name="Look").click()
    expect(plain.get_by_role("alert")).to_contain_text("both are already the same URL")


def test_a_page_is_reset_and_a_site_deleted_once_the_word_is_typed(plain: Any, daemon: Daemon) -> None:
    url = "https://gone.example.com/a"
    like(daemon, url, 5)
    plain.goto(url_page(daemon, url))
    plain.get_by_role("link", name="Reset…").click()
    plain.get_by_label("to continue").fill("delete")
    plain.get_by_role("button", name="Reset").click()
    expect(plain.get_by_role("alert")).to_contain_text("expected the word reset")
    assert net(daemon, url) == 5
    plain.get_by_label("to continue").fill("reset")
    plain.get_by_role("button", name="Reset").click()
    expect(plain.locator("[data-count=net]")).to_have_text("0")
    like(daemon, url, 3)
    plain.goto(f"{daemon.url}/site?site=gone.example.com")
    plain.get_by_role("link", name="Delete…").click()
    plain.get_by_label("to continue").fill("delete")
    plain.get_by_role("button", name="Delete").click()
    expect(plain.locator("h1")).not_to_have_text("gone.example.com")
    assert net(daemon, url) == 0


def test_a_link_is_made_and_revoked(plain: Any, daemon: Daemon) -> None:
    url = f"{SITE}/shared"
    like(daemon, url, 5)
    plain.goto(url_page(daemon, url))
    plain.get_by_role("link", name="Share…").click()
    plain.get_by_label("A new link is valid for").select_option("1 year")
    plain.get_by_role("button", name="Create a link").click()
    link = plain.locator(".rows a").first
    expect(link).to_contain_text(f"{BASE}/s/s_")
    link.click()
    shared = plain.url
    expect(plain.locator("[data-count=net]")).to_have_text("5")
    plain.get_by_role("link", name="30 days").click()
    assert plain.url.startswith(shared)
    plain.go_back()
    plain.go_back()
    plain.get_by_role("button", name="Revoke").click()
    expect(plain.locator(".rows a")).to_have_count(0)
    plain.goto(shared)
    expect(plain.locator("h1")).to_have_text("There is no such page")


def test_what_else_is_given_has_its_figure_its_column_and_its_chart(plain: Any, page: Any, daemon: Daemon) -> None:
    url = f"{SITE}/claps"
    like(daemon, url, 30, "clap")
    like(daemon, url, 4, "unclap")
    wait_until(lambda: "30" in text(daemon, f"/v1/history?url={quote(url, safe='')}&unit=day&last=1"))
    plain.goto(url_page(daemon, url))
    expect(plain.locator(".fig", has_text="Claps, all time")).to_contain_text("4 taken back")
    plain.get_by_text("The same numbers as a table").click()
    expect(plain.locator("[data-numbers] tbody tr").last.locator("td[data-more]")).to_have_text(["30", "4"])
    page.goto(url_page(daemon, url))
    expect(page.locator("[data-of=claps] svg .up.open")).to_have_count(1)
    expect(page.locator("[data-of=claps] svg .dn.open")).to_have_count(1)


def test_days_are_those_of_the_time_zone_that_was_chosen(plain: Any, daemon: Daemon) -> None:
    like(daemon, f"{SITE}/days", 1)
    plain.goto(f"{daemon.url}/site?site=plain.example.com&range=today")
    plain.get_by_label("Time zone").fill("Asia/Kolkata")
    plain.locator("#zone").get_by_role("button", name="Set").click()
    assert plain.url.endswith("/site?site=plain.example.com&range=today")
    expect(plain.locator("footer")).to_contain_text("Days begin at 00:00 Asia/Kolkata.")
    expect(plain.locator("[data-part=span]")).to_contain_text("Asia/Kolkata, compared with")
    plain.get_by_label("Time zone").fill("Mars")
    plain.locator("#zone").get_by_role("button", name="Set").click()
    expect(plain.locator("main")).to_contain_text("the name of a time zone, such as Europe/Paris")


@pytest.mark.parametrize("what", ["reset", "delete", "share", "merge"])
def test_a_form_of_another_site_does_nothing(daemon: Daemon, what: str) -> None:
    url = f"{SITE}/forged-{what}"
    like(daemon, url, 1)
    body = f"typed={what}&old={quote(SITE)}/old&days=30".encode()
    with Client(daemon.address) as client:
        path = f"{BASE}/manage?what={what}&url={quote(url, safe='')}"
        assert client.request("POST", path, body, Origin="https://evil.example").status == 403
    assert net(daemon, url) == 1


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_that_asks_has_barriers_in_either_theme(browser: Any, daemon: Daemon, axe: str, width: int) -> None:
    only_chromium(browser)
    url = f"{SITE}/barriers"
    like(daemon, url, 3)
    with Client(daemon.address) as client:
        made = client.request("POST", f"{BASE}/v1/shares", json.dumps({"url": url}).encode())
        assert made.status == 201
    about = f"url={quote(url, safe='')}"
    paths = [f"{BASE}/manage?what={what}&{about}" for what in ("share", "aliases", "merge", "reset", "delete")]
    paths += [f"{paths[2]}&old={quote(url, safe='')}", f"{paths[2]}&old={quote(SITE, safe='')}/other"]
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", bypass_csp=True)
    page = context.new_page()
    for path in some_of([made.json["href"], *paths], width):
        page.goto(daemon.url.removesuffix(BASE) + path)
        page.evaluate(axe)
        assert_no_barriers(page, width, path)
    context.close()
