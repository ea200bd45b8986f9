"""The gate: decides what each caller may do, from which pages, and how often."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping

import attrs
import structlog

from likd.config.web_settings import GateSettings
from likd.ingest.schema import ActorMissing, CountRefused, IngestError
from likd.model import ActorEvent, Events
from likd.web.access.addresses import Hosts, Proxies, caller_of, is_local
from likd.web.access.caller import TOKEN, UNRESTRICTED, Caller
from likd.web.access.credentials import NO_CREDENTIALS, Credentials, sessions_of
from likd.web.access.origins import Origins, demo_host, headers_for, host_of, is_own_page
from likd.web.access.rate_limit import Allowance, RateLimit
from likd.web.access.refusals import Refusals
from likd.web.access.sessions import Logins
from likd.web.access.shares import Share, Shares
from likd.web.access.tokens import Role, Tokens
from likd.web.access.visitors import Visitor
from likd.web.problems import Problem

PUBLIC_EVENTS_MAX = 100
"""The most events in one request without a token: a page of buttons needs no more."""
PUBLIC_BODY_BYTES_MAX = 1 << 18
"""The size of their body if each URL is as long as allowed."""
LOGIN_RATE = 0.2
LOGIN_BURST = 10
_TOKENS = "--tokens-file, --write-tokens-file, --admin-token-file"

log = structlog.get_logger(__name__)


@attrs.frozen
class GateStatistics:
    """The gate's refusals, since the start."""

    refused: Mapping[str, int]
    """How many requests it refused, by HTTP status."""


class Gate:
    """Lets callers in: by their token, or without one if the sites are public or everything is open.

    Everything is open to everyone as long as there is neither a token nor a public site. Pages of other origins are let
    in if they are on a public site, among `origins`, or on the daemon's own machine. A caller that needs no token
    because only this machine can reach the daemon has to call it by one of the machine's names: a page on the internet
    can give its own name the machine's address (DNS rebinding). `refusals` is told what is refused; `logins` are the
    browsers that may do what the admin token may; `shares` are the links that allow reading one thing.
    """

    def __init__(
        self,
        config: GateSettings,
        tokens: Tokens,
        *,
        logins: Logins | None = None,
        refusals: Refusals | None = None,
        shares: Shares | None = None,
    ) -> None:
        self._tokens = tokens
        self.logins = logins or Logins(secrets.token_bytes())
        self._refusals = refusals or Refusals()
        self.shares = shares
        self._called = {_name_of(token): f"{TOKEN}{name}" for token, name in tokens.names.items()}
        self._sites = Hosts(config.public_sites)
        self._local = is_local(config.bind)
        self._origins = Origins(self._sites, config.origins, local=self._local)
        self._knows_host = self._origins.knows_host
        self._proxies = Proxies(config.trusted_proxies)
        self.open = not tokens.admin and not tokens.write and not self._sites
        """Whether everyone may do everything."""
        self.demo_host = demo_host(config.public_sites) or ("example.com" if self.open else None)
        """A host whose pages anybody may like, or None."""
        self._inside = self._local and not tokens.admin and not self._sites
        self._address_limit = RateLimit(config.address_rate, config.address_burst) if config.address_rate else None
        self._token_limit = RateLimit(config.token_rate, config.token_burst) if config.token_rate else None
        self._attempts = RateLimit(LOGIN_RATE, LOGIN_BURST)
        self.refused = {"401": 0, "403": 0, "422": 0, "429": 0}

    def statistics(self) -> GateStatistics:
        """Its refusals in numbers."""
        return GateStatistics(dict(self.refused))

    def admit(self, peer: str, credentials: Credentials, need: Role) -> Caller:
        """Let in the caller with these credentials from `peer`, and count this against its limit. Raises Problem."""
        caller = self.recognize(credentials, need, peer)
        name = self.payer(caller, peer, credentials)
        if name is None:
            return caller
        left = self._limit_of(name).take(name)
        headers = {**caller.headers, **self.price_headers(name, left)}
        if not left.allowed:
            self._tell_limit(caller, name, peer, credentials)
            headers["Retry-After"] = str(max(1, left.reset_seconds))
            raise Problem(429, "too many requests from this caller", headers=headers)
        return Caller(caller.role, name, headers, caller.visitor, caller.share)

    def payer(self, caller: Caller, peer: str, credentials: Credentials) -> str | None:
        """The name in which a caller pays that was recognized; None if what it asks for has no price."""
        limit = self._token_limit if caller.name else self._address_limit
        if limit is None or self.open or caller.role is Role.NOBODY or (self._inside and not caller.name):
            return None
        return caller.name or (caller.visitor or self._visitor(peer, credentials)).address

    def pay(self, payer: str, events: int = 1) -> Allowance | None:
        """Take the price of so many events from a payer; what it has left, None if it had nothing."""
        limit = self._limit_of(payer)
        left = limit.take(payer)
        if not left.allowed:
            return None
        if events > 1:
            limit.charge(payer, events - 1)
        return left

    def price_headers(self, payer: str, left: Allowance) -> dict[str, str]:
        """The headers that tell a payer what it has left."""
        return self._limit_of(payer).headers(left)

    def _limit_of(self, payer: str) -> RateLimit:
        limit = self._token_limit if payer.startswith(TOKEN) else self._address_limit
        assert limit is not None, "what has no price is not paid for"
        return limit

    def recognize(self, credentials: Credentials, need: Role, peer: str = "") -> Caller:
        """The caller with these credentials, at no cost to its limit. Raises Problem if it lacks the role `need`."""
        if self.lets_everyone(credentials):
            return UNRESTRICTED
        headers = self.cross_origin(credentials)
        if need is Role.NOBODY:
            return Caller(Role.NOBODY, headers=headers)
        share = self._share_of(credentials)
        if share is not None:
            name = f"{TOKEN}{share.id}"
            if need > Role.PUBLIC:
                self.tell("403", f"this needs the {need.name.lower()} token", name, _TOKENS)
                raise Problem(403, "a link does not allow this", headers=headers)
            return Caller(Role.PUBLIC, name, headers, self._visitor(peer, credentials), share)
        role, name = self._identify(credentials, headers, peer)
        if role < need:
            self._refuse_role(role, need, headers, name or self._client(peer, credentials))
        if not name and self._inside and not self._origins.knows_host(credentials.host):
            self.tell("403", "the Host header is not a name of this machine", credentials.host, "--origins")
            raise Problem(
                403,
                "without a token, this daemon must be addressed by a name of its machine",
                members={"field": "Host"},
            )
        return Caller(role, name, headers, self._visitor(peer, credentials) if role is Role.PUBLIC else None)

    def charge(self, caller: Caller) -> bool:
        """Count one more message of a caller that was let in. Returns whether its limit allows it."""
        limit = self._address_limit if caller.role is Role.PUBLIC else self._token_limit
        if not caller.name or limit is None or limit.take(caller.name).allowed:
            return True
        self._tell_limit(caller, caller.name)
        return False

    def allows(self, caller: Caller, need: Role) -> bool:
        """Whether a caller that was let in has the role `need`; the log says if it does not."""
        if caller.role >= need:
            return True
        self.tell("403", f"this needs the {need.name.lower()} token", caller.name, _TOKENS)
        return False

    def called(self, caller: Caller) -> str:
        """What the log calls a caller that was let in as an admin: the name of its token, if it has one."""
        if caller.name:
            return self._called.get(caller.name, caller.name)
        return "no token" if self.open or self._inside else "login"

    def lets_everyone(self, credentials: Credentials) -> bool:
        """Whether this caller needs no check."""
        return self.open and not credentials.origin and (not self._local or self._knows_host(credentials.host))

    def check_events(self, caller: Caller, events: Events, acts: Iterable[ActorEvent], size: int) -> None:
        """Raise Problem unless the caller may post these events, and count them against its limit."""
        self.check_writes(caller)
        if caller.role is Role.PUBLIC:
            if size > PUBLIC_EVENTS_MAX:
                self.tell("403", f"more than {PUBLIC_EVENTS_MAX} events without a token", caller.name, _TOKENS)
                raise Problem(403, f"without a token, a request may have at most {PUBLIC_EVENTS_MAX} events")
            for urls in events.values():
                self.check_urls(caller, urls)
            self.check_urls(caller, (act.url for act in acts))
        if caller.name and size > 1:
            limit = self._address_limit if caller.role is Role.PUBLIC else self._token_limit
            if limit is not None:
                limit.charge(caller.name, size - 1)

    def check_writes(self, caller: Caller) -> None:
        """Raise Problem if the caller came by a link, and so may only read."""
        if caller.share is not None:
            self.tell("403", "a link allows only reading", caller.name, _TOKENS)
            raise Problem(403, "a link allows only reading")

    def check_urls(self, caller: Caller, urls: Iterable[str]) -> None:
        """Raise Problem unless the caller may read these canonical URLs."""
        if caller.share is not None:
            if not all(map(caller.share.covers, urls)):
                self.tell("403", "the link is for something else", caller.name, _TOKENS)
                raise Problem(403, "the link is for something else", members={"field": "url"})
            return
        if caller.role is Role.PUBLIC:
            for url in urls:
                if host_of(url) not in self._sites:
                    self.tell("403", "the site is not public", host_of(url), "--public-sites")
                    members = {"field": "url", "expected": "a URL of a public site"}
                    raise Problem(403, "the URL is not on a public site of this daemon", members=members)

    def check_site(self, caller: Caller, site: str) -> None:
        """Raise Problem unless the caller may read the sums of `site` ("" for all sites)."""
        if caller.share is not None:
            if not site or caller.share.site != site:
                self.tell("403", "the link is for something else", caller.name, _TOKENS)
                raise Problem(403, "the link is for something else", members={"field": "site"})
        elif caller.role < Role.ADMIN:
            self._refuse_role(caller.role, Role.ADMIN, caller.headers, caller.name)

    def cross_origin(self, credentials: Credentials, *, preflight: bool = False) -> dict[str, str]:
        """The headers for a page of another origin; none for the daemon's own. Raises Problem if it is not let in."""
        origin = credentials.origin
        if not origin:
            return {}
        if not self._origins.knows(origin, credentials.host):
            self.tell("403", "pages of this origin are not allowed", origin, "--origins")
            raise Problem(403, "pages of this origin are not allowed", members={"field": "Origin"})
        return headers_for(origin, preflight=preflight)

    def limit_login(self, peer: str, credentials: Credentials) -> None:
        """Count an attempt to guess the token. Raises Problem after too many."""
        client = self._client(peer, credentials)
        if not self._attempts.take(caller_of(client)).allowed:
            self.tell("429", "too many login attempts", client, "the right token")
            raise Problem(429, "too many attempts", headers={"Retry-After": "10"})

    def login(self, token: str, peer: str = "", credentials: Credentials = NO_CREDENTIALS) -> str | None:
        """The session cookie's value if `token` is the admin token, else None."""
        secret = token.encode(errors="replace")
        if self._tokens.role(secret) is not Role.ADMIN:
            self.tell("401", "a login with a wrong token", self._client(peer, credentials), "the right token")
            return None
        name = _name_of(secret)
        log.info("logged in", by=self._called.get(name, name), address=self._client(peer, credentials))
        return self.logins.begin()

    def logout(self, credentials: Credentials) -> None:
        """End the cookie's session. Raises Problem for a page that is not our own."""
        if not is_own_page(credentials):
            self.tell("403", "only our own pages can log out", credentials.origin, "no setting")
            raise Problem(403, "only the daemon's own pages can log out", members={"field": "Origin"})
        for session in sessions_of(credentials.cookie):
            self.logins.end(session)

    def resource_policy(self, referer: str, host: str) -> str:
        """Which pages may embed a badge: any, if a setting lets in other origins, else only those let in."""
        if self._origins.listed:
            return "cross-origin"
        scheme, _, rest = referer.partition("://")
        return "cross-origin" if self._origins.knows(f"{scheme}://{rest.partition('/')[0]}", host) else "same-origin"

    def tell_event(self, caller: Caller, refused: IngestError) -> None:
        """An event of this caller was refused; log it if a caller with a token would not have been refused."""
        name = caller.visitor.address if caller.visitor is not None else caller.name
        if isinstance(refused, ActorMissing):
            self.tell("422", "a like without an actor", name, "--public-actors")
        elif isinstance(refused, CountRefused):
            self.tell("422", "a count without a token", name, _TOKENS)

    @property
    def has_login(self) -> bool:
        """Whether there is an admin token to log in with."""
        return bool(self._tokens.admin)

    def logged_in(self, credentials: Credentials) -> bool:
        """Whether the browser with these credentials has a session."""
        return bool(credentials.cookie) and is_own_page(credentials) and self._has_session(credentials.cookie)

    def sees_all(self, credentials: Credentials) -> bool:
        """Whether the browser with these credentials may see the daemon's inside."""
        return self.open or self._inside or self.logged_in(credentials)

    def _share_of(self, credentials: Credentials) -> Share | None:
        """The share whose token is given, if it is valid."""
        scheme, _, token = credentials.authorization.partition(" ")
        if self.shares is None or scheme.lower() != "bearer":
            return None
        return self.shares.find(token.strip())

    def _client(self, peer: str, credentials: Credentials) -> str:
        return self._proxies.client(peer, credentials.forwarded_for)

    def _visitor(self, peer: str, credentials: Credentials) -> Visitor:
        address = caller_of(self._client(peer, credentials))
        return Visitor(address, credentials.agent, credentials.purpose)

    def _identify(self, credentials: Credentials, headers: Mapping[str, str], peer: str) -> tuple[Role, str]:
        """The role, and the token's name for its limits. Raises Problem for an unknown token."""
        if credentials.authorization:
            scheme, _, token = credentials.authorization.partition(" ")
            secret = token.strip().encode("latin-1", "replace")
            role = self._tokens.role(secret) if scheme.lower() == "bearer" else None
            if role is not None:
                return role, _name_of(secret)
            if not self.open:
                self._refuse_role(Role.NOBODY, Role.PUBLIC, headers, self._client(peer, credentials))
        if self.open or self._inside:
            return Role.ADMIN, ""
        if self.logged_in(credentials):
            return Role.ADMIN, ""
        return (Role.PUBLIC if self._sites else Role.NOBODY), ""

    def _refuse_role(self, role: Role, need: Role, headers: Mapping[str, str], name: str) -> None:
        if role > Role.PUBLIC:
            self.tell("403", f"this needs the {need.name.lower()} token", name, _TOKENS)
            raise Problem(403, f"this needs the {need.name.lower()} token", headers=headers)
        self.tell("401", "a token is needed, and no known token was sent", name, _TOKENS)
        raise Problem(
            401,
            "a token is needed, and no known token was sent",
            headers={
                **headers,
                "WWW-Authenticate": 'Bearer realm="likd"',
            },
        )

    def _has_session(self, cookies: str) -> bool:
        return bool(self._tokens.admin) and any(self.logins.holds(session) for session in sessions_of(cookies))

    def tell(self, status: str, reason: str, name: str, setting: str) -> None:
        """Somebody was refused, by the `name` that it gave; `setting` would let it in."""
        self.refused[status] += 1
        self._refusals.tell(reason, self._called.get(name, name), setting)

    def _tell_limit(self, caller: Caller, name: str, peer: str = "", credentials: Credentials = NO_CREDENTIALS) -> None:
        setting = "--address-rate" if caller.role is Role.PUBLIC or not caller.name else "--token-rate"
        if credentials.forwarded_for and not caller.name and not self._proxies.trusts(peer):
            # A proxy that is not trusted: all its visitors are one caller.
            setting = "--trusted-proxies"
        self.tell("429", "too many requests from this caller", name, setting)


def _name_of(token: bytes) -> str:
    """The name under which a token's limits and keys are kept, whatever it is called in the log."""
    return TOKEN + hashlib.blake2b(token, digest_size=8).hexdigest()
