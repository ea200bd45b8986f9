"""Pages for people, and the script that other sites embed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from importlib.resources import files
from pathlib import PurePath

import attrs
import msgspec
import structlog
from quart import Response, has_request_context, redirect, render_template, request
from quart_trio import QuartTrio

from likd import __version__
from likd.web.access.gate import COOKIE, Gate
from likd.web.access.sessions import SESSION_SECONDS
from likd.web.access.tokens import Role
from likd.web.answers import Answer, conditional
from likd.web.api.events import Operations
from likd.web.full.auth import caller, credentials, for_any_page, needs
from likd.web.full.bodies import read_body
from likd.web.problems import Problem
from likd.web.query_string import query_value

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SCRIPT_CACHE = "public, max-age=300"
FOREVER = "public, max-age=31536000, immutable"
ANY_PAGE = {
    # Always the same: a copy that a browser keeps from a plain load serves one with `crossorigin`, too.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
}
_COMMENTS = re.compile(rb"^[ \t]*(?://[^\n]*|/\*(?:[^*]|\*(?!/))*\*/[ \t]*)\n", re.MULTILINE)
"""Comments that have their lines to themselves. No string of our scripts has a line that begins like one."""

log = structlog.get_logger(__name__)


@attrs.frozen
class Asset:
    """A file for browsers, as it is and compressed."""

    body: bytes
    content_type: str
    compressed: bytes = attrs.field(init=False)
    digest: str = attrs.field(init=False)
    """Names this content among all there were."""
    integrity: str = attrs.field(init=False)
    """What a page says that wants this content and no other (SRI)."""

    @classmethod
    def of(cls, name: str, source: bytes) -> Asset:
        """The file `name` as browsers get it: scripts without their comments."""
        suffix = PurePath(name).suffix
        return cls(_COMMENTS.sub(b"", source) if suffix == ".js" else source, _TYPES[suffix])

    @compressed.default
    def _compressed(self) -> bytes:
        return gzip.compress(self.body, mtime=0)

    @digest.default
    def _digest(self) -> str:
        return hashlib.blake2b(self.body, digest_size=8).hexdigest()

    @integrity.default
    def _integrity(self) -> str:
        return "sha384-" + base64.b64encode(hashlib.sha384(self.body).digest()).decode()


def add_pages(app: QuartTrio, *, gate: Gate, operations: Operations, names: tuple[str, ...]) -> None:
    """Add the dashboard, the page of a URL, login, demo, API description, and what they are made of."""
    sources = {
        path.name: path.read_bytes()
        for path in files("likd.web").joinpath("static").iterdir()
        if PurePath(path.name).suffix in _TYPES
    }
    description = msgspec.json.decode(sources["openapi.json"])
    description["info"]["version"] = __version__
    sources["openapi.json"] = msgspec.json.encode(description)
    mark = hashlib.blake2b(b"".join(sources.values()), digest_size=4).hexdigest()
    assets = {name: Asset.of(name, source) for name, source in sources.items()}
    script = assets["likd.js"]

    async def page(template: str, **context: object) -> Response:
        body = await render_template(template, version=__version__, mark=mark, login=gate.wants_login, **context)
        headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store"}
        return Response(body, headers=headers, content_type="text/html; charset=utf-8")

    def asset(name: str, cache: str) -> Response:
        if name not in assets:
            raise Problem(404, "there is no such file")
        found = assets[name]
        headers = {"Cache-Control": cache, **ANY_PAGE}
        body = found.body
        if request.accept_encodings.quality("gzip") > 0:
            body = found.compressed
            headers["Content-Encoding"] = "gzip"
        answer = conditional(Answer(200, body, found.content_type, headers), request.headers.get("If-None-Match", ""))
        return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)

    @app.get("/")
    @needs(Role.ADMIN)
    async def dashboard() -> Response:
        return await page("dashboard.html")

    @app.get("/url")
    @needs(Role.ADMIN)
    async def url_page() -> Response:
        (href,) = operations.readable([query_value(request.query_string, "url")], caller())
        return await page("url.html", url=href, names=names)

    @app.get("/demo")
    @needs(Role.NOBODY)
    async def demo() -> Response:
        return await page("demo.html", script=script, host=gate.demo_host)

    @app.get("/docs")
    @needs(Role.NOBODY)
    async def docs() -> Response:
        return await page("docs.html", api=description)

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
        away = Response("", 303, headers={"Location": "/"})
        away.set_cookie(
            COOKIE,
            session,
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
        away = Response("", 303, headers={"Location": "/login"})
        away.delete_cookie(COOKIE)
        return away

    @app.get("/likd.js")
    @for_any_page
    async def button() -> Response:
        return asset("likd.js", SCRIPT_CACHE)

    @app.get("/likd.<digest>.js")
    @for_any_page
    async def this_button(digest: str) -> Response:
        # After an update, a page with the old name has a button all the same, unless it asks for integrity.
        return asset("likd.js", FOREVER if digest == script.digest else SCRIPT_CACHE)

    @app.get("/openapi.json")
    @for_any_page
    async def openapi() -> Response:
        return asset("openapi.json", "no-cache")

    @app.get("/static/<name>")
    @for_any_page
    async def static_file(name: str) -> Response:
        return asset(name, SCRIPT_CACHE)


def redirect_to_login() -> Response:
    """Where a person goes who may not see a page yet."""
    response = redirect("/login", 303)
    assert isinstance(response, Response)
    return response


def wants_page() -> bool:
    """Whether the request comes from a person's browser that goes to a page."""
    return has_request_context() and request.method == "GET" and "text/html" in request.headers.get("Accept", "")
