"""A caller: who was let in, and in which role."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from likd.web.access.shares import Share
from likd.web.access.tokens import Role
from likd.web.access.visitors import Visitor

TOKEN = "token "
"""The beginning of the name of a caller with a token."""


@attrs.frozen
class Caller:
    """A caller that was let in: its role, its name for limits, and headers for the answer."""

    role: Role
    name: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    visitor: Visitor | None = None
    """Only for callers without a token."""
    share: Share | None = None
    """The only thing that it may read, if it came by a link."""


UNRESTRICTED = Caller(Role.ADMIN)
"""The caller if everything is open to everyone."""
