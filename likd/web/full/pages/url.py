"""A URL's own page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Response
from quart_trio import QuartTrio

from likd.model import host_of, undo_of
from likd.web.access.tokens import Role
from likd.web.full.auth import caller, needs
from likd.web.full.pages.asking import Api, asked
from likd.web.full.pages.board import KNOWN
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
    """What the page of a URL shows; a link to the same page says its `identity`. Raises Problem."""
    chosen = api.range()
    rest = url.partition("//")[2]
    counts = await api.counts(url)
    return {
        "url": url,
        "site": host_of(url),
        "path": rest[rest.find("/") :] if "/" in rest else "",
        "counts": counts,
        "further": [name for name in counts if name not in KNOWN and not _takes_back(name, counts)],
        "board": await api.board(chosen, url=url),
        "link": {**identity, **chosen.parameters},
    }


def _takes_back(name: str, counts: Mapping[str, object]) -> bool:
    """Whether a count is of what takes back another."""
    return any(name == undo_of(other) for other in counts)
