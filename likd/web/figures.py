"""Formats numbers and times for people, in the same way in pages, badges and the pages' scripts (numbers.js)."""

from __future__ import annotations

import time

WHOLE_MAX = 10_000
"""From this number on, a count is written with three digits."""
PERCENT_MAX = 999
"""Growth beyond this is not shown exactly."""
DASH = "–"
"""Stands for an unknown figure."""

_SIZES = ((10**9, "B"), (10**6, "M"), (10**3, "K"))


def whole(count: int) -> str:
    """`count` with all its digits, in groups of three."""
    return f"{count:,}"


def compact(count: int) -> str:
    """`count`; from 10,000 on, only its first three digits, truncated and never rounded up."""
    if abs(count) < WHOLE_MAX:
        return whole(count)
    size, letter = next((size, letter) for size, letter in _SIZES if abs(count) >= size)
    digits = 2 if abs(count) < 10 * size else 1 if abs(count) < 100 * size else 0
    before, after = divmod(abs(count) * 10**digits // size, 10**digits)
    fraction = f".{after:0{digits}d}".rstrip("0") if after else ""
    return f"{'-' if count < 0 else ''}{whole(before)}{fraction}{letter}"


def per_hundred(part: int, total: int) -> str:
    """`part` as a percentage of `total`; a dash if there is no total."""
    return f"{_tenths(part * 1000, total)}" if total > 0 else DASH


def change(now: int, before: int) -> str:
    """The change from `before` to `now` in percent, with its sign; "new" if it was nothing, a dash if it still is."""
    if before <= 0:
        return "new" if now > 0 else DASH
    percent = (200 * (now - before) + before) // (2 * before)
    if percent > PERCENT_MAX:
        return f"+>{PERCENT_MAX}%"
    return f"{'+' if percent > 0 else '−' if percent < 0 else ''}{abs(percent)}%"


def rate(per_second: float) -> str:
    """A rate per second, with one decimal below 100."""
    return compact(int(per_second)) if per_second >= 100 else f"{per_second:.1f}".removesuffix(".0")


def duration(seconds: float) -> str:
    """A duration in its two largest units."""
    total = int(seconds)
    days, hours, minutes = total // 86_400, total // 3600 % 24, total // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{total} s"


def milliseconds(time: float) -> str:
    """A short duration in milliseconds, with as many digits as are known."""
    return f"{time:g} ms"


def moment(at: float) -> str:
    """A moment (Unix time) in UTC, to the second."""
    return time.strftime("%d %b %H:%M:%S", time.gmtime(at)).removeprefix("0")


def size(count: int) -> str:
    """A number of bytes."""
    for unit, letter in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {letter}"
    return f"{count} B"


def _tenths(thousandths: int, total: int) -> str:
    tenths = thousandths // total
    return f"{whole(tenths // 10)}.{tenths % 10}"
