"""What may happen to bytes on a disk, for property tests: one stroke of damage, and which ranges it spares."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st


@attrs.frozen
class Stroke:
    """The bytes from `begin` to `end` are replaced by `patch`."""

    begin: int
    end: int
    patch: bytes

    def on(self, data: bytes) -> bytes:
        """`data` after it."""
        return data[: self.begin] + self.patch + data[self.end :]

    def spares(self, begin: int, end: int) -> bool:
        """Whether a record from `begin` to `end` is still there in one piece."""
        return end <= self.begin or begin >= self.end


@st.composite
def strokes(draw: st.DrawFn, size: int) -> Stroke:
    """Flipped, cut, inserted, zeroed and overwritten bytes somewhere in `size` bytes."""
    begin = draw(st.integers(0, size))
    end = draw(st.integers(begin, min(size, begin + draw(st.sampled_from([1, 4, 64, size])))))
    patch = draw(
        st.one_of(
            st.binary(max_size=40),
            st.just(b""),
            st.just(bytes(end - begin)),
            st.binary(min_size=end - begin, max_size=end - begin) if end - begin < 200 else st.just(b"\xa1LKF"),
        )
    )
    return Stroke(begin, end, patch)
