"""Chaos around several nodes on one PostgreSQL, each with its own route to it."""

from __future__ import annotations

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
from likd.model import Counts
from tests import postgres
from torment.daemon import KINDS, PATIENCE_SECONDS, Wrong
from torment.load import ACTORS, Load
from torment.node import Node
from torment.sums import Sums

LAG_SECONDS_MAX = 3.0


class NodesChaos:
    """One run."""

    def __init__(self, directory: Path, ports: Sequence[int], rng: random.Random) -> None:
        self._rng = rng
        secret = secrets.token_hex(32)
        path = directory / "secret"
        path.write_text(secret)
        path.chmod(0o600)
        self._make_store()
        self.nodes = [Node(number, directory, port, self._store_port) for number, port in enumerate(ports)]
        self.faults: Counter[str] = Counter()
        self._clients = Load(self.nodes, rng)
        self._sums = Sums(self._clients, ActorKeys(given_secret(secret, "chaos")))

    @property
    def lives(self) -> int:
        """Lives of all daemons."""
        return sum(node.daemon.lives for node in self.nodes)

    @property
    def figures(self) -> Counter[str]:
        """What the clients did, and what was compared in the end."""
        return self._clients.figures

    def end(self) -> None:
        """End all processes, whatever they do."""
        for node in self.nodes:
            node.daemon.signal(signal.SIGKILL)
            if node.daemon.process is not None:
                node.daemon.process.wait()
        self._end_store()

    def url_for(self, node: Node) -> str:
        """The store, as `node` reaches it."""
        return f"postgresql://likd@127.0.0.1:{node.proxy.port}/likd"

    def _store_port(self) -> int:
        return self.primary.port

    def _make_store(self) -> None:
        self.primary = postgres.make()
        self._standby: postgres.Server | None = None

    def _end_store(self) -> None:
        for server in filter(None, [self.primary, self._standby]):
            server.remove()

    async def run(self, seconds: float, clients: int) -> None:
        """Load and chaos for that long; then peace, and the sums."""
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                await nursery.start(node.proxy.run)
                node.reach_store(self.url_for(node))
            await trio.to_thread.run_sync(self._begin)
            await self._all(lambda node: node.daemon.start())
            await self._load(seconds, clients)
            await self._all(self._terminate)
            await self._all(lambda node: node.daemon.start(faults=False))
            for node in self.nodes:
                await self._sums.over_http(node)
            await self._all(self._end_cleanly)
            self._sums.in_store(*self._stored())
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
                nursery.start_soon(self._clients.client, number, done[number])
            for number in range(ACTORS // 4):
                nursery.start_soon(self._clients.act, number, done[clients + number])
            nursery.start_soon(self._clients.merge)
            for node in self.nodes:
                nursery.start_soon(self._clients.read, node)
            with trio.move_on_after(seconds):
                await self._torment()
            await self._make_peace()
            self._clients.stopping.set()
            with trio.fail_after(2 * PATIENCE_SECONDS):
                for event in done:
                    await event.wait()
            nursery.cancel_scope.cancel()

    async def _make_peace(self) -> None:
        for node in self.nodes:
            node.proxy.heal()
            node.daemon.signal(signal.SIGCONT)
        await self._bring_back()
        for node in self.nodes:
            if not node.daemon.lives_now:
                await node.daemon.start()

    async def _bring_back(self) -> None:
        if self.primary.process is None:
            await trio.to_thread.run_sync(self.primary.start)

    # Faults

    def _of_store(self) -> list[Callable[[], Awaitable[None]]]:
        """What happens to the store."""
        return [*[self._cut_off] * 3, *[self._crash_server] * 2, self._stop_server, *[self._fail_over] * 3]

    async def _torment(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._torment_nodes)
            nursery.start_soon(self._torment_server)

    async def _torment_nodes(self) -> None:
        actions = [*[self._kill_node] * 3, self._terminate_node, self._pause_node]
        while True:
            await trio.sleep(self._rng.uniform(0.1, 1.0))
            for node in self.nodes:
                if not node.daemon.lives_now:
                    self.faults["gave up, restarted"] += 1
                    await node.daemon.start()
            with suppress(OSError):
                await self._rng.choice(actions)()

    async def _torment_server(self) -> None:
        actions = self._of_store()
        while True:
            await trio.sleep(self._rng.uniform(0.1, 2.0))
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

    def _stored(self) -> tuple[dict[str, Counts], dict[str, str], list[bytes]]:
        """The store's counts by URL, its aliases, and the keys of who likes."""
        url = f"postgresql://likd@127.0.0.1:{self.primary.port}/likd"
        with psycopg.connect(url) as connection:
            names = ", ".join(KINDS.values())
            found = connection.execute(f"SELECT url, {names} FROM likd_totals".encode())
            rows = {url: dict(zip(KINDS.values(), map(int, row), strict=True)) for url, *row in found}
            aliases: dict[str, str] = dict(connection.execute("SELECT old, new FROM likd_aliases"))
            return rows, aliases, [bytes(key) for (key,) in connection.execute("SELECT key FROM likd_actors")]
