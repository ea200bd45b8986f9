"""What the dialogs of a page do, as pages of their own: for browsers without the script."""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec
from quart import Response
from quart_trio import QuartTrio

from likd.model import host_of
from likd.web.access.tokens import Role
from likd.web.full.auth import caller, needs
from likd.web.full.bodies import read_body
from likd.web.full.pages.asking import Api, asked
from likd.web.full.pages.render import Pages, at
from likd.web.problems import Problem, wrong
from likd.web.query_string import query_value

WHAT = ("share", "aliases", "merge", "reset", "delete")
OF_PAGES_ALONE = ("aliases", "merge")
DAY_SECONDS = 86_400


def add_managing(app: QuartTrio, *, pages: Pages, api: Api) -> None:
    """Add the page that asks before it does something, and does it."""

    async def form(about: dict[str, str], *, problem: Problem | None = None) -> Response:
        what, url, site = asked("what"), about.get("url", ""), about.get("site", "")
        would: dict[str, Any] | None = None
        if what == "merge" and asked("old") and problem is None:
            try:
                would = await _would_merge(api, asked("old"), url)
            except Problem as error:
                problem = error
        return await pages(
            "managing.html",
            code=problem.status if problem is not None else 200,
            problem=problem,
            what=what,
            about=about,
            old=asked("old"),
            would=would,
            shares=api.shares(url=url, site=site) if what == "share" else (),
            aliases=api.aliases(url) if what == "aliases" else None,
            key=secrets.token_urlsafe(16),
            back=_page_of(about),
        )

    @app.get("/manage")
    @needs(Role.ADMIN)
    async def managing() -> Response:
        return await form(_about(api))

    @app.post("/manage")
    @needs(Role.ADMIN)
    async def manage() -> Response:
        about, body = _about(api), await read_body()
        try:
            return pages.away(await _do(api, asked("what"), about, body))
        except Problem as problem:
            return await form(about, problem=problem)


def _about(api: Api) -> dict[str, str]:
    """The URL or the site that this page is about. Raises Problem."""
    if asked("what") not in WHAT:
        raise wrong("what", asked("what"), f"one of {', '.join(WHAT)}")
    if asked("site") and asked("what") not in OF_PAGES_ALONE:
        return {"site": api.urls.readable_site(asked("site"), caller())}
    (url,) = api.urls.readable([asked("url")], caller())
    return {"url": url}


def _page_of(about: dict[str, str]) -> str:
    return at("/url" if "url" in about else "/site", **about)


async def _would_merge(api: Api, old: str, new: str) -> dict[str, Any]:
    """The likes of both, of who liked both, and of what they become."""
    merge = msgspec.json.encode({"old": old, "new": new})
    would: dict[str, Any] = msgspec.json.decode((await api.admin.merge(merge, dry_run=True)).body)
    both = would["liked_both"] or 0
    mine = (await api.counts(new))["net"]
    return {
        "new": mine,
        "old": would["net"] - mine,
        "both": -both,
        "after": would["net"] - both,
        "known": would["known"]["old"],
    }


async def _do(api: Api, what: str, about: dict[str, str], body: bytes) -> str:
    """Do what a form says; the page to go to then. Raises Problem."""

    def said(name: str) -> str:
        return query_value(body, name)

    here = at("/manage", what=what, **about)
    match what:
        case "share" if said("id"):
            await api.share_links.revoke(said("id"))
            return here
        case "share":
            until = {"until": int(time.time()) + _days(said("days")) * DAY_SECONDS} if said("days") else {}
            await api.share_links.make(msgspec.json.encode({**about, **until}), caller())
            return here
        case "aliases":
            await api.admin.remove_alias(said("old"))
            return here
        case "merge":
            await api.admin.merge(msgspec.json.encode({"old": said("old"), "new": about["url"]}))
            return _page_of(about)
    if said("typed").strip().lower() != what:
        raise wrong("typed", said("typed"), f"the word {what}")
    keep = what == "reset"
    await api.admin.erase(about.get("url", ""), about.get("site", ""), caller(), said("key") or None, keep=keep)
    if keep:
        return _page_of(about)
    return at("/site", site=host_of(about["url"])) if "url" in about else "/"


def _days(text: str) -> int:
    if text not in ("30", "365"):
        raise wrong("days", text, "30, 365 or nothing")
    return int(text)
