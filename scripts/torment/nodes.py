"""Chaos around several nodes on one PostgreSQL, each with its own route to it."""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
import trio

from likd.counting.actors import ActorKeys
from likd.durability.data_dir import given_secret
from tests import postgres
from torment.daemon import KINDS, PATIENCE_SECONDS, Counted, WarmDaemon, Wrong, ask
from torment.proxy import Proxy

URLS = [f"https://example.com/{n}" for n in range(200)]
MERGED = [f"https://example.com/merged/{n}" for n in range(12)]
LIKED = [f"https://example.com/liked/{n}" for n in range(8)]
"""Only actors like these."""
ACTORS = 12
KEEP_SECONDS = 60
"""How long the nodes keep what they gave the store: longer than a standby lags."""
LAG_SECONDS_MAX = 3.0
HEARD_SECONDS_MAX = 20.0
"""After this long at most, a node shows what others drained."""


class Node:
    """A node, what it acknowledged, and its route to the store."""

    def __init__(self, number: int, directory: Path, port: int, chaos: NodesChaos) -> None:
        self.number = number
        self.proxy = Proxy(lambda: chaos.primary.port)
        self.acknowledged: Counted = Counter()
        self._data, self._log, self._port = directory / f"node{number}", directory / f"node{number}.log", port
        self._secret = directory / "secret"
        self.daemon = WarmDaemon(self._data, port, self._log)

    def reach_store(self) -> None:
        """Set the port by which it reaches the store; once, before it is started."""
        url = f"postgresql://likd@127.0.0.1:{self.proxy.port}/likd"
        flags = ["--store", url, "--actor-secret-file", str(self._secret), "--replay-window", str(KEEP_SECONDS)]
        self.daemon = WarmDaemon(self._data, self._port, self._log, *flags)


class NodesChaos:
    """One run."""

    def __init__(self, directory: Path, ports: Sequence[int], rng: random.Random) -> None:
        self._rng = rng
        secret = secrets.token_hex(32)
        self._keys = ActorKeys(given_secret(secret, "chaos"))
        path = directory / "secret"
        path.write_text(secret)
        path.chmod(0o600)
        self.primary = postgres.make()
        self._standby: postgres.Server | None = None
        self.nodes = [Node(number, directory, port, self) for number, port in enumerate(ports)]
        self.sent: Counted = Counter()
        self.figures: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._merges: list[tuple[str, str]] = []
        self._stopping = trio.Event()

    @property
    def lives(self) -> int:
        """Lives of all daemons."""
        return sum(node.daemon.lives for node in self.nodes)

    @property
    def acknowledged(self) -> Counted:
        """What all nodes acknowledged."""
        return sum((node.acknowledged for node in self.nodes), Counter())

    def end(self) -> None:
        """End all processes, whatever they do."""
        for node in self.nodes:
            node.daemon.signal(signal.SIGKILL)
            if node.daemon.process is not None:
                node.daemon.process.wait()
        for server in filter(None, [self.primary, self._standby]):
            server.remove()

    async def run(self, seconds: float, clients: int) -> None:
        """Load and chaos for that long; then peace, and the sums."""
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                await nursery.start(node.proxy.run)
                node.reach_store()
            await trio.to_thread.run_sync(self._begin)
            await self._all(lambda node: node.daemon.start())
            await self._load(seconds, clients)
            await self._all(self._terminate)
            await self._all(lambda node: node.daemon.start(faults=False))
            for node in self.nodes:
                await self._compare_over_http(node)
            await self._all(self._end_cleanly)
            self._compare_in_database()
            nursery.cancel_scope.cancel()

    def _begin(self) -> None:
        self.primary.start("max_wal_senders=5")
        made = self.primary.run("createdb", "likd")
        if made.returncode:
            raise Wrong(made.stderr.decode())
        self._follow()

    def _follow(self) -> None:
        """Start a standby of the current primary."""
        self._standby = self.primary.standby()
        self._standby.start()

    async def _all(self, what: Callable[[Node], Awaitable[object]]) -> None:
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                nursery.start_soon(what, node)

    async def _load(self, seconds: float, clients: int) -> None:
        async with trio.open_nursery() as nursery:
            done = [trio.Event() for _ in range(clients + ACTORS // 4)]
            for number in range(clients):
                nursery.start_soon(self._client, number, done[number])
            for number in range(ACTORS // 4):
                nursery.start_soon(self._act, number, done[clients + number])
            nursery.start_soon(self._merge)
            for node in self.nodes:
                nursery.start_soon(self._reader, node)
            with trio.move_on_after(seconds):
                await self._torment()
            await self._make_peace()
            self._stopping.set()
            with trio.fail_after(2 * PATIENCE_SECONDS):
                for event in done:
                    await event.wait()
            nursery.cancel_scope.cancel()

    async def _make_peace(self) -> None:
        for node in self.nodes:
            node.proxy.heal()
            node.daemon.signal(signal.SIGCONT)
        if self.primary.process is None:
            await trio.to_thread.run_sync(self.primary.start)
        for node in self.nodes:
            if not node.daemon.lives_now:
                await node.daemon.start()

    # Load

    async def _client(self, number: int, done: trio.Event) -> None:
        rng = random.Random(self._rng.random())
        for n in itertools.count():
            if self._stopping.is_set():
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
            node.acknowledged += counted
            self.figures["requests acknowledged"] += 1
            self.figures["events acknowledged"] += counted.total()
        done.set()

    async def _act(self, number: int, done: trio.Event) -> None:
        """Like and unlike as an actor, by any node."""
        rng = random.Random(self._rng.random())
        for n in itertools.count():
            if self._stopping.is_set():
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

    async def _send(self, body: bytes, key: str) -> Node:
        """Send until it is acknowledged. Returns by which node."""
        node = self._rng.choice(self.nodes)
        while True:
            try:
                status, answer = await ask(node.daemon.port, "POST", "/v1/events", body, key)
            except OSError:
                status, answer = 0, None
            if status == 202:
                return node
            if status not in (0, 500, 503):
                raise Wrong(f"{status}: {answer}")
            self.figures["tries that failed"] += 1
            await trio.sleep(0.02 + self._rng.random() * 0.2)

    async def _merge(self) -> None:
        """Merge URLs by any node, now and then."""
        while True:
            await trio.sleep(self._rng.uniform(0.5, 3))
            old, new = self._rng.sample(MERGED, 2)
            body = json.dumps({"old": old, "new": new, "wait": self._rng.choice([0.05, 5])}).encode()
            with suppress(OSError):
                status, _ = await ask(self._rng.choice(self.nodes).daemon.port, "POST", "/v1/merge", body)
                if status in (200, 202):
                    self.figures["merges acknowledged"] += 1
                    self._merges.append((old, new))

    async def _reader(self, node: Node) -> None:
        """From then on, a node's answers include what it acknowledged, and nothing that was not sent."""
        while True:
            urls = self._rng.sample(URLS[:50], 10)
            low = node.acknowledged.copy()
            try:
                now = await self._totals(node, urls)
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

    async def _totals(self, node: Node, urls: Sequence[str]) -> Counted:
        target = "/v1/counts?" + "&".join(f"url={url}" for url in urls)
        status, answer = await ask(node.daemon.port, "GET", target)
        if status != 200:
            raise OSError(f"{status}: {answer}")
        return Counter({(row["url"], name): row[name] for row in answer["counts"] for name in KINDS.values()})

    # Faults

    async def _torment(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._torment_nodes)
            nursery.start_soon(self._torment_server)

    async def _torment_nodes(self) -> None:
        actions = [*[self._kill_node] * 3, self._terminate_node, self._pause_node, *[self._cut_off] * 3]
        while True:
            await trio.sleep(self._rng.uniform(0.1, 1.0))
            for node in self.nodes:
                if not node.daemon.lives_now:
                    self.faults["gave up, restarted"] += 1
                    await node.daemon.start()
            with suppress(OSError):
                await self._rng.choice(actions)()

    async def _torment_server(self) -> None:
        actions = [*[self._crash_server] * 2, self._stop_server, *[self._fail_over] * 3]
        while True:
            await trio.sleep(self._rng.uniform(0.5, 4.0))
            await self._rng.choice(actions)()

    async def _kill_node(self) -> None:
        node = self._rng.choice(self.nodes)
        node.daemon.signal(signal.SIGKILL)
        await node.daemon.wait()
        self.faults["kill -9 of a node"] += 1
        await node.daemon.start()

    async def _terminate_node(self) -> None:
        node = self._rng.choice(self.nodes)
        self.faults["SIGTERM of a node"] += 1
        await self._terminate(node)
        await node.daemon.start()

    async def _pause_node(self) -> None:
        node = self._rng.choice(self.nodes)
        node.daemon.signal(signal.SIGSTOP)
        self.faults["SIGSTOP, SIGCONT of a node"] += 1
        await trio.sleep(self._rng.uniform(0.1, 2.0))
        node.daemon.signal(signal.SIGCONT)

    async def _cut_off(self) -> None:
        """Some nodes do not reach the store."""
        silently = self._rng.random() < 0.5
        some = self._rng.sample(self.nodes, self._rng.randint(1, len(self.nodes)))
        self.faults["nodes cut off in silence" if silently else "nodes cut off"] += len(some)
        for node in some:
            node.proxy.cut(silently=silently)
        try:
            await trio.sleep(self._rng.uniform(0.2, 4.0))
        finally:
            for node in some:
                node.proxy.heal()

    async def _crash_server(self) -> None:
        self.faults["kill -9 of the server"] += 1
        await self._down(9)

    async def _stop_server(self) -> None:
        self.faults["stop of the server"] += 1
        await self._down(2)

    async def _down(self, number: int) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.primary.stop, number)
            await trio.sleep(self._rng.uniform(0, 2.0))
            await trio.to_thread.run_sync(self.primary.start)

    async def _fail_over(self) -> None:
        """The primary dies, and a standby that missed the last commits takes its place."""
        assert self._standby is not None
        self.faults["failover that lost commits"] += 1
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._standby.stop, 9)
            await trio.sleep(self._rng.uniform(0.3, LAG_SECONDS_MAX))
            await trio.to_thread.run_sync(self._take_its_place)

    def _take_its_place(self) -> None:
        assert self._standby is not None
        self.primary.remove()
        self._standby.be_no_standby()
        self._standby.start()
        self.primary = self._standby
        self._follow()

    async def _terminate(self, node: Node) -> None:
        node.daemon.signal(signal.SIGTERM)
        await node.daemon.wait()

    async def _end_cleanly(self, node: Node) -> None:
        node.daemon.signal(signal.SIGTERM)
        if await node.daemon.wait() != 0:
            raise Wrong(f"the last shutdown of node {node.number} was not clean")

    # Sums

    async def _compare_over_http(self, node: Node) -> None:
        """All nodes say the same, once they know what the others drained."""
        status, answer = await ask(node.daemon.port, "GET", "/v1/status")
        if status != 200 or answer["store"]["missing"]["tables"]:
            raise Wrong(f"node {node.number} says of its store: {answer['store']}")
        wanted = Counter({(url, name): n for (url, name), n in self.acknowledged.items() if url in URLS})
        deadline = trio.current_time() + HEARD_SECONDS_MAX
        while await self._totals_of_all(node) != wanted and trio.current_time() < deadline:  # noqa: ASYNC110
            await trio.sleep(0.1)
        self._compare(f"over HTTP on node {node.number}", await self._totals_of_all(node), wanted)

    async def _totals_of_all(self, node: Node) -> Counted:
        counted: Counted = Counter()
        for begin in range(0, len(URLS), 100):
            counted += await self._totals(node, URLS[begin : begin + 100])
        return counted

    def _compare_in_database(self) -> None:
        url = f"postgresql://likd@127.0.0.1:{self.primary.port}/likd"
        with psycopg.connect(url) as connection:
            names = ", ".join(KINDS.values())
            rows = {row[0]: row[1:] for row in connection.execute(f"SELECT url, {names} FROM likd_totals".encode())}
            aliases: dict[str, str] = dict(connection.execute("SELECT old, new FROM likd_aliases"))
            liking = [bytes(key) for (key,) in connection.execute("SELECT key FROM likd_actors")]
            (corrections,) = connection.execute(
                "SELECT sum(likes) FROM likd_totals WHERE url = ANY(%s)", [LIKED]
            ).fetchone() or (0,)
        for old, new in self._merges:
            if aliases.get(old, old) != aliases.get(new, new):
                raise Wrong(f"{old} was to be merged into {new}: {aliases}")
        wanted: Counted = Counter()
        for (asked, name), n in self.acknowledged.items():
            wanted[aliases.get(asked, asked), name] += n
        found = Counter(
            {(at, name): int(n) for at, row in rows.items() for name, n in zip(KINDS.values(), row, strict=True)}
        )
        self._compare(
            "in the database", Counter({place: n for place, n in found.items() if place[0] not in LIKED}), wanted
        )
        for at in LIKED:
            net, who = (
                found[at, "likes"] - found[at, "unlikes"],
                sum(key.startswith(self._keys.of_url(at)) for key in liking),
            )
            if net != who:
                raise Wrong(f"{at}: {net} likes minus unlikes, but {who} like it")
        self.figures["likes of actors in the store"] = int(corrections or 0)

    def _compare(self, where: str, counted: Counted, wanted: Counted) -> None:
        lost, doubled = wanted - counted, counted - wanted
        self.figures[f"lost, {where}"] = lost.total()
        self.figures[f"doubled, {where}"] = doubled.total()
        if lost or doubled:
            raise Wrong(
                f"{where}: {lost.total()} lost, {doubled.total()} doubled: {[*lost.items(), *doubled.items()][:5]}"
            )
