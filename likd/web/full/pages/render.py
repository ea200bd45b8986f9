"""Pages out of templates: what all of them know, and what a browser may do with them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from urllib.parse import quote

from quart import Response, render_template, request
from quart_trio import QuartTrio

from likd import __version__
from likd.web import figures
from likd.web.access.gate import Gate
from likd.web.api.files import Files
from likd.web.full.auth import credentials
from likd.web.full.pages.board import TONES, spark
from likd.web.full.pages.ranges import DEFAULT, PRESETS
from likd.web.problems import Problem, phrase

THEME_COOKIE = "likd_theme"
THEMES = ("light", "dark")
END_CHARACTERS_MAX = 17
"""So much of a long address stays at its end."""

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SEPARATOR = re.compile(r"[/?&=._-]")
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of our own. Browsers drop spaces and tabs and take a backslash for a slash: then it could be a host."""


class Pages:
    """Renders pages. `base` is the path that all of them are below, "" for none."""

    def __init__(self, *, files: Files, gate: Gate, base: str = "") -> None:
        self.base = base
        self._files = files
        self._gate = gate

    def install(self, app: QuartTrio) -> None:
        """Let the templates of `app` write figures and addresses."""
        app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
        for name in ("whole", "compact", "per_hundred", "change", "rate", "duration", "moment", "size"):
            app.jinja_env.filters[name] = getattr(figures, name)
        app.jinja_env.globals.update(split=split, at=at, phrase=phrase, change=figures.change, spark=spark)
        app.jinja_env.globals.update(presets=PRESETS, default_range=DEFAULT, tones=TONES)

    async def __call__(self, template: str, *, code: int = 200, **context: Any) -> Response:
        """The page that `template` makes."""
        shown = credentials(request)
        origin = f"{'https' if encrypted() else 'http'}://{request.host}{self.base}"
        theme = request.cookies.get(THEME_COOKIE, "")
        body = await render_template(
            template,
            version=__version__,
            mark=self._files.mark,
            base=self.base,
            origin=origin,
            button_code=f'<script src="{origin}/likd.js" defer></script>\n<like-button impression></like-button>',
            theme=theme if theme in THEMES else "",
            here=here(),
            today=dt.datetime.now(dt.UTC).date(),
            inside=self._gate.sees_all(shown),
            has_login=self._gate.has_login,
            logged_in=self._gate.logged_in(shown),
            **context,
        )
        headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store"}
        return Response(body, code, headers, content_type="text/html; charset=utf-8")

    async def problem(self, problem: Problem) -> Response:
        """What a person is told who went where something is wrong."""
        response = await self("error.html", code=problem.status, problem=problem)
        response.headers.update(problem.headers)
        return response

    def to_login(self) -> Response:
        """Send a person who has to log in there, and from there back here."""
        return self.away(f"/login?next={quote(here(), safe='')}")

    def away(self, path: str) -> Response:
        """Send a browser to `path`, one of our own."""
        return Response("", 303, {"Location": self.base + path}, content_type="text/html; charset=utf-8")


def encrypted() -> bool:
    """Whether the browser's own connection is, which may be to a proxy."""
    return request.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https"


def here() -> str:
    """The address of this page, below the base."""
    query = request.query_string.decode("latin-1")
    return quote(request.path) + (f"?{query}" if query else "")


def own_path(path: str) -> str:
    """`path` if it leads to one of our pages, else that of the first."""
    return path if _PATH.fullmatch(path) else "/"


def at(path: str, /, **parameters: object) -> str:
    """`path` with those of `parameters` that are neither None nor ""."""
    query = "&".join(
        f"{name}={quote(str(value), safe='')}" for name, value in parameters.items() if value or value == 0
    )
    return f"{path}?{query}" if query else path


def split(address: str, end_max: int = END_CHARACTERS_MAX) -> tuple[str, str]:
    """`address` in two: the beginning may give way to its end, which begins at a separator."""
    if len(address) <= 2 * end_max:
        return address, ""
    found = _SEPARATOR.search(address, len(address) - end_max)
    end = found.start() if found else len(address) - end_max
    return address[:end], address[end:]
