"""Which settings of a cluster's servers break promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from likd.errors import StoreAway, StoreError
from likd.stores.redis.cluster import Cluster
from likd.stores.redis.line import packed

ASKED = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


async def warnings(cluster: Cluster) -> list[str]:
    """What is wrong with each primary, as people are told. Raises StoreAway, StoreError."""
    await cluster.learn()
    found: list[str] = []
    for node, replicas in sorted(cluster.primaries.items(), key=str):
        if not replicas:
            found.append(f"{node} has no replica: if it is lost, so is what it has")
        try:
            flat = [await cluster.ask_server(node, packed(b"CONFIG", b"GET", name.encode())) for name in ASKED]
        except StoreAway:
            raise
        except StoreError as error:
            found.append(f"{node} does not tell its settings ({error})")
            continue
        settings = {name: words[1].decode() for name, words in zip(ASKED, flat, strict=True) if len(words) > 1}
        found += [f"{node}: {what}" for what in _judged(settings)]
    return found


def _judged(settings: Mapping[str, str]) -> Iterator[str]:
    if settings.get("appendonly") == "no":
        yield "appendonly is no: a restart loses what came since the last snapshot; expected yes"
    elif settings.get("appendfsync") == "no":
        yield "appendfsync is no: a power failure loses half a minute; expected everysec or always"
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy.startswith("allkeys"):
        yield f"maxmemory-policy is {policy}: counts are evicted when memory is full; expected noeviction"
    elif policy.startswith("volatile"):
        yield f"maxmemory-policy is {policy}: history is evicted when memory is full; expected noeviction"
