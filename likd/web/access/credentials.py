"""What a request says about its caller."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from likd.web.access.visitors import PURPOSES
from likd.web.query_string import query_value

COOKIE = "likd_admin"
SESSIONS_SENT_MAX = 4


@attrs.frozen
class Credentials:
    """What the headers of a request say about its caller."""

    authorization: str = attrs.field(default="", repr=False)
    origin: str = ""
    host: str = ""
    forwarded_for: str = ""
    cookie: str = attrs.field(default="", repr=False)
    agent: str = ""
    """The User-Agent header."""
    purpose: str = ""
    """The purpose of the request, if it names one: Sec-Purpose and its older names."""

    @classmethod
    def of(cls, header: Callable[[str], str], query: bytes = b"") -> Credentials:
        """Read them from a request; `header` returns "" for a header that it does not have.

        A link's token may also be in the `query`, because browsers' websockets can't set headers.
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
    """The values of our cookie: a browser sends several if several were set, for different paths."""
    pairs = [pair.strip().partition("=") for pair in cookies.split(";")]
    return [value for name, _, value in pairs if name == COOKIE][:SESSIONS_SENT_MAX]
