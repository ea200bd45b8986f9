"""Make the pictures of the pages and the button for the documentation.

scripts/pictures                    into docs/images
scripts/pictures DIRECTORY          elsewhere
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
DAY = 86_400
LIVE_SECONDS = 20
"""After this long, rates have settled."""
SITES = {"news.example.net": 9.0, "www.example.com": 4.0, "shop.example.com": 1.5, "docs.example.org": 0.6}
WORDS = [
    "guides/how-to-choose-a-kettle-that-will-outlive-your-kitchen",
    "articles/coffee",
    "recipes/bread",
    "paper-boats",
    "2026/11/24/the-ferry-timetable-changes-on-monday",
    "products/folding-bicycle-lamp?colour=green",
    "articles/tides",
    "guides/2026/sourdough-without-scales",
    "about",
    "recipes/soup-of-the-day",
    "2026/10/03/the-bridge-opens",
]
PAGE = "https://www.example.com/guides/how-to-choose-a-kettle-that-will-outlive-your-kitchen"
BUTTONS = """<!doctype html><html lang="en"><style>body { margin: 12px; color-scheme: %s; background: %s; }</style>
<script src="/likd.js" defer></script><body><like-button url="%s"></like-button>
<like-button url="https://news.example.net/articles/coffee" words></like-button>
<like-button url="https://www.example.com/nobody"></like-button></body></html>"""

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def ask(address: str, body: str = "", **headers: str) -> bytes:
    """The answer to a request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: bytes = _open(urllib.request.Request(address, body.encode() or None, named), timeout=60).read()
    return answer


def fill(url: str) -> None:
    """Thirteen months of made-up counts, the same each time."""
    chance = random.Random(7)
    now = int(time.time())
    lines = []
    for host, weight in SITES.items():
        for rank, path in enumerate(WORDS, start=1):
            for day in [*range(62), *range(62, 395, 5)]:
                views = int(weight * 900 / rank * chance.uniform(0.6, 1.4) * (1 - day / 900) * (5 if day >= 62 else 1))
                likes = int(views * chance.uniform(0.05, 0.11))
                row = {
                    "url": f"https://{host}/{path}",
                    "time": now - day * DAY - chance.randrange(3600 if not day else 80_000),
                }
                lines.append(json.dumps({**row, "likes": likes, "unlikes": likes // 12, "impressions": views}))
    for begin in range(0, len(lines), 3000):
        ask(f"{url}/v1/import", "\n".join(lines[begin : begin + 3000]), Idempotency_Key=f"pictures-{begin}")


def go_on(url: str, seconds: float) -> None:
    """Send events for that long."""
    chance = random.Random(8)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rows = [
            {
                "kind": chance.choice(["impression"] * 8 + ["like"]),
                "url": f"https://{host}/{WORDS[chance.randrange(5)]}",
            }
            for host in SITES
            for _ in range(chance.randrange(4))
        ]
        ask(f"{url}/v1/events", json.dumps(rows), Content_Type="application/json")
        time.sleep(0.1)


def picture(
    browser: Browser, url: str, path: Path, *, width: int, height: int, dark: bool = False, scale: float = 1
) -> None:
    """One page, once it is live and drawn."""
    page: Any = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    page.goto(url)
    page.locator("#link", has_text="Live").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path=path)
    page.close()


def buttons(browser: Browser, url: str, path: Path, scheme: str, back: str) -> None:
    """Three buttons, of which the second is pressed."""
    page: Any = browser.new_page(viewport={"width": 404, "height": 64}, device_scale_factor=2)
    body = BUTTONS % (scheme, back, PAGE)
    page.route("**/buttons.html", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(f"{url}/buttons.html")
    page.locator("like-button").nth(1).locator("button").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    page.close()


def pictures(url: str, images: Path) -> None:
    """Make all pictures of the daemon at `url`."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        picture(browser, url, images / "dashboard-light.png", width=1200, height=1400)
        picture(browser, url, images / "dashboard-dark.png", width=1200, height=1400, dark=True)
        picture(browser, url, images / "dashboard-phone.png", width=390, height=844, scale=2)
        picture(browser, f"{url}/url?url={PAGE}&range=30d", images / "url.png", width=1100, height=1000)
        picture(browser, f"{url}/engine", images / "engine.png", width=1100, height=1000)
        buttons(browser, url, images / "button-light.png", "light", "#fff")
        buttons(browser, url, images / "button-dark.png", "dark", "#16181b")
        browser.close()
    (images / "badge.svg").write_bytes(ask(f"{url}/badge.svg?url={PAGE}"))


def main(images: Path) -> None:
    """Start a daemon, fill it, and make them all."""
    with tempfile.TemporaryDirectory() as directory:
        serve = [sys.executable, "-m", "likd", "serve", "--data-dir", f"{directory}/data", "--bind", "127.0.0.1:0"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as daemon:
            try:
                assert daemon.stdout is not None
                url = daemon.stdout.readline().split()[-1]
                fill(url)
                with subprocess.Popen([sys.executable, __file__, "--go-on", url]) as live:
                    time.sleep(LIVE_SECONDS)
                    try:
                        pictures(url, images)
                    finally:
                        live.terminate()
            finally:
                daemon.terminate()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--go-on"]:
        go_on(sys.argv[2], 120)
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
