"""What pieces of request bodies held, so that the same bytes are decoded once."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

CACHED_MAX = 131_072
"""How many pieces are remembered: enough for the recurring events of a hundred thousand pages."""
EVICTED_AT_ONCE = 4096
"""How many of the oldest make room for others in one step, a millisecond's worth."""
CACHED_BYTES_MAX = 512
"""Longer pieces are not remembered, so each of the two memories stays under about 80 MB."""


class Remembered:
    """What pieces of bodies contained: kind → piece → canonical URL, bounded. A piece in `braces` is a JSON object."""

    def __init__(self, kinds: Iterable[str], braces: tuple[bytes, bytes]) -> None:
        self.kinds: dict[str, dict[bytes, str]] = {kind: {} for kind in kinds}
        self.braces = braces

    def get(self, piece: bytes) -> tuple[str, str] | None:
        """The kind and URL of `piece`, if they are remembered."""
        for kind, urls in self.kinds.items():
            url = urls.get(piece)
            if url is not None:
                return kind, url
        return None

    def likeliest_first(self, piece: bytes) -> list[tuple[str, dict[bytes, str]]]:
        """The kinds with their pieces, the kind of `piece` first, because most bodies are of one kind."""
        return sorted(self.kinds.items(), key=lambda item: piece not in item[1])

    def remember(self, kind: str, pieces: list[bytes], urls: list[str]) -> None:
        """Remember what `pieces` contained."""
        excess = sum(map(len, self.kinds.values())) + len(pieces) - CACHED_MAX
        if excess > 0:
            # Only some of the oldest: dropping all at once would take 40 ms, and dropping each separately a search for
            # it.
            largest = max(self.kinds.values(), key=len)
            for piece in list(islice(largest, max(excess, EVICTED_AT_ONCE))):
                del largest[piece]
        if max(map(len, pieces)) <= CACHED_BYTES_MAX:
            self.kinds[kind].update(zip(pieces, urls, strict=True))
        else:
            self.kinds[kind].update(
                (piece, url) for piece, url in zip(pieces, urls, strict=True) if len(piece) <= CACHED_BYTES_MAX
            )
