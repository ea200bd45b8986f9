"""What visitors choose for themselves, kept in cookies: the theme, and the time zone of the days."""

from __future__ import annotations

from quart import Response
from quart_trio import QuartTrio

from likd.time_zones import is_zone
from likd.web.access.tokens import Role
from likd.web.full.auth import needs
from likd.web.full.bodies import read_body
from likd.web.full.pages.render import THEME_COOKIE, THEMES, ZONE_COOKIE, Pages, encrypted, next_page
from likd.web.problems import wrong
from likd.web.query_string import query_value

CHOICE_SECONDS = 365 * 86_400


def add_choices(app: QuartTrio, *, pages: Pages) -> None:
    """Add the forms at the foot of each page. Each leads to `next`, if that is one of our own pages."""

    def keep(cookie: str, chosen: str) -> Response:
        away, path = pages.away(next_page()), pages.base + "/"
        if chosen:
            away.set_cookie(cookie, chosen, max_age=CHOICE_SECONDS, path=path, samesite="Lax", secure=encrypted())
        else:
            away.delete_cookie(cookie, path=path)
        return away

    @app.post("/timezone")
    @needs(Role.NOBODY)
    async def time_zone() -> Response:
        chosen = query_value(await read_body(), "tz").strip()
        if chosen and not is_zone(chosen):
            return await pages.problem(wrong("tz", chosen, "the name of a time zone, such as Europe/Paris"))
        return keep(ZONE_COOKIE, chosen)

    @app.post("/theme")
    @needs(Role.NOBODY)
    async def theme() -> Response:
        chosen = query_value(await read_body(), "theme")
        return keep(THEME_COOKIE, chosen if chosen in THEMES else "")
