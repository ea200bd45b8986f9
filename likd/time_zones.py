"""Time zones by their names."""

from __future__ import annotations

import re
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,62}", re.ASCII)


def zone_of(name: str) -> tzinfo:
    """The time zone with that name, UTC for "". Raises ValueError."""
    if name in ("", "UTC"):
        return UTC
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):
        pass
    raise ValueError(f"there is no time zone {name!a}")


def is_zone(name: str) -> bool:
    """Whether a time zone has that name."""
    try:
        zone_of(name)
    except ValueError:
        return False
    return True
