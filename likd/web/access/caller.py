"""A caller: who was let in, and as what."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from likd.web.access.shares import Share
from likd.web.access.tokens import Role
from likd.web.access.visitors import Visitor

TOKEN = "token "
"""With this the name of a caller with a token begins."""


@attrs.frozen
class Caller:
    """A caller that was let in: its role, its name for limits, and the headers of the answer."""

    role: Role
    name: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    visitor: Visitor | None = None
    """Of the public only."""
    share: Share | None = None
    """All that it may read, if it came by a link."""


UNRESTRICTED = Caller(Role.ADMIN)
"""The caller where all is open to all."""
