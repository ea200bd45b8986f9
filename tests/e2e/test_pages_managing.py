"""What an admin does to pages and sites in the dialogs of the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon import Client, Daemon
from tests.e2e.browsers import counts, expect
from tests.e2e.test_pages import assert_no_barriers, axe, only_chromium, post, some_of

__all__ = ["axe"]
SITE = "https://managed.example.com"


pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of this machine alone."""
    with Daemon(tmp_path_factory.mktemp("managing") / "data", "--flush-interval", "0.2") as daemon:
        yield daemon


@pytest.fixture
def page(browser: Any, context: Any) -> Any:
    only_chromium(browser)
    return context.new_page()


def opened(page: Any, button: str) -> Any:
    """The dialog that a button opens."""
    page.get_by_role("button", name=button).click()
    return page.get_by_role("dialog")


def test_a_merge_is_looked_at_before_it_is_done_and_its_address_let_go_again(page: Any, daemon: Daemon) -> None:
    new, old = f"{SITE}/new", f"{SITE}/old"
    post(daemon, new, likes=40)
    post(daemon, old, likes=2, unlikes=1)
    page.goto(f"{daemon.url}/url?url={new}")
    dialog = opened(page, "Merge…")
    dialog.get_by_label("Page that moves here").fill(f"{SITE}/nothing-there")
    expect(dialog.get_by_role("alert")).to_contain_text("Nothing was ever counted for that address")
    dialog.get_by_label("Page that moves here").fill(old)
    expect(dialog.locator("[data-sum=after]")).to_have_text("41")
    assert [dialog.locator(f"[data-sum={name}]").inner_text() for name in ("new", "old", "both")] == ["40", "1", "0"]
    assert counts(daemon, new)["net"] == 40
    dialog.get_by_role("button", name="Merge", exact=True).click()
    expect(page.locator("[data-count=net]")).to_have_text("41")
    expect(page.locator("[data-part=aliases]")).to_contain_text(old)
    dialog = opened(page, "Change…")
    dialog.get_by_role("button", name=f"Remove {old}").click()
    expect(dialog.get_by_role("button", name=f"Remove {old}")).to_have_count(0)
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("[data-part=aliases]")).to_contain_text("No other address.")
    post(daemon, old, likes=7)
    assert counts(daemon, old)["net"] == 7


def test_what_can_not_be_merged_is_said_in_the_dialog(page: Any, daemon: Daemon) -> None:
    post(daemon, f"{SITE}/same", likes=1)
    page.goto(f"{daemon.url}/url?url={SITE}/same")
    dialog = opened(page, "Merge…")
    dialog.get_by_label("Page that moves here").fill(f"{SITE}/same")
    expect(dialog.get_by_role("alert")).to_contain_text("both are already the same URL")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()


def test_a_page_begins_anew_once_the_word_is_typed(page: Any, daemon: Daemon) -> None:
    url = f"{SITE}/reset"
    post(daemon, url, likes=5)
    page.goto(f"{daemon.url}/url?url={url}")
    dialog = opened(page, "Reset…")
    dialog.get_by_role("button", name="Reset").click()
    expect(dialog.get_by_role("alert")).to_have_text("Type reset to continue.")
    assert counts(daemon, url)["net"] == 5
    dialog.get_by_label("to continue").fill("reset")
    dialog.get_by_role("button", name="Reset").click()
    expect(page.locator("[data-count=net]")).to_have_text("0")
    assert counts(daemon, url)["net"] == 0


def test_a_page_and_a_site_are_deleted_once_the_word_is_typed(page: Any, daemon: Daemon) -> None:
    site = "deleted.example.com"
    for name in ("a", "b"):
        post(daemon, f"https://{site}/{name}", likes=3)
    page.goto(f"{daemon.url}/url?url=https://{site}/a")
    dialog = opened(page, "Delete…")
    dialog.get_by_label("to continue").fill("delete")
    dialog.get_by_label("to continue").press("Enter")
    expect(page.locator("h1")).to_have_text(site)
    expect(page.locator("table.pages tbody tr")).to_have_count(1)
    dialog = opened(page, "Delete…")
    dialog.get_by_label("to continue").fill("delete")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("h1")).not_to_have_text(site)
    assert counts(daemon, f"https://{site}/b")["net"] == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_no_dialog_has_barriers_in_either_theme(browser: Any, daemon: Daemon, axe: str, width: int) -> None:
    url = f"{SITE}/dialogs-{width}"
    post(daemon, url, likes=3)
    with Client(daemon.address) as client:
        for path, body in (("merge", {"old": f"{url}/old", "new": url}), ("shares", {"url": url})):
            assert client.request("POST", f"/v1/{path}", json.dumps(body).encode()).status in (200, 201)
    only_chromium(browser)
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", bypass_csp=True)
    page = context.new_page()
    page.goto(f"{daemon.url}/url?url={url}")
    page.evaluate(axe)
    for name in some_of(["Share…", "Change…", "Merge…", "Reset…", "Delete…"], width):
        dialog = opened(page, name)
        if name in ("Merge…", "Reset…", "Delete…"):
            dialog.locator(".ends .btn").last.click()
        assert_no_barriers(page, width, name)
        dialog.get_by_role("button", name=re.compile("Cancel|Close")).click()
    context.close()


def test_a_link_shows_one_page_and_nothing_else_until_it_is_taken_back(page: Any, browser: Any, daemon: Daemon) -> None:
    url = f"{SITE}/shared"
    post(daemon, url, likes=5)
    page.goto(f"{daemon.url}/url?url={url}")
    dialog = opened(page, "Share…")
    dialog.get_by_role("button", name="Create a link").click()
    link = dialog.get_by_role("link").first
    expect(link).to_contain_text("/s/s_")
    address = daemon.url + link.get_attribute("href")
    context = browser.new_context(java_script_enabled=False)
    reader = context.new_page()
    reader.goto(address)
    expect(reader.locator("[data-count=net]")).to_have_text("5")
    reader.get_by_role("link", name="30 days").click()
    expect(reader.locator("[data-numbers] tbody tr")).to_have_count(30)
    assert reader.url.startswith(address)
    for name in ("Sites", "Engine", "Open the page"):
        expect(reader.get_by_role("link", name=name)).to_have_count(int(name == "Open the page"))
    expect(reader.get_by_role("heading", name="This page")).to_have_count(0)
    dialog.get_by_role("button", name="Revoke").click()
    expect(dialog.get_by_role("link")).to_have_count(0)
    reader.goto(address)
    expect(reader.locator("h1")).to_have_text("There is no such page")
    context.close()
