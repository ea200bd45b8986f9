"""BodyBudget for request bodies: how many bytes of them may be in memory at once, whichever lane they come by."""

from __future__ import annotations

import attrs

BODY_SECONDS = 20.0
BODY_BYTES_PER_SECOND = 16_384
"""A body may take 20 seconds, and a second more for each 16 KiB."""


@attrs.define
class BodyBudget:
    """At most `bytes_max` bytes."""

    bytes_max: int
    taken: int = 0

    def take(self, size: int) -> bool:
        """Take room for `size` bytes, if there is so much; else none, and False."""
        if self.taken + size > self.bytes_max:
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        """So many bytes are let go of."""
        self.taken -= size
