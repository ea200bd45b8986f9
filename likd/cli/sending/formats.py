"""Formats of input, chosen by name or detected from the lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import attrs

from likd.cli.client import ClientError
from likd.cli.sending import fieldlogs, textlogs
from likd.cli.sending.accesslog import Impressions, Request
from likd.cli.sending.fieldlogs import JsonLog, W3cLog
from likd.cli.sending.lines import Format, LineRefused, NotALogLine, Skip

NAMES = (
    *("auto", "ndjson", "access-log", "common", "combined", "vhost", "json", "caddy", "traefik", "nginx", "apache"),
    *("w3c", "iis", "cloudfront", "alb"),
)
LOOKED_AT_MAX = 100
"""After this many lines of no known format, detection gives up."""


class Log(Protocol):
    """A log format."""

    @property
    def name(self) -> str:
        """The name of the format."""

    def request(self, line: bytes, header: bytes) -> Request | Skip:
        """The request that `line` records. Raises NotALogLine."""


class Ndjson:
    """One JSON object per line. The bytes are passed through: the daemon judges them."""

    from_log = False

    def event(self, line: bytes, header: bytes) -> bytes:
        """`line` itself. Raises LineRefused."""
        # An array, say, would be refused in a body of several lines, but not alone; likewise an object
        # that continues on the next line. A line's place must not matter, so both are refused here.
        if not line.lstrip().startswith(b"{"):
            raise LineRefused("expected a JSON object on one line")
        return line


@attrs.frozen
class AccessLog:
    """A log of requests, some of which are impressions."""

    log: Log
    impressions: Impressions
    from_log = True

    def event(self, line: bytes, header: bytes) -> bytes | Skip:
        """The impression, or why there is none. Raises LineRefused, NotALogLine."""
        request = self.log.request(line, header)
        return request if isinstance(request, Skip) else self.impressions.event(request)


class Looking:
    """Detects the format from the first line of a known one, and then reads all lines in it."""

    def __init__(self, name: str, impressions: Impressions, *, only_logs: bool = False) -> None:
        self._source = name
        self._impressions = impressions
        self._only_logs = only_logs
        self._unknown = 0
        self.found: Format | None = None

    @property
    def from_log(self) -> bool:
        """Whether it is a log. As long as that is unknown, it may be one."""
        return self.found is None or self.found.from_log

    def event(self, line: bytes, header: bytes) -> bytes | Skip:
        """As the detected format does. Raises ClientError if none is detected."""
        if self.found is None and not self.look([line]):
            self._unknown += 1
            if self._unknown >= LOOKED_AT_MAX:
                raise ClientError(f"{self._source}: the lines are in no known format: see --format")
            raise NotALogLine("not a line in a known format")
        assert self.found is not None
        return self.found.event(line, header)

    def look(self, lines: Sequence[bytes]) -> bool:
        """Whether `lines`, the first ones, reveal the format. Raises ClientError."""
        for line in islice(lines, LOOKED_AT_MAX):
            found = _look(line)
            if isinstance(found, Ndjson):
                if self._only_logs:
                    raise ClientError(
                        f"{self._source}: not an access log: the lines are JSON without request and status"
                    )
                if self._impressions.site is not None:
                    raise ClientError(f"{self._source}: --site is for logs, and this file holds events")
                self.found = found
            elif found is not None:
                self.found = AccessLog(found, self._impressions)
                self._check_host(found, line)
            if self.found is not None:
                return True
        return False

    def _check_host(self, log: Log, line: bytes) -> None:
        """Raise ClientError if neither the lines nor `--site` name the site."""
        if self._impressions.site is None and not line.startswith(b"#"):
            request = log.request(line, b"")
            if isinstance(request, Request) and request.host is None:
                raise ClientError(f"{self._source}: the log does not name its site: give it with --site")


def make(name: str, source: str, impressions: Impressions) -> Format:
    """The format with that name, or that a format string describes. Raises ClientError."""
    match name:
        case "auto":
            return Looking(source, impressions)
        case "access-log":
            return Looking(source, impressions, only_logs=True)
        case "ndjson":
            return Ndjson()
        case "common":
            log: Log = textlogs.COMMON
        case "combined" | "nginx" | "apache":
            log = textlogs.COMBINED
        case "vhost":
            log = textlogs.VHOST
        case "alb":
            log = textlogs.ALB
        case "json" | "caddy" | "traefik":
            log = JsonLog()
        case "w3c" | "iis" | "cloudfront":
            log = W3cLog()
        case _:
            log = textlogs.from_string(name)
    return AccessLog(log, impressions)


def _look(line: bytes) -> Ndjson | Log | None:
    if line.startswith((b"#Version:", b"#Fields:", b"#Software:", b"#Date:")):
        return W3cLog()
    if line.lstrip().startswith(b"{"):
        try:
            return JsonLog() if fieldlogs.is_log(fieldlogs.decode(line)) else Ndjson()
        except NotALogLine:
            return None
    return textlogs.look(line)
