"""The budget of request bodies: how many bytes of them may be in memory at once, in all lanes together."""

from __future__ import annotations

import attrs

BODY_SECONDS = 20.0
BODY_BYTES_PER_SECOND = 16_384
"""A body may take 20 seconds, plus one second for each 16 KiB."""


@attrs.define
class BodyBudget:
    """At most `bytes_max` bytes."""

    bytes_max: int
    taken: int = 0

    def take(self, size: int) -> bool:
        """Take room for `size` bytes, or none if there is not enough. Returns whether it was taken."""
        if self.taken + size > self.bytes_max:
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        """Give back room for that many bytes."""
        self.taken -= size
