"""Pictures that count: an impression where a page has no script."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs
from quart import Request, Response, request
from quart_trio import QuartTrio

from likd.model import Accepted
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.answers import Answer
from likd.web.api.events import Operations
from likd.web.full.auth import caller, credentials, needs
from likd.web.problems import Problem
from likd.web.query_string import query_value

PIXEL = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
"""A transparent GIF of one pixel."""


@attrs.frozen
class Sights:
    """Counts that a picture was seen. Raises Problem where it may not be, or could not be counted."""

    operations: Operations
    gate: Gate

    async def count(self, asked: Request) -> Answer | None:
        """Count an impression of the URL that is asked for; the answer instead of the picture if that failed."""
        if asked.method != "GET":
            return None
        self._check_page(asked)
        outcome = await self.operations.see(query_value(asked.query_string, "url"), caller())
        return None if isinstance(outcome, Accepted) else self.operations.answer(outcome)

    def _check_page(self, asked: Request) -> None:
        """Pictures come without an Origin, so it is the Referer that says what page shows it."""
        origin = _origin(asked.headers.get("Referer", ""))
        self.gate.cross_origin(attrs.evolve(credentials(asked), origin=origin))
        if not origin and caller().role is not Role.PUBLIC and asked.headers.get("Sec-Fetch-Site") == "cross-site":
            raise Problem(403, "a page that does not say who it is is not let in", members={"field": "Referer"})


def add_pixel(app: QuartTrio, sights: Sights) -> None:
    """Add /pixel.gif."""

    @app.get("/pixel.gif")
    @needs(Role.PUBLIC)
    async def get_pixel() -> Response:
        failed = await sights.count(request)
        answer = failed or Answer(200, PIXEL, "image/gif", {"Cache-Control": "no-store"})
        answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)


def _origin(referer: str) -> str:
    try:
        page = urlsplit(referer)
    except ValueError:
        return "null"
    return f"{page.scheme}://{page.netloc}" if page.netloc else ""
