"""What the tests with a browser share, and in which engine each of them runs."""

from __future__ import annotations

import pytest

from tests.e2e.browsers import IN_CORE, IN_FULL, browser, context, network, public, site

__all__ = ["browser", "context", "network", "public", "site"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the engines that nobody has asked for."""
    left: list[pytest.Item] = []
    for item in items:
        engine = item.callspec.params.get("browser") if hasattr(item, "callspec") else None
        if engine is not None and engine not in IN_FULL and not (engine in IN_CORE and item.get_closest_marker("core")):
            left.append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
