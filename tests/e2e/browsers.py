"""Browsers, and a site with buttons on its pages."""

from __future__ import annotations

import contextlib
import http.server
import importlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from likd.web.access.gate import PUBLIC_EVENTS_MAX
from tests.daemon import Client, Daemon
from tests.e2e import webkit
from tests.e2e.network import Network

playwright: Any = None
with contextlib.suppress(ImportError):
    playwright = importlib.import_module("playwright.sync_api")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

ENGINES = ("chromium", "firefox", "webkit")
_ASKED = os.environ.get("LIKD_TEST_BROWSERS", "")
IN_FULL = {"": ENGINES[:1], "all": ENGINES}.get(_ASKED) or tuple(_ASKED.split(","))
"""The engines in which all tests run: Chromium, which is the fastest, or those that are asked for."""
IN_CORE = () if _ASKED else ENGINES[1:]
"""The engines in which only the tests that are marked `core` run."""
assert set(IN_FULL) <= set(ENGINES), f"LIKD_TEST_BROWSERS is {_ASKED!r}; expected all, or some of {','.join(ENGINES)}"

NOT_THROWN = re.compile("can’t establish a connection|Same Origin Policy|page’s settings blocked|was interrupted")
"""What Firefox says in the console and nobody has thrown."""

HURRY = """
    const [later, timeout] = [window.setTimeout, AbortSignal.timeout];
    window.setTimeout = (work, delay = 0) => later(work, delay / 10);
    AbortSignal.timeout = (delay) => timeout.call(AbortSignal, delay / 10);
"""
"""What is waited for in a page comes ten times sooner."""

SOCKETS = """
    const Socket = window.WebSocket;
    window.sockets = [];
    window.WebSocket = class extends Socket {
        constructor(...asked) { super(...asked); sockets.push(this); }
    };
"""
"""Notes the page's websockets."""


PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""Without a window Chromium says that it has none; a context changes that, but not for what a page sends as it goes."""

AS_A_PERSON = "Object.defineProperty(Navigator.prototype, 'webdriver', { configurable: true, get: () => false })"
"""A script for pages that are to count views although a program drives their browser."""


@pytest.fixture(scope="module", params=ENGINES)
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A running browser of each engine that is there."""
    launch = {"chromium": _chromium, "firefox": _firefox, "webkit": _webkit}[request.param]
    with launch() as browser:
        yield browser


@contextlib.contextmanager
def _playwright() -> Iterator[Any]:
    if playwright is None:
        pytest.skip("no playwright: its browsers' tests are skipped")
    playwright.expect.set_options(timeout=15_000)
    with playwright.sync_playwright() as running:
        yield running


@contextlib.contextmanager
def _chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium: its tests are skipped")
    with _playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", f"--user-agent={PERSON}"])
        yield browser
        browser.close()


@contextlib.contextmanager
def _firefox() -> Iterator[Any]:
    """Debian's own, which speaks WebDriver BiDi."""
    if FIREFOX is None:
        pytest.skip("no firefox: its tests are skipped")
    with _playwright() as running:
        try:
            preferences = {
                "ui.prefersReducedMotion": 1,
                "ui.systemUsesDarkTheme": 1,
                "intl.accept_languages": "de-DE",
            }
            browser = running.firefox.launch(
                channel="moz-firefox", executable_path=FIREFOX, firefox_user_prefs=preferences, timeout=30_000
            )
            browser.new_context().close()
        except playwright.Error as error:
            pytest.skip(f"this playwright can't drive {FIREFOX}: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@contextlib.contextmanager
def _webkit() -> Iterator[Any]:
    if missing := webkit.missing():
        pytest.skip(f"no {missing}: webkit's tests are skipped")
    with webkit.running() as browser:
        yield browser


CAN = {"chromium": {"color_scheme", "has_touch", "locale", "viewport"}, "firefox": {"viewport"}, "webkit": set[str]()}
"""What a visitor may be said to prefer or to have, by engine."""

ALWAYS: dict[str, dict[str, object]] = {
    "chromium": {},
    "firefox": {"color_scheme": "dark", "locale": "de-DE"},
    "webkit": {"color_scheme": "dark", "locale": "C"},
}
"""What is true of all its visitors; to WebKit the system says its locale, and mostly has none."""


def new_page(browser: Any, **options: Any) -> Any:
    """A page of a visitor of whom this is true, where the engine can be told so."""
    engine = browser.browser_type.name
    told = {name: value for name, value in options.items() if name not in ALWAYS[engine]}
    if cannot := set(told) - CAN[engine]:
        pytest.skip(f"{engine} can't be told {', '.join(sorted(cannot))}")
    return browser.new_page(**told)


def expect(locator: Any) -> Any:
    """What is waited for of `locator`."""
    return locator.expect() if isinstance(locator, webkit.Locator) else playwright.expect(locator)


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """A visitor with an empty memory, who is a person to all that is said. No page of theirs may throw."""
    options = {"reduced_motion": "reduce"} if browser.browser_type.name == "chromium" else {}
    context = browser.new_context(**options)
    context.add_init_script(AS_A_PERSON)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    thrown = [error for error in errors if not NOT_THROWN.search(error)]
    assert not thrown, thrown


@pytest.fixture(scope="module")
def public(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon in public mode, for the pages of example.com and of this machine. Each engine begins with a new one."""
    path = tmp_path_factory.mktemp("public") / "data"
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    flags = ["--public-sites", "example.com,localhost", "--address-rate", "0", "--live-interval", "0.05"]
    with Daemon(path, *flags, environment=environment) as daemon:
        yield daemon


@attrs.frozen
class Site:
    """A site of another origin than the daemon's."""

    root: Path
    url: str

    def write(self, daemon: str, body: str, *, name: str = "", head: str = "", script: str | None = None) -> str:
        """Write a page with the script of the daemon at this address; its own address."""
        script = f'<script src="{daemon}/likd.js" defer></script>' if script is None else script
        html = f'<!doctype html><html lang="en"><head>{head}{script}</head><body>{body}</body></html>'
        (self.root / f"{name or 'index'}.html").write_text(html)
        return f"{self.url}/{name}.html" if name else self.url + "/"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose pages the test writes."""
    root = tmp_path / "site"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Site(root, f"http://localhost:{server.server_port}")
        server.shutdown()
        thread.join()


@pytest.fixture
def network(public: Daemon) -> Iterator[Network]:
    """The way to the public daemon."""
    network = Network(public.address)
    yield network
    network.close()


def hide(page: Any) -> None:
    """Let nobody see the page; where the engine has no such thing, let the page believe it."""
    if isinstance(page, webkit.Page):
        page.hide()
    else:
        page.evaluate(HIDDEN, True)


def show(page: Any) -> None:
    """Let a hidden page be seen again."""
    if isinstance(page, webkit.Page):
        page.show()
    else:
        page.evaluate(HIDDEN, False)


HIDDEN = """hidden => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def face(page: Any, which: str | int = 0) -> Any:
    """The button itself of the like button with this id, or of the first, second, ..."""
    chosen = page.locator(f"#{which}") if isinstance(which, str) else page.locator("like-button").nth(which)
    return chosen.locator("button")


def shows(page: Any, count: int | str, *, liked: bool = False, which: str | int = 0) -> None:
    """Wait until a button shows this."""
    expect(face(page, which)).to_have_attribute("aria-pressed", str(liked).lower())
    expect(face(page, which).locator("[part=count]")).to_have_text(str(count))


def counts(daemon: Daemon, url: str) -> dict[str, int]:
    """What the daemon has of `url`."""
    with Client(daemon.address) as client:
        found: dict[str, int] = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]
        return found


def like(daemon: Daemon, url: str, times: int = 1) -> None:
    """Others like `url`."""
    lines = [json.dumps({"kind": "like", "url": url, "actor": os.urandom(8).hex()}) for _ in range(times)]
    with Client(daemon.address) as client:
        for begin in range(0, times, PUBLIC_EVENTS_MAX):
            body = "\n".join(lines[begin : begin + PUBLIC_EVENTS_MAX]).encode()
            assert client.request("POST", "/v1/events", body).status == 202
