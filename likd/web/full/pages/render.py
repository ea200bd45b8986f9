"""Renders pages from templates: what all of them know, and what a browser may do with them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import trio
from jinja2 import Environment, PackageLoader
from quart import Response, request

from likd import __version__
from likd.time_zones import is_zone, zone_of
from likd.web import figures
from likd.web.access.gate import Gate
from likd.web.api.files import Files
from likd.web.full.auth import credentials
from likd.web.full.pages.board import TONES, spark
from likd.web.full.pages.ranges import DEFAULT, PRESETS
from likd.web.problems import Problem, phrase
from likd.web.query_string import query_value

THEME_COOKIE = "likd_theme"
THEMES = ("light", "dark")
ZONE_COOKIE = "likd_tz"
SORTS = (("likes", "Likes"), ("change", "Change"), ("views", "Views"), ("rate", "Per 100 views"), ("all", "All time"))
"""What lists of pages can be sorted by, in the order of the columns."""
END_CHARACTERS_MAX = 17
"""How much of a long address is kept at its end."""

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SEPARATOR = re.compile(r"[/?&=._-]")
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of our own. Browsers drop whitespace and take a backslash for a slash, which could make it a host."""


class Pages:
    """Renders pages. `base` is the path that all of them are below, "" for none.

    Days are those of `time_zone` for visitors who chose none.
    """

    def __init__(self, *, files: Files, gate: Gate, base: str = "", time_zone: str = "") -> None:
        self.base = base
        self._time_zone = time_zone
        self._files = files
        self._gate = gate
        self._templates = _environment()
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def __call__(self, template: str, *, code: int = 200, **context: Any) -> Response:
        """The page that `template` makes."""
        shown = credentials(request)
        origin = f"{'https' if encrypted() else 'http'}://{request.host}{self.base}"
        theme, tz = request.cookies.get(THEME_COOKIE, ""), zone_chosen(self._time_zone)
        known: dict[str, Any] = {
            "version": __version__,
            "mark": self._files.mark,
            "base": self.base,
            "origin": origin,
            "button_code": f'<script src="{origin}/likd.js" defer></script>\n<like-button impression></like-button>',
            "theme": theme if theme in THEMES else "",
            "here": here(),
            "tz": tz or "UTC",
            "today": dt.datetime.now(zone_of(tz)).date(),
            "inside": self._gate.sees_all(shown),
            "has_login": self._gate.has_login,
            "logged_in": self._gate.logged_in(shown),
        }

        def render() -> str:
            return self._templates.get_template(template).render(known, **context)

        # Rendering a list of pages takes longer than other tasks should wait.
        body = await trio.to_thread.run_sync(render, limiter=self._one_at_a_time)
        headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store"}
        return Response(body, code, headers, content_type="text/html; charset=utf-8")

    async def problem(self, problem: Problem) -> Response:
        """The page that shows a person an error."""
        response = await self("error.html", code=problem.status, problem=problem)
        response.headers.update(problem.headers)
        return response

    def to_login(self) -> Response:
        """Redirect a person to the login, and from there back here."""
        return self.away(f"/login?next={quote(here(), safe='')}")

    def away(self, path: str) -> Response:
        """Redirect a browser to `path`, one of our own."""
        return Response("", 303, {"Location": self.base + path}, content_type="text/html; charset=utf-8")


def _environment() -> Environment:
    templates = Environment(
        loader=PackageLoader("likd.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    for name in ("whole", "compact", "per_hundred", "rate", "duration", "moment", "size"):
        templates.filters[name] = getattr(figures, name)
    templates.globals.update(
        at=at,
        but=but,
        change=figures.change,
        default_range=DEFAULT,
        phrase=phrase,
        presets=PRESETS,
        sorts=SORTS,
        spark=spark,
        split=split,
        tones=TONES,
    )
    return templates


def zone_chosen(default: str) -> str:
    """The name of the time zone that the visitor chose, or `default`."""
    tz = request.cookies.get(ZONE_COOKIE, "")
    return tz if tz and is_zone(tz) else default


def encrypted() -> bool:
    """Whether the browser's own connection, which may be to a proxy, is encrypted."""
    return request.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https"


def here() -> str:
    """The address of this page, below the base."""
    query = request.query_string.decode("latin-1")
    return quote(request.path) + (f"?{query}" if query else "")


def next_page() -> str:
    """Where this request leads to afterwards."""
    return own_path(query_value(request.query_string, "next"))


def own_path(path: str) -> str:
    """`path` if it leads to one of our pages, else the path of the first page."""
    return path if _PATH.fullmatch(path) else "/"


def at(path: str, /, **parameters: object) -> str:
    """`path` with those of `parameters` that are neither None nor ""."""
    query = "&".join(
        f"{name}={quote(str(value), safe='')}" for name, value in parameters.items() if value or value == 0
    )
    return f"{path}?{query}" if query else path


def but(link: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """The parameters of `link` with `changes`."""
    return {**link, **changes}


def split(address: str, end_max: int = END_CHARACTERS_MAX) -> tuple[str, str]:
    """`address` in two parts: the beginning, which may be shortened, and the end, which begins at a separator."""
    if len(address) <= 2 * end_max:
        return address, ""
    found = _SEPARATOR.search(address, len(address) - end_max)
    end = found.start() if found else len(address) - end_max
    return address[:end], address[end:]
