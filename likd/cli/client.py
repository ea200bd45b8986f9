"""What all clients of the daemon share: its address, the token, how they end."""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import attrs
import click
import httpx
import trio

from likd.config.parsers import UNIX
from likd.errors import LikdError
from likd.runtime.backoff import Backoff

DEFAULT_URL = "http://127.0.0.1:8080"

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0

F = TypeVar("F", bound=Callable[..., Any])


class ClientError(LikdError):
    """The work can't be done or can't continue; the message is one line that says why."""


@attrs.frozen
class Daemon:
    """The daemon's address, and the token that it or a proxy in front of it requires."""

    url: str
    """Its address, or the path of its Unix socket: unix:PATH, or unix:PATH:/BASE for a daemon with a base path."""
    token: str | None = attrs.field(default=None, repr=False)

    @property
    def socket(self) -> str | None:
        """The path of its Unix socket, if it is reached by one."""
        return self.url.removeprefix(UNIX).partition(":/")[0] if self.url.startswith(UNIX) else None

    @property
    def root(self) -> str:
        """The common beginning of its URLs."""
        if self.socket is None:
            return self.url
        return f"http://localhost{self.url.removeprefix(UNIX).removeprefix(self.socket).removeprefix(':')}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def events_url(self) -> str:
        """Where events are posted."""
        return f"{self.root}/v1/events"

    @property
    def live_url(self) -> str:
        """The address of the websocket."""
        return f"ws{self.root.removeprefix('http')}/v1/live"


def open_client(
    daemon: Daemon, timeout: httpx.Timeout | float, headers: Mapping[str, str] | None = None
) -> httpx.AsyncClient:
    """A client that sends the token to `daemon`, through the proxy that the environment names for it, if any.

    Requests to this machine never use a proxy. Raises ClientError if the environment is invalid.
    """
    proxy = proxy_for(daemon.root)
    try:
        return httpx.AsyncClient(
            headers={**daemon.headers, **(headers or {})},
            timeout=timeout,
            # With a transport of our own, httpx does not look for proxies itself.
            transport=httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context(), proxy=proxy, uds=daemon.socket),
        )
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        about = f"the proxy {without_secrets(proxy)}" if proxy else "the certificates (SSL_CERT_FILE, SSL_CERT_DIR)"
        raise ClientError(printable(f"can't use {about} from the environment: {error}")) from None


def proxy_for(url: str) -> str | None:
    """The proxy that the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) names for `url`.

    There is none for loopback addresses: nobody else should see what is sent there.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if _is_loopback(host) or _is_exempt(host, port or (443 if parts.scheme == "https" else 80)):
        return None
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy or None


def without_secrets(url: str) -> str:
    """`url` without a user's name and password."""
    scheme, separator, rest = url.rpartition("://")
    return printable(f"{scheme}{separator}{rest.rpartition('@')[2]}")


def _is_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_exempt(host: str, port: int) -> bool:
    """Whether NO_PROXY covers `host`: by domain, address or network, each with an optional port, or by `*`."""
    name, address = host.rstrip(".").lower(), _address(host)
    for entry in re.split(r"[,\s]+", getproxies_environment().get("no", "")):
        rule = entry.lower()
        if found := re.fullmatch(r"(\[.*\]|[^:]+):(\d+)", rule):
            if int(found[2]) != port:
                continue
            rule = found[1]
        rule = rule.strip("[]")
        if rule == "*":
            return True
        if address is not None:
            try:
                if address in ip_network(rule, strict=False):
                    return True
            except ValueError:
                pass
        domain = rule.removeprefix("*").strip(".")
        if domain and (name == domain or name.endswith(f".{domain}")):
            return True
    return False


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


class DaemonUrl(click.ParamType[str]):
    """The address of a daemon: http or https, a host and an optional path; or a Unix socket."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """`value` without a trailing slash."""
        if value.startswith(UNIX):
            socket, _, base = value.removeprefix(UNIX).partition(":/")
            if not socket or not value.isprintable() or not base.isascii() or " " in base:
                self.fail(f"{value!r} is not a socket, for example {UNIX}/run/likd.sock", param, ctx)
            return value.rstrip("/")
        try:
            parts = urlsplit(value)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            whole = False
        if not whole or not value.isascii() or not value.isprintable() or " " in value:
            self.fail(f"{value!r} is not an address, for example {DEFAULT_URL} or {UNIX}/run/likd.sock", param, ctx)
        if parts.query or parts.fragment or parts.username is not None:
            self.fail(f"{value!r} has more than a scheme, host, port and path", param, ctx)
        return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _check_token(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    # The value stays out of the message: it is a secret.
    if value and not re.fullmatch(r"[\x21-\x7e]+", value):
        raise click.BadParameter("a token may contain only printable ASCII characters, and no spaces")
    return value


def daemon_options(command: F) -> F:
    """Add --url and --token."""
    command = click.option(
        "--token",
        metavar="TOKEN",
        envvar="LIKD_TOKEN",
        callback=_check_token,
        help="Sent as `Authorization: Bearer TOKEN`. The environment variable keeps it out of the process list."
        "  [env: LIKD_TOKEN]",
    )(command)
    return click.option(
        "--url",
        type=DaemonUrl(),
        metavar="URL",
        envvar="LIKD_URL",
        default=DEFAULT_URL,
        help=f"The daemon's address, or its Unix socket as {UNIX}PATH.  [env: LIKD_URL; default: {DEFAULT_URL}]",
    )(command)


def client_backoff() -> Backoff:
    """The pauses between attempts to reach a daemon."""
    return Backoff(PAUSE_SECONDS, PAUSE_SECONDS_MAX)


async def until_signal(work: Callable[[], Awaitable[int]]) -> int:
    """Do `work` and return its exit status; on SIGINT or SIGTERM, cancel it and return 128 + the signal's number."""
    status = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def wait_signal() -> None:
                nonlocal status
                async for number in signals:
                    status = 128 + number
                    nursery.cancel_scope.cancel()

            nursery.start_soon(wait_signal)
            status = await work()
            nursery.cancel_scope.cancel()
    return status


def printable(text: str) -> str:
    """`text` from elsewhere, made safe for one line on a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:500])
