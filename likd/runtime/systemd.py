"""systemd's notification protocol (sd_notify(3)): ready, stopping, and watchdog keep-alive messages."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog
import trio

log = structlog.get_logger(__name__)


class Notifier:
    """Notifies the service manager that `environment` names; without one, does nothing. Never raises."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self.watchdog_seconds = _watchdog_seconds(environment) if self._address else None
        """How often the manager expects a keep-alive at least, in seconds, if it does."""

    def ready(self, status: str) -> None:
        """Report that the daemon accepts requests."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Report that the daemon is shutting down."""
        self._send("STOPPING=1\nSTATUS=shutting down")

    async def feed_watchdog(self) -> None:
        """Report twice per interval that the event loop is running, until cancelled."""
        if self.watchdog_seconds is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await trio.sleep(self.watchdog_seconds / 2)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(0)
                sock.sendto(state.encode(), self._address)
        except OSError as error:
            log.warning("can't notify the service manager", fault=error.strerror)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    usec = environment.get("WATCHDOG_USEC", "")
    pid = environment.get("WATCHDOG_PID") or str(os.getpid())
    if not usec.isdecimal() or int(usec) == 0 or pid != str(os.getpid()):
        return None
    return int(usec) / 1e6
