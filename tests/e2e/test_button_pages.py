"""The button on pages of all kinds: their language, policy, framework, length and colours."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Client, Daemon, wait_until
from tests.e2e.browsers import Site, counts, expect, face, like, new_page, shows

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A URL of the test's own."""
    return f"https://example.com/{request.node.name.replace('[', '/').rstrip(']')}"


def name_of(page: Any, which: str | int = 0) -> str:
    name: str = face(page, which).get_attribute("aria-label")
    return name


def test_words_and_numbers_are_in_the_language_of_the_page(context: Any, public: Daemon, site: Site, url: str) -> None:
    like(public, url, 1234)
    page = context.new_page()
    button = f'<like-button url="{url}"></like-button>'
    own = f'<like-button url="{url}" lang="fr" label="Recommander"></like-button>'
    parts = "".join(f'<p lang="{lang}">{button}</p>' for lang in ("de", "pt_PT", "zh-Hant-TW", "xx", "!"))
    address = site.write(public.url, button + parts + own)
    file = site.root / "index.html"
    file.write_text(file.read_text().replace('<html lang="en">', '<html lang="en_US">'))
    page.goto(address)
    shows(page, "1,234")
    assert name_of(page) == "Like, 1,234"
    shows(page, "1.234", which=1)
    assert name_of(page, 1) == "Gefällt mir, 1.234"
    assert name_of(page, 2).startswith("Gosto, ")
    assert name_of(page, 3) == "讚, 1,234"
    assert name_of(page, 4).startswith("Like, ")
    # What is no language leaves the visitor's.
    german = page.evaluate("navigator.language").startswith("de")
    assert name_of(page, 5) == ("Gefällt mir, 1.234" if german else "Like, 1,234")
    assert re.fullmatch(r"Recommander, 1\s234", name_of(page, 6))
    page.evaluate("document.documentElement.lang = 'nl'")
    shows(page, "1.234")
    assert name_of(page) == "Vind ik leuk, 1.234"


def test_where_neither_page_nor_system_says_a_language_it_is_english(
    context: Any, public: Daemon, site: Site, url: str
) -> None:
    like(public, url, 1234)
    page = context.new_page()
    page.add_init_script("Object.defineProperty(navigator, 'language', { value: 'C' });")
    address = site.write(public.url, f'<like-button url="{url}"></like-button>')
    file = site.root / "index.html"
    file.write_text(file.read_text().replace(' lang="en"', ""))
    page.goto(address)
    shows(page, "1,234")
    assert name_of(page) == "Like, 1,234"


def test_what_is_seen_is_in_the_accessible_name(context: Any, public: Daemon, site: Site, url: str) -> None:
    with Client(public.address) as client:
        bearer = {"Authorization": "Bearer an-admin-token-for-this"}
        event = json.dumps({"kind": "like", "url": url}).encode()
        assert client.request("POST", "/v1/events", b"\n".join([event] * 12_345), **bearer).status == 202
    page = context.new_page()
    page.goto(site.write(public.url, f'<like-button url="{url}" words></like-button>'))
    shows(page, "12.3K")
    assert name_of(page) == "Like, 12.3K"
    assert face(page).get_attribute("title") == "12,345"
    expect(face(page).locator("[part=label]")).to_be_visible()
    page.evaluate("document.querySelector('like-button').words = false")
    expect(face(page).locator("[part=label]")).to_be_hidden()


def test_a_property_is_the_attribute(context: Any, public: Daemon, site: Site, url: str) -> None:
    like(public, url + "/1", 1)
    like(public, url + "/2", 2)
    page = context.new_page()
    # As a framework does it that has its elements before the script is there.
    early = f"""<like-button></like-button><script>
        Object.assign(document.querySelector("like-button"), {{ url: "{url}/1", label: "Clap", impression: true }});
    </script>"""
    page.goto(site.write(public.url, early))
    shows(page, 1)
    element = page.locator("like-button")
    assert element.get_attribute("url") == url + "/1"
    assert name_of(page) == "Clap, 1"
    wait_until(lambda: counts(public, url + "/1")["impressions"] == 1)
    element.evaluate("(button, url) => { button.url = url; }", url + "/2")
    shows(page, 2)
    assert element.evaluate("button => [button.url, button.getAttribute('url')]") == [url + "/2"] * 2
    face(page).click()
    shows(page, 3, liked=True)
    wait_until(lambda: counts(public, url + "/2")["net"] == 3)
    assert counts(public, url + "/1")["net"] == 1
    element.evaluate("button => { button.url = null; }")
    assert element.get_attribute("url") is None
    assert element.evaluate("button => button.url === location.href")


@pytest.mark.parametrize("api", ["navigation", "address"])
def test_a_page_that_replaces_itself_is_followed(context: Any, public: Daemon, site: Site, url: str, api: str) -> None:
    page = context.new_page()
    if api == "address":
        page.add_init_script("Object.defineProperty(window, 'navigation', { value: undefined });")
    fixed = f'<like-button id="fixed" url="{url}"></like-button>'
    page.goto(site.write(public.url, f'<like-button id="page"></like-button>{fixed}'))
    like(public, site.url + "/second", 2)
    shows(page, 0, which="page")
    page.evaluate("history.pushState(null, '', '/second')")
    shows(page, 2, which="page")
    face(page, "page").click()
    wait_until(lambda: counts(public, site.url + "/second")["net"] == 3)
    page.evaluate("history.back()")
    shows(page, 0, which="page")
    page.evaluate(
        """url => {
        const link = document.createElement("link");
        Object.assign(link, { rel: "canonical", href: url });
        document.head.append(link);
    }""",
        site.url + "/second#part",
    )
    shows(page, 3, liked=True, which="page")
    shows(page, 0, which="fixed")


def test_the_policy_that_the_docs_give_is_enough(context: Any, public: Daemon, site: Site, url: str) -> None:
    docs = (ROOT / "docs" / "button.md").read_text()
    found = re.search(r"Content-Security-Policy: (.*)\n", docs)
    assert found
    # Here it is http, not https.
    policy = found[1].replace("https://", "http://").replace("wss://", "ws://")
    policy = policy.replace("likes.example.net", public.url.removeprefix("http://"))
    policy = f"default-src 'none'; {policy}; require-trusted-types-for 'script'; trusted-types 'none'"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    page = context.new_page()
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text) if message.type == "error" else None)
    page.goto(site.write(public.url, f'<like-button url="{url}" impression></like-button>', head=head))
    face(page).click()
    shows(page, 1, liked=True)
    wait_until(lambda: counts(public, url)["net"] == 1 and counts(public, url)["impressions"] == 1)
    like(public, url)
    shows(page, 2, liked=True)
    assert [text for text in blocked if "favicon" not in text] == []


WATCHED = """
    window.watched = new Set();
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (text) {
        const { op, urls = [] } = JSON.parse(text);
        for (const url of urls) op === "watch" ? watched.add(url) : watched.delete(url);
        return send.call(this, text);
    };
"""
"""Notes what the page's websockets watch."""


def test_of_a_long_page_only_what_is_seen_is_watched(context: Any, public: Daemon, site: Site, url: str) -> None:
    page = context.new_page()
    page.add_init_script(WATCHED)
    rows = "".join(f'<p><like-button url="{url}/{n}"></like-button></p>' for n in range(1200))
    page.goto(site.write(public.url, rows))
    shows(page, 0)
    page.wait_for_function("url => watched.has(url + '/0')", arg=url)
    assert page.evaluate("watched.size") < 60
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    shows(page, 0, which=1199)
    page.wait_for_function("url => watched.has(url + '/1199') && !watched.has(url + '/0')", arg=url)
    assert page.evaluate("watched.size") < 60
    like(public, f"{url}/1199", 2)
    shows(page, 2, which=1199)


def test_more_buttons_than_may_be_watched_are_all_live(context: Any, tmp_path: Path, site: Site, url: str) -> None:
    with Daemon(tmp_path / "data", "--watches-max", "5", "--live-interval", "0.05") as daemon:
        page = context.new_page()
        page.add_init_script(
            "const later = window.setTimeout; window.setTimeout = (work, delay = 0) => later(work, delay / 10);"
        )
        page.goto(site.write(daemon.url, "".join(f'<like-button url="{url}/{n}"></like-button>' for n in range(12))))
        for n in range(12):
            shows(page, 0, which=n)
        for n in range(12):
            like(daemon, f"{url}/{n}", n + 1)
        for n in range(12):
            shows(page, n + 1, which=n)


def test_a_button_is_as_wide_before_its_count_is_known_as_later(
    context: Any, public: Daemon, site: Site, url: str
) -> None:
    page = context.new_page()
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button><b>after</b>'))
    shows(page, 0)
    widths = page.locator("like-button").evaluate("""button => {
        const count = button.shadowRoot.querySelector("[part=count]");
        return ["·", "0", "9,999", "12.3K", "1.2M"].map((text) => {
            count.textContent = text;
            return button.getBoundingClientRect().width;
        });
    }""")
    assert len(set(widths)) == 1


def test_the_space_that_the_docs_reserve_is_what_the_button_takes(
    context: Any, public: Daemon, site: Site, url: str
) -> None:
    docs = (ROOT / "docs" / "button.md").read_text()
    rule = re.search(r"like-button:not\(:defined\) \{.*?\}", docs, re.DOTALL)
    assert rule
    page = context.new_page()
    head = f"<style>{rule[0]}</style>"
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>', head=head, script=""))
    before = page.locator("like-button").bounding_box()
    page.add_script_tag(url=public.url + "/likd.js")
    shows(page, 0)
    after = page.locator("like-button").bounding_box()
    assert abs(before["width"] - after["width"]) < 2
    assert abs(before["height"] - after["height"]) < 2


@pytest.mark.parametrize(("scheme", "light"), [("normal", True), ("light dark", False)])
def test_colours_follow_the_page_and_not_the_visitor(
    browser: Any, public: Daemon, site: Site, url: str, scheme: str, light: bool
) -> None:
    page = new_page(browser, color_scheme="dark")
    head = f"<style>:root {{ color-scheme: {scheme} }}</style>"
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>', head=head))
    colour = face(page).evaluate("button => getComputedStyle(button).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") is light
    page.evaluate("document.querySelector('like-button').theme = 'dark'")
    assert face(page).evaluate("button => getComputedStyle(button).backgroundColor") != "rgb(255, 255, 255)"
    page.close()


def test_the_count_stands_on_the_line_of_the_text_around_it(context: Any, public: Daemon, site: Site, url: str) -> None:
    page = context.new_page()
    style = "<style>body { font: 600 16px/3 sans-serif } like-button { --likd-font: sans-serif }</style>"
    page.goto(site.write(public.url, f'<p>text <like-button url="{url}"></like-button></p>', head=style))
    shows(page, 0)
    bottoms = page.evaluate("""() => {
        const bottom = (node) => {
            const range = document.createRange();
            range.selectNodeContents(node);
            return range.getBoundingClientRect().bottom;
        };
        const count = document.querySelector("like-button").shadowRoot.querySelector("[part=count]");
        return [bottom(document.querySelector("p").firstChild), bottom(count)];
    }""")
    assert abs(bottoms[0] - bottoms[1]) < 1


def test_a_finger_has_44_pixels(browser: Any, public: Daemon, site: Site, url: str) -> None:
    page = new_page(browser, has_touch=True)
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>'))
    box = face(page).bounding_box()
    assert min(box["width"], box["height"]) >= 44
    page.close()


@pytest.mark.parametrize("later", ['type="module"', 'crossorigin="anonymous"'])
def test_a_copy_that_a_plain_script_left_serves_every_other_kind(
    context: Any, public: Daemon, site: Site, url: str, later: str
) -> None:
    page = context.new_page()
    button = f'<like-button url="{url}"></like-button>'
    page.goto(site.write(public.url, button, name="plain"))
    shows(page, 0)
    script = f'<script src="{public.url}/likd.js" {later}></script>'
    page.goto(site.write(public.url, button, name="other", script=script))
    shows(page, 0)


def test_the_script_that_is_kept_works_with_its_integrity(context: Any, public: Daemon, site: Site, url: str) -> None:
    page = context.new_page()
    page.goto(public.url + "/demo")
    shown = page.locator("pre", has_text="integrity=").inner_text()
    page.goto(site.write(public.url, f'<like-button url="{url}"></like-button>', name="kept", script=shown))
    shows(page, 0)
    face(page).click()
    wait_until(lambda: counts(public, url)["net"] == 1)


def test_the_demo_works_in_public_mode_and_for_an_admin(context: Any, public: Daemon, tmp_path: Path) -> None:
    page = context.new_page()
    page.goto(public.url + "/demo")
    face(page).click()
    shows(page, 1, liked=True)
    wait_until(lambda: counts(public, "https://example.com/demo")["net"] == 1)
    secrets = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    with Daemon(tmp_path / "closed", environment=secrets) as daemon:
        page.goto(daemon.url + "/demo")
        expect(face(page)).to_be_disabled()
        page.get_by_role("link", name="log in", exact=True).click()
        page.get_by_label("Admin token").fill("an-admin-token-for-this")
        page.get_by_role("button", name="Log in").click()
        wait_until(lambda: page.evaluate("location.href") == daemon.url + "/demo")
        face(page).click()
        shows(page, 1, liked=True)
