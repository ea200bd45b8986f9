"""A browser, a site with buttons on its pages, and a network that can be made to lie."""

from __future__ import annotations

import contextlib
import http.server
import importlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.daemon import Client, Daemon

playwright: Any = None
with contextlib.suppress(ImportError):
    playwright = importlib.import_module("playwright.sync_api")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    playwright is None or CHROMIUM is None, reason="no playwright or no chromium: the browser tests are skipped"
)

NOT_THROWN = re.compile("can’t establish a connection|Same Origin Policy|page’s settings blocked|was interrupted")
"""What Firefox says in the console and nobody has thrown."""

HURRY = """
    const [later, timeout] = [window.setTimeout, AbortSignal.timeout];
    window.setTimeout = (work, delay = 0) => later(work, delay / 10);
    AbortSignal.timeout = (delay) => timeout.call(AbortSignal, delay / 10);
"""
"""What is waited for in a page comes ten times sooner."""


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """What drives browsers."""
    playwright.expect.set_options(timeout=15_000)
    with playwright.sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def chromium(driver: Any) -> Iterator[Any]:
    """A running Chromium: it can be told what its visitor prefers."""
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield browser
    browser.close()


PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""Without a window Chromium says that it has none."""

AS_A_PERSON = "Object.defineProperty(Navigator.prototype, 'webdriver', { configurable: true, get: () => false })"
"""A script for pages that are to count views although a program drives their browser."""

ENGINES = ["chromium", *(["firefox"] if os.environ.get("LIKD_TEST_FIREFOX") else [])]
"""Firefox takes several times as long, so it is asked for by hand."""


@pytest.fixture(scope="module", params=ENGINES)
def browser(driver: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each browser that there is."""
    if request.param == "chromium":
        yield request.getfixturevalue("chromium")
        return
    if FIREFOX is None:
        pytest.skip("no firefox: its tests are skipped")
    try:
        # Debian's own, which speaks WebDriver BiDi.
        preferences = {"ui.prefersReducedMotion": 1}
        browser = driver.firefox.launch(
            channel="moz-firefox", executable_path=FIREFOX, firefox_user_prefs=preferences, timeout=30_000
        )
        browser.new_context().close()
    except playwright.Error as error:
        pytest.skip(f"this playwright can't drive {FIREFOX}: {str(error).splitlines()[0]}")
    yield browser
    browser.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """A visitor with an empty memory, who is a person to all that is said. No page of theirs may throw."""
    options = {"reduced_motion": "reduce", "user_agent": PERSON} if browser.browser_type.name == "chromium" else {}
    context = browser.new_context(**options)
    context.add_init_script(AS_A_PERSON)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context
    context.close()
    thrown = [error for error in errors if not NOT_THROWN.search(error)]
    assert not thrown, thrown


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon in public mode, for the pages of example.com and of this machine."""
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


class Network:
    """A way to `address` that passes everything on, until it lies.

    A connection on which something is sent for which `stalls` holds is silent from then on. All that there are
    fall silent by `hush`; none is closed by either. While it `refuses`, connections end at once.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.stalls: Callable[[bytes], bool] = lambda _: False
        self.refuses = False
        self.asked: list[bytes] = []
        """The first line of each request that came."""
        self._silent: set[socket.socket] = set()
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def hush(self) -> None:
        """Let nothing more through on the connections that are open now."""
        self._silent.update(self._open)

    def lead(self, address: tuple[str, int]) -> None:
        """Lead new connections to another address."""
        self._address = address

    def close(self) -> None:
        """End all."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                if self.refuses:
                    near.close()
                    continue
            except OSError:
                return
            try:
                far = socket.create_connection(self._address)
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(65536):
                if up:
                    self.asked.append(data.partition(b"\r\n")[0])
                    if self.stalls(data):
                        self._silent.update((source, target))
                if source not in self._silent:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()


@pytest.fixture
def network(public: Daemon) -> Iterator[Network]:
    """The way to the public daemon."""
    network = Network(public.address)
    yield network
    network.close()


def is_handshake(data: bytes) -> bool:
    """Whether a websocket is asked for."""
    return b"upgrade: websocket" in data.lower()


def face(page: Any, which: str | int = 0) -> Any:
    """The button itself of the like button with this id, or of the first, second, ..."""
    chosen = page.locator(f"#{which}") if isinstance(which, str) else page.locator("like-button").nth(which)
    return chosen.locator("button")


def shows(page: Any, count: int | str, *, liked: bool = False, which: str | int = 0) -> None:
    """Wait until a button shows this."""
    playwright.expect(face(page, which)).to_have_attribute("aria-pressed", str(liked).lower())
    playwright.expect(face(page, which).locator("[part=count]")).to_have_text(str(count))


def counts(daemon: Daemon, url: str) -> dict[str, int]:
    """What the daemon has of `url`."""
    with Client(daemon.address) as client:
        found: dict[str, int] = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]
        return found


def like(daemon: Daemon, url: str, times: int = 1) -> None:
    """Others like `url`."""
    with Client(daemon.address) as client:
        line = '{"kind":"like","url":"%s","actor":"%s"}'
        body = "\n".join(line % (url, os.urandom(8).hex()) for _ in range(times)).encode()
        assert client.request("POST", "/v1/events", body).status == 202
