"""WebKit by WebDriver, spoken to as Playwright is: the part of its interface that the browser tests use.

Debian's MiniBrowser runs on a screen of its own. Its windows are never closed but used again: the first one's end
would be the browser's. What WebDriver can't do is done by a proxy and by the script that each page begins with.
"""

from __future__ import annotations

from tests.e2e.webkit.browser import missing, running
from tests.e2e.webkit.page import Locator, Page

__all__ = ["Locator", "Page", "missing", "running"]
