"""Addresses: whose a request is, even behind proxies, and which hosts a list means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from likd.config.parsers import Bind, UnixBind

IPV6_CALLER_BITS = 64
"""Anyone with one IPv6 address has as many as they like, so a network of this length is one caller."""
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{0,5}))?", re.ASCII)
_ZONE, _PORT = r"(?:%[\w.~-]+)?", r"(?::[0-9]{0,5})?"
_HOP = re.compile(rf"([0-9.]+){_PORT}|\[([0-9A-Fa-f:.]+){_ZONE}\]{_PORT}|([0-9A-Fa-f:.]+){_ZONE}", re.ASCII)
"""An element of X-Forwarded-For; some proxies add the port, and put an IPv6 address in brackets."""


class Proxies:
    """Proxies whose X-Forwarded-For is trusted, by address or network."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]

    def client(self, peer: str, forwarded_for: str) -> str:
        """The address that a request came from: the last one in the chain that is not such a proxy.

        A hop may have a port or brackets; an empty one is skipped. If one can't be parsed ("unknown"), only the proxy
        that passed it on is known, and that is the caller then: anything before it may be forged.
        """
        address = peer
        if not self._networks:
            return address
        for hop in reversed(forwarded_for.split(",")):
            if not self.trusts(address):
                break
            if not hop.strip():
                continue
            told = _hop(hop)
            if told is None:
                break
            address = told
        return address

    def trusts(self, address: str) -> bool:
        """Whether `address` is such a proxy."""
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)


class Hosts:
    """A list of host names, in which `*.example.org` means every name below it and `*` means all."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = [pattern.lower() for pattern in patterns]
        self._all = "*" in patterns
        self._names = frozenset(patterns)
        self._suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*."))

    def __bool__(self) -> bool:
        return self._all or bool(self._names)

    def __contains__(self, host: str) -> bool:
        return self._all or host in self._names or (bool(self._suffixes) and host.endswith(self._suffixes))


def valid_host(value: str) -> bool:
    """Whether `value` is a valid Host header: a name or an address (IPv6 in brackets), with or without a port."""
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or 0) > 65535:
        return False
    return match[1] is None or _parse(match[1]) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    parsed = _parse(host.strip("[]"))
    return host == "localhost" if parsed is None else parsed.is_loopback


def is_local(binds: Iterable[Bind | UnixBind]) -> bool:
    """Whether only this machine can reach what listens there."""
    return all(isinstance(bind, UnixBind) or is_loopback(bind.host) for bind in binds)


def peer_of(name: object) -> str:
    """The address of a socket's peer, from its name. Whoever comes by a Unix socket is on this machine."""
    return str(name[0]) if isinstance(name, tuple) else "127.0.0.1"


@lru_cache(maxsize=16_384)
def caller_of(address: str) -> str:
    """The name by which the limits of `address` are kept."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, IPV6_CALLER_BITS), strict=False))
    return address


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def _hop(text: str) -> str | None:
    """The address in an element of X-Forwarded-For, or None."""
    match = _HOP.fullmatch(text.strip().strip('"'))
    parsed = _parse(match[1] or match[2] or match[3]) if match is not None else None
    return None if parsed is None else str(parsed)
