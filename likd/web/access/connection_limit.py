"""ConnectionLimit: how many connections may be open, in total and from one address, in all lanes together."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from likd.web.access.addresses import Proxies, caller_of, is_loopback
from likd.web.access.refusals import Refusals


@attrs.frozen
class ConnectionStatistics:
    """The connections in numbers."""

    open: int
    """How many are open."""
    refused: int
    """How many were closed because there was no seat, since the start."""


class ConnectionLimit:
    """Has `connections_max` seats, of which one address may take `per_address_max`.

    This machine and trusted proxies, which act for many clients, may take them all.
    """

    def __init__(
        self, connections_max: int, per_address_max: int, proxies: Proxies, refusals: Refusals | None = None
    ) -> None:
        self.connections_max = connections_max
        self._per_address_max = per_address_max
        self._proxies = proxies
        self._refusals = refusals or Refusals()
        self._taken: dict[str, int] = {}
        self.open = 0
        self.refused = 0

    def statistics(self) -> ConnectionStatistics:
        """The connections in numbers."""
        return ConnectionStatistics(self.open, self.refused)

    def take(self, address: str) -> Callable[[], None] | None:
        """Take a seat for a connection from `address`. Returns a function that gives it back; None if none is free."""
        caller = caller_of(address)
        taken = self._taken.get(caller, 0)
        many = is_loopback(address) or self._proxies.trusts(address)
        if self.open >= self.connections_max or (taken >= self._per_address_max and not many):
            self.refused += 1
            full = self.open >= self.connections_max
            setting = "--connections-max" if full else "--connections-per-address"
            self._refusals.tell("too many connections", "" if full else caller, setting)
            return None
        self.open += 1
        self._taken[caller] = taken + 1

        def give_back() -> None:
            self.open -= 1
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]

        return give_back
