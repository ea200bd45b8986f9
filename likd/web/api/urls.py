"""The URLs in requests: what each counts as, if the caller may read it."""

from __future__ import annotations

from collections.abc import Sequence

from likd.counting.actors import Actors
from likd.counting.ledger import NO_OLD_NAMES, OldNames
from likd.ingest.schema import short
from likd.ingest.urls import EXPECTED, UrlRules, canonical
from likd.model import host_of
from likd.web.access.caller import Caller
from likd.web.access.gate import Gate
from likd.web.problems import Problem, wrong

COUNT_URLS_MAX = 1000


class Urls:
    """Reads URLs by the rules of `canonical` for callers that `gate` let in. Raises Problem.

    Without `actors` nothing is known of what is being folded.
    """

    def __init__(self, canonical: UrlRules, gate: Gate, actors: Actors | None = None) -> None:
        self.canonical = canonical
        self._gate = gate
        self._actors = actors

    def readable(self, urls: Sequence[str], caller: Caller) -> list[str]:
        """What `urls` count as, if the caller may read them all."""
        if not 1 <= len(urls) <= COUNT_URLS_MAX:
            members: dict[str, object] = {"field": "url", "expected": f"1 to {COUNT_URLS_MAX} URLs"}
            raise Problem(422, f"{len(urls)} URLs were requested", members=members)
        hrefs: list[str] = []
        for index, url in enumerate(urls):
            try:
                hrefs.append(self.canonical(url))
            except ValueError:
                members = {"index": index, "field": "url", "expected": EXPECTED}
                raise Problem(422, f"url is {short(url)}", members=members) from None
        self._gate.check_urls(caller, hrefs)
        return hrefs

    def writable(self, url: str, caller: Caller) -> str:
        """What `url` counts as, if the caller may post events for it."""
        self._gate.check_writes(caller)
        (href,) = self.readable([url], caller)
        return href

    def each_readable(self, urls: Sequence[str], caller: Caller, *, partial: bool) -> Sequence[str | Problem]:
        """The same; if `partial`, with a problem in place of each that can't be read."""
        if not partial or not 1 <= len(urls) <= COUNT_URLS_MAX:
            return self.readable(urls, caller)
        hrefs: list[str | Problem] = []
        for url in urls:
            try:
                hrefs += self.readable([url], caller)
            except Problem as problem:
                # Its place in the answer says which URL it is about.
                problem.members.pop("index", None)
                hrefs.append(problem)
        return hrefs

    def readable_site(self, site: str, caller: Caller) -> str:
        """The host that `site` means, "" for all sites, if the caller may read its sums."""
        host = ""
        if site:
            try:
                host = host_of(self.canonical(f"http://{site}/"))
            except ValueError:
                raise wrong("site", site, "a host, such as example.com") from None
        self._gate.check_site(caller, host)
        return host

    def old_names(self, urls: Sequence[str], hrefs: Sequence[str | Problem]) -> OldNames:
        """While URLs are being folded: other names, known from requests, under which the store may still have `hrefs`.

        There may be more such names, but no name that worked before shows less than it did.
        """
        if self._actors is None or not self._actors.folding:
            return NO_OLD_NAMES
        also: dict[str, list[str]] = {}
        for url, href in zip(urls, hrefs, strict=True):
            if isinstance(href, str) and (old := canonical(url)) != href:
                also.setdefault(href, []).append(old)
        return also
