"""Pages for people, and the files that browsers load."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio

from likd.status import StatusReport
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.api.files import Files, takes_gzip
from likd.web.full.auth import for_any_page, needs
from likd.web.full.pages.asking import Api
from likd.web.full.pages.choices import add_choices
from likd.web.full.pages.docs import add_docs
from likd.web.full.pages.engine import add_engine
from likd.web.full.pages.login import add_login
from likd.web.full.pages.managing import add_managing
from likd.web.full.pages.render import Pages
from likd.web.full.pages.shared import add_shared
from likd.web.full.pages.sites import add_sites
from likd.web.full.pages.url import add_url

__all__ = ["Pages", "add_files", "add_pages"]


def add_pages(
    app: QuartTrio,
    pages: Pages,
    *,
    gate: Gate,
    api: Api,
    status: StatusReport,
    files: Files,
) -> None:
    """Add all pages."""
    add_login(app, pages=pages, gate=gate)
    add_choices(app, pages=pages)
    add_sites(app, pages=pages, api=api, gate=gate)
    add_url(app, pages=pages, api=api)
    add_managing(app, pages=pages, api=api)
    add_shared(app, pages=pages, api=api, gate=gate)
    add_engine(app, pages=pages, status=status)
    add_docs(app, pages=pages, description=files.description)

    @app.get("/demo")
    @needs(Role.NOBODY)
    async def demo() -> Response:
        return await pages("demo.html", script=files.script, host=gate.demo_host)


def add_files(app: QuartTrio, files: Files) -> None:
    """Add the pages' scripts and styles, and the script that other sites embed."""

    def file(path: str) -> Response:
        answer = files.answer(
            path,
            compressed=takes_gzip(request.headers.get("Accept-Encoding", "")),
            if_none_match=request.headers.get("If-None-Match", ""),
        )
        return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)

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
