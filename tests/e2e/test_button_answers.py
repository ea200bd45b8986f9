"""What one button is answered is no matter of the others, and what is refused is taken back."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, wait_until
from tests.e2e.browsers import SOCKETS, Site, counts, expect, face, like, shows

BAD = {
    "elsewhere": "https://elsewhere.test/",
    "mail": "mailto:a@example.com",
    "long": f"https://example.com/{'x' * 2100}",
    "endless": f"https://example.com/{'x' * 20_000}",
    "nohost": "http://",
    "bracket": "http://[x",
}


def refused(page: Any, which: str) -> None:
    expect(face(page, which)).to_be_disabled()
    assert (
        page.locator(f"#{which}").evaluate("button => button.matches(':state(refused)') && button.state") == "refused"
    )


def test_a_bad_url_disables_its_button_alone_and_the_reason_is_told(context: Any, public: Daemon, site: Site) -> None:
    like(public, "https://example.com/good", 3)
    buttons = "".join(f'<like-button id="{name}" url="{url}" impression></like-button>' for name, url in BAD.items())
    good = [f'<like-button id="{name}" url="https://example.com/{name}" impression></like-button>' for name in "ab"]
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type == "warning" else None)
    page.goto(site.write(public.url, good[0] + buttons + good[1]))
    for name in BAD:
        refused(page, name)
    for name in "ab":
        shows(page, 0, which=name)
        wait_until(lambda name=name: counts(public, f"https://example.com/{name}")["impressions"] == 1)
        face(page, name).click()
        shows(page, 1, liked=True, which=name)
        wait_until(lambda name=name: counts(public, f"https://example.com/{name}")["net"] == 1)
    like(public, "https://example.com/b", 4)
    shows(page, 5, liked=True, which="b")
    assert page.locator("#a").evaluate("button => button.matches(':state(ready)')")
    assert sum("the URL is not on a public site of this daemon" in text for text in told) == 1
    assert sum("expected an absolute http or https URL of at most 2048 bytes" in text for text in told) == 5


def test_of_twenty_mixed_buttons_each_is_what_its_own_url_and_attributes_say(
    context: Any, public: Daemon, site: Site
) -> None:
    looks = ["", "impression", "words", 'theme="dark"', 'max="3"', 'lang="fr"', 'label="Yes"']
    good = {f"good{n}": f'url="https://example.com/mixed/{n}" {looks[n % len(looks)]}' for n in range(13)}
    bad = {name: f'url="{url}"' for name, url in BAD.items()} | {"kind": 'url="https://example.com/mixed/0" kind="wow"'}
    for n in range(13):
        like(public, f"https://example.com/mixed/{n}", n % 4)
    # Every other one is bad, while there are bad ones.
    mixed = [pair for pairs in itertools.zip_longest(good.items(), bad.items()) for pair in pairs if pair]
    assert len(mixed) == 20
    page = context.new_page()
    page.add_init_script(SOCKETS)
    page.goto(
        site.write(public.url, "".join(f'<like-button id="{name}" {rest}></like-button>' for name, rest in mixed))
    )
    for name in bad:
        refused(page, name)
    for n, name in enumerate(good):
        shows(page, n % 4, which=name)
        face(page, name).click()
        shows(page, n % 4 + 1, liked=True, which=name)
    for n, name in enumerate(good):
        like(public, f"https://example.com/mixed/{n}")
        shows(page, n % 4 + 2, liked=True, which=name)
    assert page.evaluate("sockets.map((socket) => socket.readyState)") == [1]


def test_a_bad_url_disables_its_button_alone_where_counts_are_polled(context: Any, public: Daemon, site: Site) -> None:
    like(public, "https://example.com/polled", 2)
    page = context.new_page()
    page.add_init_script("window.WebSocket = class { constructor() { throw new Error('forbidden'); } };")
    buttons = "".join(f'<like-button id="{name}" url="{url}"></like-button>' for name, url in BAD.items())
    page.goto(
        site.write(public.url, buttons + '<like-button id="good" url="https://example.com/polled"></like-button>')
    )
    shows(page, 2, which="good")
    for name in BAD:
        refused(page, name)


def test_a_good_url_after_a_bad_one_is_shown(context: Any, public: Daemon, site: Site) -> None:
    like(public, "https://example.com/after")
    page = context.new_page()
    page.goto(site.write(public.url, '<like-button url="http://[x"></like-button>'))
    expect(face(page)).to_be_disabled()
    for bad in ("http://[y", "https://elsewhere.test/"):
        page.evaluate("url => document.querySelector('like-button').setAttribute('url', url)", bad)
        expect(face(page)).to_be_disabled()
    page.evaluate("document.querySelector('like-button').setAttribute('server', 'http://[z')")
    page.evaluate("document.querySelector('like-button').setAttribute('url', 'https://example.com/after')")
    expect(face(page)).to_be_disabled()
    page.evaluate("document.querySelector('like-button').removeAttribute('server')")
    shows(page, 1)
    face(page).click()
    shows(page, 2, liked=True)


def test_a_refused_like_is_taken_back_at_once(context: Any, public: Daemon, site: Site) -> None:
    url = "https://example.com/taken-back"
    like(public, url, 5)
    problem = json.dumps({"status": 403, "detail": "not today"})
    headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
    context.route("**/v1/events", lambda route: route.fulfill(status=403, headers=headers, body=problem))
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>'))
    shows(page, 5)
    page.evaluate("""() => {
        window.heard = [];
        const hear = ({ type, detail }) => heard.push([type, detail.detail]);
        for (const type of ["like", "refused"]) addEventListener(type, hear);
    }""")
    face(page).click()
    page.wait_for_function("heard.length === 2")
    shows(page, 5, liked=False)
    assert page.evaluate("heard[1]") == ["refused", "not today"]
    assert any("not today" in text for text in told)
    page.reload()
    shows(page, 5, liked=False)


def test_a_like_that_is_taken_back_while_it_is_on_its_way_leaves_the_count_as_it_was(
    context: Any, public: Daemon, site: Site
) -> None:
    url = "https://example.com/hesitating"
    like(public, url, 5)
    page = context.new_page()
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>'))
    shows(page, 5)
    shown = "document.querySelector('like-button').shadowRoot.querySelector('[part=count]').textContent"
    page.evaluate(f"""() => {{
        const button = document.querySelector("like-button");
        const face = button.shadowRoot.querySelector("button");
        window.seen = [];
        for (const _ of [1, 2, 3]) {{ face.click(); seen.push({shown}); }}
    }}""")
    assert page.evaluate("seen") == ["6", "5", "6"]
    wait_until(lambda: counts(public, url)["net"] == 6)
    shows(page, 6, liked=True)


def test_any_number_of_views_is_counted(context: Any, public: Daemon, site: Site) -> None:
    urls = [f"https://example.com/view/{n}/{'v' * 1900}" for n in range(150)]
    buttons = "".join(f'<like-button url="{url}" impression></like-button>' for url in urls)
    page = context.new_page()
    page.goto(site.write(public.url, buttons, head="<style>like-button { position: absolute; top: 0 }</style>"))
    for url in urls:
        wait_until(lambda url=url: counts(public, url)["impressions"] == 1)


def test_a_view_that_the_browser_does_not_take_is_sent_later(context: Any, public: Daemon, site: Site) -> None:
    page = context.new_page()
    page.add_init_script("""
        const send = navigator.sendBeacon.bind(navigator);
        let refusals = 2;
        navigator.sendBeacon = (...beacon) => refusals-- <= 0 && send(...beacon);
    """)
    page.goto(site.write(public.url, '<like-button url="https://example.com/later" impression></like-button>'))
    wait_until(lambda: counts(public, "https://example.com/later")["impressions"] == 1)


LISTEN = """
    window.beacons = 0;
    const send = navigator.sendBeacon.bind(navigator);
    navigator.sendBeacon = (...beacon) => { beacons++; return send(...beacon); };
"""


def test_a_browser_that_a_program_drives_views_nothing(context: Any, public: Daemon, site: Site) -> None:
    page = context.new_page()
    page.add_init_script(
        LISTEN + "Object.defineProperty(Navigator.prototype, 'webdriver', { configurable: true, get: () => true });"
    )
    url = "https://example.com/driven"
    page.goto(site.write(public.url, f'<like-button url="{url}" impression></like-button>'))
    face(page).click()
    wait_until(lambda: counts(public, url)["net"] == 1)
    page.wait_for_timeout(1500)
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    assert page.evaluate("beacons") == 0
    assert counts(public, url)["impressions"] == 0


def test_a_page_that_is_prepared_is_viewed_when_it_is_shown(context: Any, public: Daemon, site: Site) -> None:
    page = context.new_page()
    page.add_init_script(
        LISTEN + "Object.defineProperty(Document.prototype, 'prerendering', { get: () => !window.isShown });"
    )
    url = "https://example.com/prepared"
    page.goto(site.write(public.url, f'<like-button url="{url}" impression></like-button>'))
    shows(page, 0)
    page.wait_for_timeout(1500)
    assert page.evaluate("beacons") == 0
    page.evaluate("window.isShown = true")
    wait_until(lambda: counts(public, url)["impressions"] == 1)
    assert page.evaluate("beacons") == 1


@pytest.mark.parametrize("setting", ["required", "address", "free"])
def test_the_demo_is_liked_once_whatever_makes_a_visitor(context: Any, tmp_path: Path, setting: str) -> None:
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    flags = ["--public-sites", "example.com", "--public-actors", setting, "--live-interval", "0.05"]
    with Daemon(tmp_path / "data", *flags, environment=environment) as daemon:
        page = context.new_page()
        page.goto(daemon.url + "/demo")
        shows(page, 0)
        face(page).click()
        shows(page, 1, liked=True)
        wait_until(lambda: counts(daemon, "https://example.com/demo")["net"] == 1)
        wait_until(lambda: counts(daemon, "https://example.com/demo")["impressions"] == 1)
        page.reload()
        shows(page, 1, liked=True)
        face(page).click()
        wait_until(lambda: counts(daemon, "https://example.com/demo")["net"] == 0)


def test_what_is_pressed_and_seen_right_before_the_visitor_leaves_is_counted(
    context: Any, public: Daemon, site: Site
) -> None:
    away = site.write(public.url, "", name="away", script="")
    url = "https://example.com/left"
    page = context.new_page()
    page.goto(site.write(public.url, f'<like-button url="{url}" impression></like-button>'))
    shows(page, 0)
    # Nothing is sent before the page goes but what it sends then.
    page.evaluate(
        """away => {
        document.querySelector("like-button").shadowRoot.querySelector("button").click();
        location.assign(away);
    }""",
        away,
    )
    wait_until(lambda: counts(public, url)["impressions"] == 1)
    wait_until(lambda: counts(public, url)["net"] == 1)
    page.wait_for_function("away => location.href === away", arg=away)
