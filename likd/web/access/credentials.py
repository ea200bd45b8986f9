"""What a request says of its caller."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from likd.web.access.visitors import PURPOSES
from likd.web.query_string import query_value

COOKIE = "likd_admin"
SESSIONS_SENT_MAX = 4


@attrs.frozen
class Credentials:
    """What the headers of a request say of its caller."""

    authorization: str = attrs.field(default="", repr=False)
    origin: str = ""
    host: str = ""
    forwarded_for: str = ""
    cookie: str = attrs.field(default="", repr=False)
    agent: str = ""
    """User-Agent."""
    purpose: str = ""
    """Why it is asked for, where that is told: Sec-Purpose and its older names."""

    @classmethod
    def of(cls, header: Callable[[str], str], query: bytes = b"") -> Credentials:
        """Read them off a request, whose `header` of a name is "" if it has none.

        What a link lets read may be asked for with its token in the `query`: websockets of browsers have no headers.
        """
        authorization = header("Authorization")
        if not authorization and b"share=" in query:
            authorization = f"Bearer {query_value(query, 'share')}"
        return cls(
            authorization,
            header("Origin"),
            header("Host"),
            header("X-Forwarded-For"),
            header("Cookie"),
            header("User-Agent"),
            " ".join([header(name) for name in PURPOSES]),
        )


NO_CREDENTIALS = Credentials()


def sessions_of(cookies: str) -> list[str]:
    """The values of our cookie: browsers send several, if several were set for different paths."""
    pairs = [pair.strip().partition("=") for pair in cookies.split(";")]
    return [value for name, _, value in pairs if name == COOKIE][:SESSIONS_SENT_MAX]
