"""What a client may ask for on `/v1/live`, and how a session ends if it asks for anything else."""

from __future__ import annotations

import msgspec

from likd.queries.trending import By
from likd.web.access.tokens import Role

GOING_AWAY = 1001
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
BAD_MESSAGE = 4400


class Watch(msgspec.Struct, tag_field="op", tag="watch", forbid_unknown_fields=True):
    """Watch URLs."""

    urls: list[str]
    partial: bool = False
    """Whether each URL is answered separately; if not, one that can't be watched ends the session."""


class Unwatch(msgspec.Struct, tag_field="op", tag="unwatch", forbid_unknown_fields=True):
    """Stop watching them."""

    urls: list[str]


class WatchTop(msgspec.Struct, tag_field="op", tag="watch_top", forbid_unknown_fields=True):
    """Watch a top list."""

    by: str = "likes"
    limit: int = 10


class UnwatchTop(msgspec.Struct, tag_field="op", tag="unwatch_top", forbid_unknown_fields=True):
    """Stop watching it."""


class WatchHot(msgspec.Struct, tag_field="op", tag="watch_hot", forbid_unknown_fields=True):
    """Watch what is hottest now, by all events or by likes, on all sites or on one."""

    limit: int = 10
    by: By = "events"
    site: str = ""


class UnwatchHot(msgspec.Struct, tag_field="op", tag="unwatch_hot", forbid_unknown_fields=True):
    """Stop watching it."""


class WatchSite(msgspec.Struct, tag_field="op", tag="watch_site", forbid_unknown_fields=True):
    """Watch the sums of a site, or of all sites."""

    host: str = ""


class UnwatchSite(msgspec.Struct, tag_field="op", tag="unwatch_site", forbid_unknown_fields=True):
    """Stop watching it."""


class WatchStatus(msgspec.Struct, tag_field="op", tag="watch_status", forbid_unknown_fields=True):
    """Watch the daemon itself."""


class UnwatchStatus(msgspec.Struct, tag_field="op", tag="unwatch_status", forbid_unknown_fields=True):
    """Stop watching it."""


class Ping(msgspec.Struct, tag_field="op", tag="ping", forbid_unknown_fields=True):
    """Say that the client is still there."""


Op = (
    Watch
    | Unwatch
    | WatchTop
    | UnwatchTop
    | WatchHot
    | UnwatchHot
    | WatchSite
    | UnwatchSite
    | WatchStatus
    | UnwatchStatus
    | Ping
)
_decoder: msgspec.json.Decoder[Op] = msgspec.json.Decoder(Op)

NEEDS: dict[type[msgspec.Struct], Role] = {WatchTop: Role.WRITER, WatchHot: Role.WRITER, WatchStatus: Role.ADMIN}
"""Operations that need a role of their own; for URLs, the gate checks each one."""


class Close(Exception):
    """The session has to end with this close code and reason: it broke the rules, or the daemon is shutting down."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        # A close frame has room for 123 bytes of reason.
        self.reason = reason.encode(errors="replace")[:120].decode(errors="ignore")


def going_away() -> Close:
    """How all sessions end when the daemon does."""
    return Close(GOING_AWAY, "the daemon is shutting down")


def read_op(message: str | bytes) -> Op:
    """The operation that a message asks for. Raises Close."""
    if isinstance(message, bytes):
        raise Close(UNSUPPORTED_DATA, "expected a text message")
    try:
        return _decoder.decode(message)
    except msgspec.DecodeError as error:
        raise Close(BAD_MESSAGE, str(error).replace("`", "")) from None
