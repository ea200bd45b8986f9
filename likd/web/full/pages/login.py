"""Logging in and out."""

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
from likd.web.full.pages.render import Pages, encrypted, next_page
from likd.web.problems import Problem
from likd.web.query_string import query_value

log = structlog.get_logger(__name__)


def add_login(app: QuartTrio, *, pages: Pages, gate: Gate) -> None:
    """Add login and logout. Each leads to `next`, if that is one of our own pages."""

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
