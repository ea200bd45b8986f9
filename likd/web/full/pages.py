"""Pages for people, and the script that other sites embed."""

from __future__ import annotations

import structlog
from quart import Response, render_template, request
from quart_trio import QuartTrio

from likd import __version__
from likd.web.access.credentials import COOKIE
from likd.web.access.gate import Gate
from likd.web.access.sessions import SESSION_SECONDS
from likd.web.access.tokens import Role
from likd.web.api.files import Files, takes_gzip
from likd.web.api.urls import Urls
from likd.web.full.auth import caller, credentials, for_any_page, needs
from likd.web.full.bodies import read_body
from likd.web.problems import Problem
from likd.web.query_string import query_value

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

log = structlog.get_logger(__name__)


def add_pages(app: QuartTrio, *, gate: Gate, urls: Urls, files: Files, names: tuple[str, ...], base: str) -> None:
    """Add the dashboard, the page of a URL, login, demo, API description, and what they are made of."""

    async def page(template: str, **context: object) -> Response:
        shown = {"version": __version__, "mark": files.mark, "login": gate.wants_login, "base": base}
        body = await render_template(
            template, **shown, home=f"{request.host_url}{base[1:]}{'/' if base else ''}", **context
        )
        headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store"}
        return Response(body, headers=headers, content_type="text/html; charset=utf-8")

    def file(path: str) -> Response:
        answer = files.answer(
            path,
            compressed=takes_gzip(request.headers.get("Accept-Encoding", "")),
            if_none_match=request.headers.get("If-None-Match", ""),
        )
        return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)

    @app.get("/")
    @needs(Role.ADMIN)
    async def dashboard() -> Response:
        return await page("dashboard.html")

    @app.get("/url")
    @needs(Role.ADMIN)
    async def url_page() -> Response:
        (href,) = urls.readable([query_value(request.query_string, "url")], caller())
        return await page("url.html", url=href, names=names)

    @app.get("/demo")
    @needs(Role.NOBODY)
    async def demo() -> Response:
        return await page("demo.html", script=files.script, host=gate.demo_host)

    @app.get("/docs")
    @needs(Role.NOBODY)
    async def docs() -> Response:
        return await page("docs.html", api=files.description)

    @app.get("/login")
    @needs(Role.NOBODY)
    async def login_form() -> Response:
        return await page("login.html", wrong=False)

    @app.post("/login")
    @needs(Role.NOBODY)
    async def login() -> Response:
        peer, shown = request.remote_addr or "", credentials(request)
        gate.limit_login(peer, shown)
        session = gate.login(query_value(await read_body(), "token"), peer, shown)
        if session is None:
            response = await page("login.html", wrong=True)
            response.status_code = 401
            return response
        try:
            await gate.logins.keep()
        except OSError as error:
            log.error("a login can't be kept: it ends with the daemon", fault=str(error))
        away = Response("", 303, headers={"Location": f"{base}/"})
        away.set_cookie(
            COOKIE,
            session,
            path=f"{base}/",
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https",
        )
        return away

    @app.post("/logout")
    @needs(Role.NOBODY)
    async def logout() -> Response:
        gate.logout(credentials(request))
        try:
            await gate.logins.keep()
        except OSError as error:
            log.error("a logout can't be kept", fault=str(error))
            detail = "the session has ended, but may be back when the daemon starts again: the disk does not take it"
            raise Problem(503, detail, headers={"Retry-After": "10"}) from None
        away = Response("", 303, headers={"Location": f"{base}/login"})
        away.delete_cookie(COOKIE, path=f"{base}/")
        return away

    @app.get("/likd.js")
    @for_any_page
    async def button() -> Response:
        return file("/likd.js")

    @app.get("/likd.<digest>.js")
    @for_any_page
    async def this_button(digest: str) -> Response:
        return file(f"/likd.{digest}.js")

    @app.get("/openapi.json")
    @for_any_page
    async def openapi() -> Response:
        return file("/openapi.json")

    @app.get("/static/<name>")
    @for_any_page
    async def static_file(name: str) -> Response:
        return file(f"/static/{name}")
