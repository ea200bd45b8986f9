"""Seats for a front's connections: the engine owns them, and says when there is none."""

from __future__ import annotations

from collections.abc import Callable

from likd.web.fronts.link import Link
from likd.web.fronts.messages import Closed, Opened


class Seat:
    """A connection's seat; calling it gives it back."""

    __slots__ = ("_ended", "number")

    def __init__(self, number: int, ended: Callable[[int], None]) -> None:
        self.number = number
        self._ended = ended

    def __call__(self) -> None:
        """Give it back."""
        self._ended(self.number)


class Seats:
    """Tells the engine about each connection. It is served meanwhile, and closed if there turns out to be no seat.

    So for as long as a message takes, there may be more connections than allowed in total, but never more than
    `connections_max` of one front.
    """

    def __init__(self, link: Link, connections_max: int) -> None:
        self._link = link
        self._connections_max = connections_max
        self._last = 0
        self._taken: dict[int, Seat] = {}

    def take(self, address: str) -> Callable[[], None] | None:
        """Take a seat for a connection from `address`; None if there is none."""
        if len(self._taken) >= self._connections_max:
            return None
        self._last += 1
        seat = self._taken[self._last] = Seat(self._last, self._end)
        self._link.send(Opened(seat.number, address))
        return seat

    def hand(self, leave: Callable[[], None]) -> int:
        """The number of a seat that moves to the engine with its connection."""
        assert isinstance(leave, Seat)
        del self._taken[leave.number]
        return leave.number

    def of(self, number: int) -> Seat | None:
        """The seat with this number, if its connection is here."""
        return self._taken.get(number)

    def _end(self, number: int) -> None:
        del self._taken[number]
        self._link.send(Closed(number))
