"""How many lines had which outcome."""

from __future__ import annotations

import msgspec

from likd.cli.sending.lines import Skip


class LineStats(msgspec.Struct, omit_defaults=True):
    """Of `lines` lines, `events` were accepted; the others are counted by the reason why they were not."""

    lines: int = 0
    events: int = 0
    refused: int = 0
    """Refused by the daemon, or not an event at all."""
    unparsable: int = 0
    """Not a line of the access log's format."""
    skipped: int = 0
    """Good lines with nothing to count: requests that were not deliveries."""
    blank: int = 0
    static: int = 0
    """Deliveries of other things than pages: style sheets, scripts, pictures, films; robots.txt."""
    parts: int = 0
    """Deliveries of a part (206) of something whose beginning is on another line."""
    bots: int = 0
    prefetches: int = 0
    other_hosts: int = 0
    """Requests to another host than the site."""

    def add(self, other: LineStats) -> None:
        """Add `other` to this one."""
        for field in self.__struct_fields__:
            setattr(self, field, getattr(self, field) + getattr(other, field))

    def skip(self, reason: Skip) -> None:
        """Count a good line that is not an event."""
        setattr(self, reason.value, getattr(self, reason.value) + 1)

    @property
    def clean(self) -> bool:
        """Whether every line was good."""
        return not self.refused and not self.unparsable

    def __str__(self) -> str:
        parts = [f"{self.events} events accepted", f"{self.refused} lines refused"]
        for n, what in (
            (self.unparsable, "unparsable"),
            (self.skipped, "skipped (no delivery)"),
            (self.static, "static files"),
            (self.parts, "parts"),
            (self.bots, "bots"),
            (self.prefetches, "prefetches"),
            (self.other_hosts, "of other hosts"),
            (self.blank, "blank"),
        ):
            if n:
                parts.append(f"{n} {what}")
        return f"{self.lines} lines read: {', '.join(parts)}"
