"""What a line of input can be: an event, a good line with nothing to count, or a bad one."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from likd.errors import LikdError


class LineRefused(LikdError):
    """The line can't be an event; the message says why."""


class NotALogLine(LikdError, ValueError):
    """The line is not in the log's format; the message says what was expected."""


class Skip(Enum):
    """Why a good line of a log is not counted. The values are the fields of LineStats."""

    NO_DELIVERY = "skipped"
    OTHER_HOST = "other_hosts"
    PART = "parts"
    STATIC = "static"
    PREFETCH = "prefetches"
    BOT = "bots"
    COMMENT = "blank"


class Format(Protocol):
    """Reads lines. The same line always yields the same bytes: retries depend on it."""

    @property
    def from_log(self) -> bool:
        """Whether the lines are a web server's log: then anybody can make it write lines that are not events."""

    def event(self, line: bytes, header: bytes) -> bytes | Skip:
        """The event in `line` as a line of NDJSON, or why there is none.

        `header` is the last line before it that names the fields (`#Fields: …`), empty if there is none.
        Raises LineRefused, NotALogLine, or ClientError if none of the lines can be read.
        """
