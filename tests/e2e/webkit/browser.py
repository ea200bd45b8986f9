"""A WebKit that runs, and its visitors."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.e2e.webkit.page import Page
from tests.e2e.webkit.relay import Relay
from tests.e2e.webkit.scripts import NOTES
from tests.e2e.webkit.waiting import PATIENCE_SECONDS, part

selenium: Any = None
with contextlib.suppress(ImportError):
    selenium = importlib.import_module("selenium.webdriver")
DRIVER = shutil.which("WebKitWebDriver")
MINI_BROWSER = next(map(str, Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser")), None)
SCREEN = shutil.which("Xvfb")


def missing() -> str | None:
    """What is not there but needed."""
    needed = {"selenium": selenium, "WebKitWebDriver": DRIVER, "MiniBrowser": MINI_BROWSER, "Xvfb": SCREEN}
    return next((name for name, found in needed.items() if not found), None)


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """A WebKit that runs, with a screen and a proxy of its own."""
    with contextlib.closing(Relay()) as relay, _screen() as display, tempfile.TemporaryDirectory() as home:
        settings = Path(home) / "gtk-3.0" / "settings.ini"
        settings.parent.mkdir()
        # What its visitor prefers.
        settings.write_text("[Settings]\ngtk-enable-animations = 0\n")
        preferences = {"XDG_CONFIG_HOME": home, "GTK_THEME": "Adwaita:dark"}
        environment = {**os.environ, **preferences, "DISPLAY": display}
        options = selenium.WebKitGTKOptions()
        options.binary_location = MINI_BROWSER
        options.add_argument("--automation")
        proxy = {"proxyType": "manual", "httpProxy": relay.address, "sslProxy": relay.address, "noProxy": []}
        options.set_capability("proxy", proxy)
        service = selenium.WebKitGTKService(executable_path=DRIVER, env=environment)
        service.start()
        try:
            # It is on this machine, whatever the environment says of the way to others.
            direct = selenium.Proxy({"proxyType": "DIRECT"})
            config = part("remote.client_config").ClientConfig(service.service_url, proxy=direct)
            connection = part("remote.remote_connection").RemoteConnection(client_config=config)
            with selenium.Remote(connection, options=options) as driver:
                driver.set_script_timeout(PATIENCE_SECONDS)
                yield Browser(driver, relay)
        finally:
            service.stop()


@contextlib.contextmanager
def _screen() -> Iterator[str]:
    """A screen that nobody sees."""
    read, write = os.pipe()
    command = [str(SCREEN), "-displayfd", str(write), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as screen:
        os.close(write)
        with os.fdopen(read) as pipe:
            display = pipe.readline().strip()
        try:
            yield f":{display}"
        finally:
            screen.terminate()


@attrs.frozen
class Kind:
    """What an engine is called."""

    name: str


@attrs.frozen
class WebError:
    """What a page has thrown."""

    error: str


class Browser:
    """A running WebKit."""

    def __init__(self, driver: Any, relay: Relay) -> None:
        self.driver = driver
        self.relay = relay
        self.idle: list[str] = [driver.current_window_handle]
        self._front = self.idle[0]

    @property
    def browser_type(self) -> Kind:
        return Kind("webkit")

    def new_context(self) -> Context:
        return Context(self)

    def new_page(self) -> Page:
        return self.new_context().new_page()

    def window(self) -> str:
        """A window that nobody uses."""
        if not self.idle:
            self.driver.switch_to.new_window("window")
            self._front = self.driver.current_window_handle
            return self._front
        return self.idle.pop(0)

    def to_front(self, window: str) -> None:
        """Drive this window."""
        if self._front != window:
            self.driver.switch_to.window(window)
            self._front = window


class Context:
    """A visitor, whose memory is empty: origins of earlier visitors are gone with their ports."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.scripts = [NOTES]
        self.pages: list[Page] = []
        self._on_error: list[Callable[[Any], None]] = []

    def on(self, event: str, handle: Callable[[Any], None]) -> None:
        assert event == "weberror"
        self._on_error.append(handle)

    def thrown(self, text: str) -> None:
        for handle in self._on_error:
            handle(WebError(text))

    def add_init_script(self, script: str) -> None:
        self.scripts.append(script)

    def new_page(self) -> Page:
        page = Page(self, self.browser.window())
        self.pages.append(page)
        return page

    def route(self, pattern: str, handle: Callable[[Any], None]) -> None:
        self.browser.relay.routes[pattern] = handle

    def unroute(self, pattern: str) -> None:
        del self.browser.relay.routes[pattern]

    def set_offline(self, offline: bool) -> None:
        self.browser.relay.offline = offline
        if offline:
            self.browser.relay.cut()
        for page in self.pages:
            page.evaluate("name => { dispatchEvent(new Event(name)); }", "offline" if offline else "online")

    def close(self) -> None:
        self.browser.relay.offline = False
        self.browser.relay.routes.clear()
        for page in list(self.pages):
            page.close()
