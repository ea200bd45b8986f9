"""What a share link shows: the page of one URL or site, without anything that leads elsewhere or makes changes."""

from __future__ import annotations

from quart import Response, g
from quart_trio import QuartTrio

from likd.web.access.caller import UNRESTRICTED
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.full.auth import needs
from likd.web.full.pages.asking import Api
from likd.web.full.pages.render import Pages
from likd.web.full.pages.sites import site_context
from likd.web.full.pages.url import url_context
from likd.web.problems import Problem


def add_shared(app: QuartTrio, *, pages: Pages, api: Api, gate: Gate) -> None:
    """Add the pages that share links lead to."""

    @app.get("/s/<token>")
    @needs(Role.NOBODY)
    async def shared(token: str) -> Response:
        share = gate.shares.find(token) if gate.shares is not None else None
        if share is None:
            raise Problem(404, "there is no such link, or it was revoked")
        # The link lets its holder in, to this page alone.
        g.caller = UNRESTRICTED
        context = await (url_context(api, share.url, {}) if share.url else site_context(api, share.site, {}))
        page = await pages("url.html" if share.url else "site.html", shared=True, view=f"/s/{token}", **context)
        page.headers["X-Robots-Tag"] = "noindex"
        return page
