"""A node that is tormented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from torment.daemon import Counted, WarmDaemon
from torment.proxy import Proxy

KEEP_SECONDS = 60
"""How long the nodes keep what they gave the store: longer than a standby lags."""


class Node:
    """A node, what it acknowledged, and its route to the store."""

    def __init__(self, number: int, directory: Path, port: int, store_port: Callable[[], int]) -> None:
        self.number = number
        self.proxy = Proxy(store_port)
        self.acknowledged: Counted = Counter()
        self._data, self._log, self._port = directory / f"node{number}", directory / f"node{number}.log", port
        self._secret = directory / "secret"
        self.daemon = WarmDaemon(self._data, port, self._log)

    def reach_store(self, url: str) -> None:
        """Set the URL by which it reaches the store; once, before it is started."""
        flags = ["--store", url, "--actor-secret-file", str(self._secret), "--replay-window", str(KEEP_SECONDS)]
        self.daemon = WarmDaemon(self._data, self._port, self._log, *flags)
