"""What clients ask of several nodes while these are tormented, and what they were told."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import trio

from torment.daemon import KINDS, Counted, Wrong, ask
from torment.node import Node

URLS = [f"https://example.com/{n}" for n in range(200)]
MERGED = [f"https://example.com/merged/{n}" for n in range(12)]
LIKED = [f"https://example.com/liked/{n}" for n in range(8)]
"""Only actors like these."""
ACTORS = 12


class Load:
    """Clients of `nodes`; they end when it is `stopping`."""

    def __init__(self, nodes: Sequence[Node], rng: random.Random) -> None:
        self.nodes = nodes
        self._rng = rng
        self.sent: Counted = Counter()
        self._acknowledged: Counted = Counter()
        """By any node."""
        self.figures: Counter[str] = Counter()
        self.merges: list[tuple[str, str]] = []
        """Those that were acknowledged."""
        self.stopping = trio.Event()

    @property
    def acknowledged(self) -> Counted:
        """What all nodes acknowledged."""
        return sum((node.acknowledged for node in self.nodes), self._acknowledged)

    async def client(self, number: int, done: trio.Event) -> None:
        """Send events by any node until the load is to stop."""
        rng = random.Random(self._rng.random())
        for n in itertools.count():
            if self.stopping.is_set():
                break
            places = [*URLS, *MERGED]
            events = Counter(
                (rng.choice(list(KINDS)), places[min(int(rng.paretovariate(0.4)), len(places)) - 1])
                for _ in range(rng.choice([1, 1, 10, 200]))
            )
            lines = [json.dumps({"kind": kind, "url": url}) for kind, url in events.elements()]
            counted = Counter({(url, KINDS[kind]): n for (kind, url), n in events.items()})
            self.sent += counted
            node = await self._send("\n".join(lines).encode(), f"{os.getpid()}-{number}-{n}")
            acknowledged = self._acknowledged if node is None else node.acknowledged
            acknowledged.update(counted)
            self.figures["requests acknowledged"] += 1
            self.figures["events acknowledged"] += counted.total()
        done.set()

    async def act(self, number: int, done: trio.Event) -> None:
        """Like and unlike as an actor, by any node."""
        rng = random.Random(self._rng.random())
        for n in itertools.count():
            if self.stopping.is_set():
                break
            act = {
                "kind": rng.choice(["like", "like", "unlike"]),
                "url": rng.choice(LIKED),
                "actor": f"actor {rng.randrange(ACTORS)}",
            }
            await self._send(json.dumps(act).encode(), f"{os.getpid()}-act-{number}-{n}")
            self.figures["acts acknowledged"] += 1
            await trio.sleep(rng.random() * 0.05)
        done.set()

    async def _send(self, body: bytes, key: str) -> Node | None:
        """Send until it is acknowledged. Returns by which node; None if it may have been counted by another."""
        node, moved = self._rng.choice(self.nodes), False
        while True:
            try:
                status, answer = await ask(node.daemon.port, "POST", "/v1/events", body, key)
            except OSError:
                status, answer = 0, None
            if status == 202:
                return None if moved else node
            if status not in (0, 500, 503):
                raise Wrong(f"{status}: {answer}")
            self.figures["tries that failed"] += 1
            await trio.sleep(0.02 + self._rng.random() * 0.2)
            if self._rng.random() < 0.3:
                node, moved = self._rng.choice(self.nodes), True

    async def merge(self) -> None:
        """Merge URLs by any node, now and then."""
        while True:
            await trio.sleep(self._rng.uniform(0.5, 3))
            old, new = self._rng.sample(MERGED, 2)
            body = json.dumps({"old": old, "new": new, "wait": self._rng.choice([0.05, 5])}).encode()
            with suppress(OSError):
                status, _ = await ask(self._rng.choice(self.nodes).daemon.port, "POST", "/v1/merge", body)
                if status in (200, 202):
                    self.figures["merges acknowledged"] += 1
                    self.merges.append((old, new))

    async def read(self, node: Node) -> None:
        """From then on, a node's answers include what it acknowledged, and nothing that was not sent."""
        while True:
            urls = self._rng.sample(URLS[:50], 10)
            low = node.acknowledged.copy()
            try:
                now = await self.totals(node, urls)
            except OSError:
                await trio.sleep(0.1)
                continue
            self.figures["reads"] += 1
            for place in itertools.product(urls, KINDS.values()):
                if not low[place] <= now[place] <= self.sent[place]:
                    raise Wrong(
                        f"node {node.number}, {place}: read {now[place]}, {low[place]} acknowledged by it,"
                        f" {self.sent[place]} sent"
                    )
            await trio.sleep(0.05)

    async def totals(self, node: Node, urls: Sequence[str]) -> Counted:
        """What a node says of `urls`. Raises OSError."""
        target = "/v1/counts?" + "&".join(f"url={url}" for url in urls)
        status, answer = await ask(node.daemon.port, "GET", target)
        if status != 200:
            raise OSError(f"{status}: {answer}")
        return Counter({(row["url"], name): row[name] for row in answer["counts"] for name in KINDS.values()})
