"""The first page: all sites."""

from __future__ import annotations

import msgspec
from quart import Response
from quart_trio import QuartTrio

from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.api.events import Operations
from likd.web.full.auth import needs
from likd.web.full.pages.render import Pages

TOP = "10"


def add_overview(app: QuartTrio, *, pages: Pages, operations: Operations, gate: Gate) -> None:
    """Add the first page."""

    @app.get("/")
    @needs(Role.ADMIN)
    async def overview() -> Response:
        top = msgspec.json.decode((await operations.top("net", TOP)).body)["top"]
        if not top:
            return await pages("empty.html", host=gate.demo_host)
        return await pages("overview.html", top=top)
