"""Origins: which pages and host names are known, and which headers pages of other origins get."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from likd.web.access.addresses import Hosts, is_loopback
from likd.web.access.credentials import Credentials

_CORS = {
    "Access-Control-Expose-Headers": "RateLimit, RateLimit-Policy, Retry-After",
    "Vary": "Origin",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Encoding, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}


class Origins:
    """Knows the origins that are on a public site, among `origins`, or on this machine if the daemon is `local`."""

    def __init__(self, sites: Hosts, origins: Iterable[str], *, local: bool) -> None:
        self._sites = sites
        self._origins = frozenset(origin.lower() for origin in origins)
        self._local = local
        self.knows = lru_cache(maxsize=1024)(self._knows)
        """Whether pages of `origin` may use the daemon, which they address as `host`."""
        self.knows_host = lru_cache(maxsize=1024)(self._is_own_host)
        """Whether `host` can only mean this machine."""

    @property
    def listed(self) -> bool:
        """Whether a setting lets in pages of other origins."""
        return bool(self._sites) or bool(self._origins)

    def _knows(self, origin: str, host: str) -> bool:
        if _is_of_host(origin, host):
            return True
        if not (origin.isascii() and origin.isprintable()):
            # It would be echoed in a header.
            return False
        name = _name_of(origin.partition("://")[2])
        if "*" in self._origins or origin.lower() in self._origins or (self._sites and name in self._sites):
            return True
        return self._local and is_loopback(name)

    def _is_own_host(self, host: str) -> bool:
        """A name without a dot can't be a public one."""
        name = _name_of(host)
        if "*" in self._origins or any(_is_of_host(origin, host) for origin in self._origins):
            return True
        return is_loopback(name) or ("." not in name and ":" not in name) or name.endswith(".localhost")


def headers_for(origin: str, *, preflight: bool) -> dict[str, str]:
    """The headers of an answer to a page of `origin`, a known one other than the daemon's."""
    return {"Access-Control-Allow-Origin": origin, **_CORS, **(_PREFLIGHT if preflight else {})}


def demo_host(sites: Iterable[str]) -> str | None:
    """One of the hosts that `sites` names, or None."""
    for site in sites:
        return "example.com" if site == "*" else site.replace("*", "demo", 1).lower()
    return None


def is_own_page(credentials: Credentials) -> bool:
    """Whether the request is not from a page of another origin, not even one of the same site."""
    return not credentials.origin or _is_of_host(credentials.origin, credentials.host)


def host_of(url: str) -> str:
    """The host of a canonical URL, without its port."""
    authority = url.split("/", 3)[2].rpartition("@")[2]
    return authority if authority.endswith("]") else authority.rsplit(":", 1)[0] if ":" in authority else authority


def _is_of_host(origin: str, host: str) -> bool:
    """Whether a page of `origin` was loaded from `host`, the name and port that it addresses now."""
    return bool(host) and origin.partition("://")[2].lower() == host.lower()


def _name_of(authority: str) -> str:
    """A host's name without its port."""
    name, colon, port = authority.lower().rpartition(":")
    return (name if colon and port.isdecimal() else authority.lower()).strip("[]")
