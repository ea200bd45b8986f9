"""What a front's clients can watch, as front and engine call it."""

from __future__ import annotations

from likd.web.fronts.messages import Topic

URL, TOP, HOT, SITE = "url", "top", "hot", "site"
STATUS: Topic = ("status", "", "")


def of_url(url: str) -> Topic:
    """The counts of a canonical URL."""
    return URL, url, ""


def of_top(by: str, limit: int) -> Topic:
    """A top list."""
    return TOP, by, str(limit)


def of_hot(by: str, site: str) -> Topic:
    """What is hottest, of one site or of all ("")."""
    return HOT, by, site


def of_site(host: str) -> Topic:
    """The sums of a site, or of all ("")."""
    return SITE, host, ""
