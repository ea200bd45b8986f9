"""The pages for people, in a real Chromium: live, with and without a script, in each theme."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Client, Daemon
from tests.e2e.browsers import expect

LONG = "/guides/2026/how-to-choose-a-kettle-that-will-outlive-your-kitchen-and-the-one-after-it?edition=second"
URL = "https://www.example.com" + LONG
FIGURES = Path(__file__).resolve().parents[1] / "web" / "figures.json"
TOKEN = "an-admin-token-for-this"


def only_chromium(browser: Any) -> None:
    """What pages need of a browser all have; to be told to do without scripts, and to be looked into, only one."""
    if browser.browser_type.name != "chromium":
        pytest.skip("the pages are looked at in Chromium")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of this machine alone, in which one page was liked."""
    path = tmp_path_factory.mktemp("pages") / "data"
    with Daemon(path, "--live-interval", "0.05", "--flush-interval", "0.2") as daemon:
        post(daemon, likes=3, impressions=40)
        yield daemon


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with an admin token."""
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": TOKEN}
    with Daemon(tmp_path_factory.mktemp("guarded") / "data", environment=environment) as daemon:
        yield daemon


@pytest.fixture
def plain(browser: Any) -> Iterator[Any]:
    """A page of a browser that runs no scripts."""
    only_chromium(browser)
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(browser: Any, context: Any) -> Any:
    only_chromium(browser)
    return context.new_page()


def post(daemon: Daemon, url: str = URL, **counts: int) -> None:
    """So many events of each kind."""
    kinds = {"likes": "like", "unlikes": "unlike", "impressions": "impression"}
    lines = [json.dumps({"kind": kinds[name], "url": url, "count": count}) for name, count in counts.items()]
    with Client(daemon.address) as client:
        assert client.request("POST", "/v1/events", "\n".join(lines).encode()).status == 202


@pytest.mark.thorough
def test_figures_are_written_by_scripts_as_they_are_by_the_daemon(page: Any, daemon: Daemon) -> None:
    page.goto(daemon.url + "/engine")
    wrong = page.evaluate(
        """cases => Object.entries(cases).flatMap(([name, list]) => list
            .map(([given, written]) => [name, given, written, FORMATS[name](...given)])
            .filter(([, , written, found]) => written !== found))""",
        json.loads(FIGURES.read_text()),
    )
    assert wrong == []


@pytest.mark.thorough
def test_the_engine_is_live(page: Any, daemon: Daemon) -> None:
    page.goto(daemon.url + "/engine")
    expect(page.locator("#link")).to_have_text("Live")
    parts = ["likd", "pool manager", "drainer", "batcher", "event manager", "monitor", "live hub", "web", "watchdog"]
    expect(page.locator("#tree .twig > :first-child")).to_have_text(parts)
    expect(page.locator("#tree .state").first).to_have_text("running")
    before = int(page.locator('[data-live="status.totals.by_kind.impression"]').inner_text())
    post(daemon, impressions=500)
    expect(page.locator('[data-live="status.totals.by_kind.impression"]')).to_have_text(str(before + 500))
    expect(page.locator('[data-live="status.rates.events_per_second"]')).not_to_have_text("0")
    expect(page.locator("[data-mini] svg")).to_have_count(4)
    expect(page.locator("#swarm rect").first).to_be_attached()


def test_the_engine_is_told_of_without_a_script(plain: Any, daemon: Daemon) -> None:
    plain.goto(daemon.url + "/engine")
    expect(plain.locator("#tree .twig > :first-child")).to_have_count(9)
    expect(plain.locator(".way li").nth(1)).to_contain_text("of 2,000 URLs")
    expect(plain.locator("#link")).to_be_hidden()


def test_what_is_hot_now_leads_to_its_page(page: Any, daemon: Daemon) -> None:
    page.goto(daemon.url + "/")
    expect(page.locator("#link")).to_have_text("Live")
    post(daemon, likes=300)
    hot = page.locator("#now li a").first
    expect(hot).to_have_text(LONG)
    hot.click()
    expect(page.locator("h1")).to_have_text(LONG)


def test_a_urls_counts_are_live_and_written_whole(page: Any, daemon: Daemon) -> None:
    url = "https://www.example.com/live"
    post(daemon, url, likes=12_000)
    page.goto(f"{daemon.url}/url?url={url}")
    expect(page.locator("[data-count=net]")).to_have_text("12,000")
    expect(page.locator("#link")).to_have_text("Live")
    post(daemon, url, likes=847, unlikes=7)
    expect(page.locator("[data-count=net]")).to_have_text("12,840")
    expect(page.locator("[data-count=likes]")).to_have_text("12.8K")


def test_charts_are_drawn_of_their_table_and_told_by_the_keyboard(page: Any, daemon: Daemon) -> None:
    page.goto(f"{daemon.url}/url?url={URL}")
    expect(page.locator("[data-numbers] tbody tr")).to_have_count(7)
    chart = page.locator("[data-chart=updown]")
    expect(chart.locator("svg .up.open")).to_have_count(1, timeout=20_000)
    slider = chart.get_by_role("slider", name="Likes and taken back")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert ", 0 likes, 0 taken back" in slider.get_attribute("aria-valuetext")
    page.keyboard.press("End")
    assert "so far, " in slider.get_attribute("aria-valuetext")
    expect(chart.locator(".tip")).to_contain_text("likes")
    page.keyboard.press("Escape")
    expect(chart.locator(".tip")).to_be_hidden()


@pytest.mark.thorough
def test_ranges_are_links_that_go_on_without_a_script(plain: Any, page: Any, daemon: Daemon) -> None:
    for browser in (plain, page):
        browser.goto(f"{daemon.url}/url?url={URL}")
        browser.get_by_role("link", name="30 days").click()
        expect(browser.locator("[data-numbers] tbody tr")).to_have_count(30)
        expect(browser.locator(".seg [aria-current]")).to_have_text("30 days30 d")
        assert "range=30d" in browser.url
        browser.get_by_role("link", name="12 months").click()
        expect(browser.locator("[data-numbers] tbody tr")).to_have_count(12)
        browser.go_back()
        expect(browser.locator("[data-numbers] tbody tr")).to_have_count(30)
        browser.get_by_role("link", name="Dates").click()
        browser.get_by_label("First day").fill("2026-01-10")
        browser.get_by_label("Last day").fill("2026-01-19")
        browser.get_by_role("button", name="Show").click()
        expect(browser.locator("[data-numbers] tbody tr")).to_have_count(10)
        expect(browser.locator("[data-numbers] tbody th").first).to_have_text("Sat 10 Jan")


def test_code_is_copied(browser: Any, context: Any, daemon: Daemon) -> None:
    only_chromium(browser)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{daemon.url}/url?url={URL}")
    page.get_by_role("button", name="Copy", exact=True).first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith(f'<script src="{daemon.url}/likd.js"')


def test_an_empty_daemon_teaches_and_fills_with_the_first_like(page: Any, tmp_path: Path) -> None:
    with Daemon(tmp_path / "empty", "--live-interval", "0.05") as daemon:
        page.goto(daemon.url + "/")
        expect(page.locator("h1")).to_have_text("No likes yet")
        expect(page.locator("#button-code")).to_contain_text("<like-button impression></like-button>")
        page.locator("like-button button").click()
        expect(page.locator("h1")).to_have_text("All sites", timeout=20_000)


@pytest.mark.thorough
def test_a_theme_stays_and_is_there_before_any_script(page: Any, plain: Any, daemon: Daemon) -> None:
    page.goto(daemon.url + "/docs")
    with page.expect_response("**/theme?*"):
        page.get_by_label("Theme").select_option("Dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    page.route("**/*.js*", lambda route: route.abort())
    page.goto(daemon.url + "/demo")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    plain.goto(f"{daemon.url}/url?url={URL}")
    plain.get_by_label("Theme").select_option("Light")
    plain.locator("#theme").get_by_role("button", name="Set").click()
    expect(plain.locator("html")).to_have_attribute("data-theme", "light")
    expect(plain.locator("h1")).to_have_text(LONG)


@pytest.mark.thorough
def test_a_login_leads_to_the_page_that_was_asked_for(plain: Any, guarded: Daemon) -> None:
    plain.goto(f"{guarded.url}/url?url={URL}&range=30d")
    plain.get_by_label("Admin token").fill("not-the-admin-token")
    plain.get_by_role("button", name="Log in").click()
    expect(plain.get_by_role("alert")).to_contain_text("That is not an admin token.")
    plain.get_by_label("Admin token").fill(TOKEN)
    plain.get_by_role("button", name="Log in").click()
    expect(plain.locator("h1")).to_have_text(LONG)
    expect(plain.locator(".seg [aria-current]")).to_contain_text("30 days")
    plain.get_by_role("link", name="API").click()
    plain.get_by_role("button", name="Log out").click()
    expect(plain.get_by_label("Admin token")).to_be_visible()


SITE = "shop.example.com"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with two sites: a giant beside small ones, and 60 pages, each liked once more than the one before."""
    now = int(time.time())
    day = 86_400
    rows = [{"url": "https://news.example.net/giant", "likes": 12_847, "impressions": 128_470, "time": now}]
    for index in range(60):
        url = f"https://{SITE}/kettles/{index}-and-all-that-one-has-to-know-of-them-before-it-is-too-late?page={index}"
        rows.append({"url": url, "likes": index + 1, "impressions": 100, "time": now})
        rows.append({"url": url, "likes": 1, "time": now - 8 * day})
    with Daemon(tmp_path_factory.mktemp("sites") / "data", "--live-interval", "0.05") as daemon:
        with Client(daemon.address) as client:
            body = "\n".join(map(json.dumps, rows)).encode()
            assert client.request("POST", "/v1/import", body, Idempotency_Key="sites").status == 200
        yield daemon


def rows(browser: Any) -> Any:
    """The lines of the list of pages."""
    return browser.locator("table.pages tbody tr")


def test_an_axis_has_no_number_twice(page: Any, daemon: Daemon) -> None:
    page.goto(f"{daemon.url}/url?url={URL}&range=dates&from=2026-01-01&to=2026-01-05")
    for name in ("updown", "views"):
        marks = page.locator(f"[data-chart={name}] svg text[text-anchor=end]")
        expect(marks.first).to_be_visible()
        assert marks.all_text_contents() == ["0", "1"], name


def test_the_overview_tells_of_all_sites_and_leads_to_each(plain: Any, sites: Daemon) -> None:
    plain.goto(sites.url + "/")
    expect(plain.locator("table.sites tbody th")).to_have_text(["news.example.net", SITE])
    expect(plain.locator(".fig[data-metric=likes] .value")).to_have_text("14.6K")
    expect(plain.locator(".fig[data-metric=likes] .value data")).to_have_attribute("title", "14,677")
    expect(plain.locator(".fig[data-metric=rate] .value")).to_have_text("10.9")
    plain.get_by_role("link", name="Taken back").click()
    expect(plain.locator(".fig[data-metric=gone]")).to_have_attribute("aria-current", "true")
    plain.get_by_role("link", name=SITE).first.click()
    expect(plain.locator("h1")).to_have_text(SITE)
    expect(plain.locator("[data-part=span]")).to_contain_text("1,890 likes of all time on 60 pages")
    expect(plain.locator(".fig[data-metric=likes] .sub")).to_contain_text("from 60")


def test_pages_are_found_sorted_and_paged_with_and_without_a_script(plain: Any, page: Any, sites: Daemon) -> None:
    for browser in (plain, page):
        browser.goto(f"{sites.url}/site?site={SITE}&range=30d")
        expect(rows(browser)).to_have_count(25)
        expect(rows(browser).first.locator(".lead")).to_have_text("61")
        browser.get_by_role("link", name="Next").click()
        expect(browser.locator(".pager")).to_contain_text("26–50 of 60")
        expect(rows(browser).first.locator(".lead")).to_have_text("36")
        browser.get_by_role("link", name="Next").click()
        expect(rows(browser)).to_have_count(10)
        browser.get_by_role("link", name="Previous").click()
        expect(browser.locator(".pager")).to_contain_text("26–50 of 60")
        browser.get_by_role("link", name="Previous").click()
        expect(browser.locator(".pager")).to_contain_text("1–25 of 60")
        expect(browser.get_by_role("link", name="Previous")).to_have_count(0)
        browser.get_by_role("link", name="Next").click()
        browser.get_by_role("link", name="First").click()
        browser.get_by_role("columnheader", name="Likes").get_by_role("link").click()
        expect(browser.locator("table.pages th[aria-sort=ascending]")).to_have_text("Likes")
        expect(rows(browser).first.locator(".lead")).to_have_text("2")
        browser.get_by_label("Find a page").fill("PAGE=17")
        browser.get_by_label("Find a page").press("Enter")
        expect(rows(browser)).to_have_count(1)
        assert "range=30d" in browser.url
        browser.get_by_label("Find a page").fill("nothing-like-it")
        browser.get_by_label("Find a page").press("Enter")
        expect(browser.get_by_role("heading", name="No page has “nothing-like-it”")).to_be_visible()
        browser.get_by_role("link", name="Show all pages").click()
        expect(rows(browser)).to_have_count(25)


@pytest.mark.thorough
def test_a_search_goes_on_as_it_is_typed_and_by_site(page: Any, sites: Daemon) -> None:
    page.goto(sites.url + "/")
    page.get_by_label("Find a page").press_sequentially("giant")
    expect(rows(page)).to_have_count(1)
    assert "q=giant" in page.url
    page.get_by_label("Find a page").fill("")
    expect(rows(page)).to_have_count(25)
    page.locator("#by-site").select_option(SITE)
    expect(page.locator(".pager")).to_contain_text("of 60")
    page.locator("table.pages tbody a").first.click()
    expect(page.locator("h1")).to_contain_text("/kettles/59-and")


@pytest.mark.thorough
def test_long_addresses_give_way_in_the_middle(page: Any, sites: Daemon) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{sites.url}/site?site={SITE}")
    first = rows(page).first.locator(".mid")
    assert first.evaluate("place => place.firstChild.scrollWidth > place.firstChild.clientWidth")
    assert first.evaluate("place => place.lastChild.scrollWidth <= place.lastChild.clientWidth")
    expect(first.locator("> :last-child")).to_have_text("-too-late?page=59")


@pytest.mark.thorough
def test_a_sites_figures_follow_what_comes(page: Any, daemon: Daemon) -> None:
    page.goto(daemon.url + "/site?site=live.example.com")
    expect(page.locator("h1")).to_have_text("There is no such page")
    post(daemon, "https://live.example.com/a", likes=2)
    page.goto(daemon.url + "/site?site=live.example.com")
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator(".fig[data-metric=likes] .value")).to_have_text("2")
    post(daemon, "https://live.example.com/b", likes=3)
    expect(page.locator(".fig[data-metric=likes] .value")).to_have_text("5")
    expect(rows(page)).to_have_count(2)
    expect(page.locator("#now li")).to_have_count(1)


PAGES = ["/", "/engine", f"/url?url={URL}", f"/url?url={URL}&range=12m", "/demo", "/docs", "/login", "/no-such-page"]
PAGES += [f"/site?site=www.example.com&metric={metric}" for metric in ("likes", "gone", "views", "rate")]
PAGES += ["/?q=nothing&range=today", "/?range=dates&from=2026-01-01&to=2026-02-01&metric=views"]

BARRIERS = """options => axe
    .run({ exclude: [[".operation:nth-of-type(n + 4)"]] }, { ...options, resultTypes: ["violations"] })
    .then(({ violations }) => violations.map((each) => [each.id, each.nodes[0].html]))"""
"""Of the API, whose operations are all alike, only the first are looked at."""


@pytest.fixture(scope="module")
def axe() -> str:
    """The script that looks for barriers."""
    package = pytest.importorskip("axe_playwright_python", reason="no axe: barriers are not looked for")
    return (Path(package.__file__).parent / "axe.min.js").read_text()


def assert_no_barriers(page: Any, width: int, shown: str) -> None:
    """What is `shown` has none in either theme, and does not scroll sideways at this width."""
    assert page.evaluate(BARRIERS, {}) == [], shown
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BARRIERS, {"runOnly": ["color-contrast"]}) == [], f"{shown} in the dark"
    page.emulate_media(color_scheme="light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, shown


def some_of(looked_at: list[str], width: int) -> list[str]:
    """What is looked at at this width: all at both takes two minutes, and is for LIKD_TEST_BROWSERS=all."""
    if os.environ.get("LIKD_TEST_BROWSERS") == "all":
        return looked_at
    return looked_at[::3] if width == 390 else looked_at[1::5]


@pytest.mark.thorough
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_has_barriers_in_either_theme_or_scrolls_sideways(
    browser: Any, daemon: Daemon, axe: str, width: int
) -> None:
    only_chromium(browser)
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", bypass_csp=True)
    page = context.new_page()
    for path in some_of(PAGES, width):
        page.goto(daemon.url + path)
        if page.locator("#link:not([hidden])").count():
            expect(page.locator("#link")).to_have_text("Live")
        page.evaluate(axe)
        assert_no_barriers(page, width, path)
    context.close()
