"""A URL's own page."""

from __future__ import annotations

import time
from typing import Any

from quart import Response
from quart_trio import QuartTrio

from likd.model import host_of
from likd.web.access.tokens import Role
from likd.web.full.auth import caller, needs
from likd.web.full.pages.asking import Api, asked
from likd.web.full.pages.ranges import range_of
from likd.web.full.pages.render import Pages


def add_url(app: QuartTrio, *, pages: Pages, api: Api) -> None:
    """Add the page of a URL."""

    @app.get("/url")
    @needs(Role.ADMIN)
    async def url_page() -> Response:
        (url,) = api.urls.readable([asked("url")], caller())
        context = await url_context(api, url, {"url": url})
        return await pages("url.html", view="/url", aliases=api.aliases(url), shares=api.shares(url=url), **context)


async def url_context(api: Api, url: str, identity: dict[str, object]) -> dict[str, Any]:
    """What the page of a URL shows; links to the same page carry its `identity`. Raises Problem."""
    chosen = range_of(asked, time.time())
    rest = url.partition("//")[2]
    return {
        "url": url,
        "site": host_of(url),
        "path": rest[rest.find("/") :] if "/" in rest else "",
        "counts": await api.counts(url),
        "board": await api.board(chosen, url=url),
        "link": {**identity, **chosen.parameters},
    }
