"""The engine's own page: whether it accepts events, where they queue, what failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Response
from quart_trio import QuartTrio

from likd.status import StatusReport
from likd.web import figures
from likd.web.access.tokens import Role
from likd.web.full.auth import needs
from likd.web.full.pages.render import Pages

FAULTS_MAX = 10
"""How many faults the page shows; the status has more."""


def add_engine(app: QuartTrio, *, pages: Pages, status: StatusReport) -> None:
    """Add the engine's page."""

    @app.get("/engine")
    @needs(Role.ADMIN)
    async def engine() -> Response:
        config = status.engine.config
        known = {"status": status.status(), "tree": status.tree()}
        return await pages(
            "engine.html",
            status=known["status"],
            tree=known["tree"],
            config=config,
            refused=sorted(known["status"]["refused_24h"].items(), key=lambda row: (-row[1], row[0])),
            faults_max=FAULTS_MAX,
            takes=status.engine.bounds.reached(count=False),
            told=lambda path, form: tell(known, path, form),
        )


def tell(known: Mapping[str, Any], path: str, form: str) -> str:
    """The figure at `path` (names separated by dots), formatted as `form` says; a dash if it is unknown."""
    value: Any = known
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value.get(name) if value is not None else None
    if value is None:
        return figures.DASH
    return str(value) if form == "text" else str(getattr(figures, form)(value))
