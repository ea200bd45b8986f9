"""What the browser remembers: over tabs, outages, and where it remembers nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.daemon import Daemon, wait_until
from tests.e2e.browsers import Site, counts, face, like, shows
from tests.e2e.network import Network

pytestmark = pytest.mark.thorough

REFUSED = """
    for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, { get() { throw new DOMException("refused", "SecurityError"); } });
"""
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A URL of the test's own."""
    return f"https://example.com/{request.node.name.replace('[', '/').rstrip(']')}"


def buttons(network: Network, *urls: str) -> str:
    return "".join(f'<like-button url="{url}" server="{network.url}"></like-button>' for url in urls)


def test_two_tabs_that_are_offline_lose_no_like(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    urls = [f"{url}/{n}" for n in range(4)]
    address = site.write(public.url, buttons(network, *urls))
    one, other = context.new_page(), context.new_page()
    for page in (one, other):
        page.goto(address)
        page.bring_to_front()
        for n in range(4):
            shows(page, 0, which=n)
    context.set_offline(True)
    for n, page in enumerate((one, other, one, other)):
        page.bring_to_front()
        face(page, n).click()
        shows(page, 1, liked=True, which=n)
    context.set_offline(False)
    for each in urls:
        wait_until(lambda each=each: counts(public, each)["likes"] == 1)
    for page in (one, other):
        page.bring_to_front()
        for n in range(4):
            shows(page, 1, liked=True, which=n)


def test_likes_that_wait_survive_the_tab_in_whatever_tab_they_were_given(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    urls = [f"{url}/{n}" for n in range(2)]
    address = site.write(public.url, buttons(network, *urls))
    pages = [context.new_page(), context.new_page()]
    for page in pages:
        page.goto(address)
        page.bring_to_front()
        shows(page, 0)
        shows(page, 0, which=1)
    network.refuses = True
    network.hush()
    network.stalls = lambda _: True
    for n, page in enumerate(pages):
        page.bring_to_front()
        face(page, n).click()
        shows(page, 1, liked=True, which=n)
    for page in pages:
        page.close()
    network.refuses = False
    network.stalls = lambda _: False
    context.new_page().goto(address)
    for each in urls:
        wait_until(lambda each=each: counts(public, each)["net"] == 1)


def test_likes_that_an_older_script_left_are_sent(
    context: Any, network: Network, site: Site, public: Daemon, url: str
) -> None:
    left = [{"key": "left-by-an-older-script", "event": {"kind": "like", "url": url, "actor": "me"}}]
    page = context.new_page()
    page.goto(site.write(public.url, "", name="before", script=""))
    page.evaluate("([name, left]) => localStorage.setItem(name, left)", [f"likd:queue {network.url}", json.dumps(left)])
    page.goto(site.write(public.url, buttons(network, url)))
    wait_until(lambda: counts(public, url)["likes"] == 1)


@pytest.mark.parametrize("storage", [REFUSED, FULL], ids=["refused", "full"])
def test_without_storage_a_second_press_takes_back_and_a_reload_makes_no_other_visitor(
    context: Any, public: Daemon, site: Site, url: str, storage: str
) -> None:
    like(public, url, 3)
    page = context.new_page()
    page.add_init_script(storage)
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>'))
    shows(page, 3)
    face(page).click()
    shows(page, 4, liked=True)
    face(page).click()
    shows(page, 3, liked=False)
    face(page).click()
    wait_until(lambda: counts(public, url)["net"] == 4)
    for _ in range(2):
        page.reload()
        shows(page, 4, liked=True)
        face(page).click()
        wait_until(lambda: counts(public, url)["net"] == 3)
        face(page).click()
        wait_until(lambda: counts(public, url)["net"] == 4)


def test_a_windows_name_that_the_page_uses_is_left_alone(context: Any, public: Daemon, site: Site, url: str) -> None:
    page = context.new_page()
    page.add_init_script(REFUSED + "window.name = 'popup';")
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>'))
    face(page).click()
    shows(page, 1, liked=True)
    assert page.evaluate("window.name") == "popup"
    face(page).click()
    shows(page, 0, liked=False)


def test_a_full_storage_of_old_does_not_forget_what_is_pressed(
    context: Any, public: Daemon, site: Site, url: str
) -> None:
    page = context.new_page()
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>'))
    shows(page, 0)
    face(page).click()
    wait_until(lambda: counts(public, url)["net"] == 1)
    page.evaluate(f"() => {{ {FULL} }}")
    face(page).click()
    shows(page, 0, liked=False)
    wait_until(lambda: counts(public, url)["net"] == 0)
