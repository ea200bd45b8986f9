"""Parses times as servers write them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime

_COMMON = re.compile(
    r"\[?(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}:\d{2}:\d{2})(?:\.\d+)? ?([+-]\d{2}):?(\d{2})\]?", re.ASCII
)
_NUMBER = re.compile(r"(\d{1,15})(?:\.\d*)?", re.ASCII)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MILLISECONDS_FROM = 10**11
"""As seconds, a larger number would be in the year 5138, so it is milliseconds."""


def seconds_of(time: bytes | None) -> int | None:
    """Whole seconds since 1970, or None if `time` is in no known form. A time without a zone is UTC."""
    text = (time or b"").decode("latin-1")
    if number := _NUMBER.fullmatch(text):
        n = int(number[1])
        return n // 1000 if n >= _MILLISECONDS_FROM else n
    if (common := _COMMON.fullmatch(text)) and common[2] in _MONTHS:
        day, month, year, clock, hours, minutes = common.groups()
        text = f"{year}-{_MONTHS.index(month) + 1:02}-{day}T{clock}{hours}:{minutes}"
    with suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text)
        seconds = int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
        return seconds if seconds >= 0 else None
    return None
