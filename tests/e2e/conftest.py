"""What the tests with a browser share."""

from __future__ import annotations

from tests.e2e.browsers import browser, context, network, public, site

__all__ = ["browser", "context", "network", "public", "site"]
