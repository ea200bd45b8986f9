"""The first page, for all sites, and the page of one site."""

from __future__ import annotations

from typing import Any

from quart import Response
from quart_trio import QuartTrio

from likd.stores.sites import SITES_MAX
from likd.web.access.gate import Gate
from likd.web.access.tokens import Role
from likd.web.full.auth import caller, needs
from likd.web.full.pages.asking import Api, asked
from likd.web.full.pages.board import TONES
from likd.web.full.pages.listing import HOSTS_OFFERED_MAX, pages_listing, sites_listing
from likd.web.full.pages.ranges import Range
from likd.web.full.pages.render import Pages
from likd.web.problems import Problem, wrong


def add_sites(app: QuartTrio, *, pages: Pages, api: Api, gate: Gate) -> None:
    """Add the page for all sites, and that of one site."""

    @app.get("/")
    @needs(Role.ADMIN)
    async def overview() -> Response:
        sites, summed = await sites_listing(api)
        if not sites.total:
            return await pages("empty.html", host=gate.demo_host)
        chosen, metric = api.range(), metric_asked()
        offered = await api.sites(by="likes", limit=HOSTS_OFFERED_MAX)
        return await pages(
            "overview.html",
            board=await api.board(chosen),
            sites=sites,
            hosts=[row["host"] for row in offered["sites"]],
            listing=await pages_listing(api, chosen, asked("site")),
            metric=metric,
            summed=summed,
            link={**_link(chosen, metric), "site": asked("site"), "sites_by": asked("sites_by")},
        )

    @app.get("/site")
    @needs(Role.ADMIN)
    async def site_page() -> Response:
        site = api.urls.readable_site(asked("site"), caller())
        context = await site_context(api, site, {"site": site})
        return await pages("site.html", view="/site", shares=api.shares(site=site), **context)


async def site_context(api: Api, site: str, identity: dict[str, object]) -> dict[str, Any]:
    """What the page of a site shows; links to the same page carry its `identity`. Raises Problem."""
    known = await api.sites(by="likes", limit=SITES_MAX)
    row = next((row for row in known["sites"] if row["host"] == site), None)
    if row is None:
        raise Problem(404, f"no page of {site} was ever counted")
    chosen, metric = api.range(), metric_asked()
    return {
        "site": site,
        "row": row,
        "board": await api.board(chosen, site=site),
        "listing": await pages_listing(api, chosen, site),
        "metric": metric,
        "summed": known.get("summed", 1),
        "link": {**_link(chosen, metric), **identity},
    }


def metric_asked() -> str:
    """What this page's chart is to show. Raises Problem."""
    metric = asked("metric") or "likes"
    if metric not in TONES:
        raise wrong("metric", metric, f"one of {', '.join(TONES)}")
    return metric


def _link(chosen: Range, metric: str) -> dict[str, object]:
    """The parameters of a link to the same view."""
    return {
        **chosen.parameters,
        "metric": metric if metric != "likes" else "",
        "q": asked("q").strip(),
        "by": asked("by"),
        "order": asked("order"),
    }
