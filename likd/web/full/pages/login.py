"""Logging in and out, and a browser's choice of colours."""

from __future__ import annotations

import structlog
from quart import Response, request
from quart_trio import QuartTrio

from likd.web.access.credentials import COOKIE
from likd.web.access.gate import Gate
from likd.web.access.sessions import SESSION_SECONDS
from likd.web.access.tokens import Role
from likd.web.full.auth import credentials, needs
from likd.web.full.bodies import read_body
from likd.web.full.pages.render import THEME_COOKIE, THEMES, Pages, encrypted, own_path
from likd.web.problems import Problem
from likd.web.query_string import query_value

THEME_SECONDS = 365 * 86_400

log = structlog.get_logger(__name__)


def add_login(app: QuartTrio, *, pages: Pages, gate: Gate) -> None:
    """Add login, logout and the choice of a theme. Each redirects to `next`, if that is one of our own pages."""

    def next_page() -> str:
        return own_path(query_value(request.query_string, "next"))

    @app.get("/login")
    @needs(Role.NOBODY)
    async def login_form() -> Response:
        return await pages("login.html", wrong=False, next=next_page())

    @app.post("/login")
    @needs(Role.NOBODY)
    async def login() -> Response:
        peer, shown = request.remote_addr or "", credentials(request)
        gate.limit_login(peer, shown)
        session = gate.login(query_value(await read_body(), "token"), peer, shown)
        if session is None:
            return await pages("login.html", code=401, wrong=True, next=next_page())
        try:
            await gate.logins.keep()
        except OSError as error:
            log.error("a login can't be saved: it ends with the daemon", fault=str(error))
        away = pages.away(next_page())
        away.set_cookie(
            COOKIE,
            session,
            max_age=SESSION_SECONDS,
            path=pages.base + "/",
            httponly=True,
            samesite="Strict",
            secure=encrypted(),
        )
        return away

    @app.post("/logout")
    @needs(Role.NOBODY)
    async def logout() -> Response:
        gate.logout(credentials(request))
        try:
            await gate.logins.keep()
        except OSError as error:
            log.error("a logout can't be saved", fault=str(error))
            detail = "the session has ended, but may be back when the daemon restarts: the disk refuses the write"
            raise Problem(503, detail, headers={"Retry-After": "10"}) from None
        away = pages.away("/login")
        away.delete_cookie(COOKIE, path=pages.base + "/")
        return away

    @app.post("/theme")
    @needs(Role.NOBODY)
    async def theme() -> Response:
        chosen = query_value(await read_body(), "theme")
        away = pages.away(next_page())
        if chosen in THEMES:
            away.set_cookie(
                THEME_COOKIE, chosen, max_age=THEME_SECONDS, path=pages.base + "/", samesite="Lax", secure=encrypted()
            )
        else:
            away.delete_cookie(THEME_COOKIE, path=pages.base + "/")
        return away
