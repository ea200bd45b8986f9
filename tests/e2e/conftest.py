"""What the tests with a browser share."""

from __future__ import annotations

from tests.e2e.browsers import browser, chromium, context, driver, network, public, site

__all__ = ["browser", "chromium", "context", "driver", "network", "public", "site"]
