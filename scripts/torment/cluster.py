"""Chaos around several nodes on a cluster of Redis."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import trio

from likd.model import Counts
from likd.stores.redis.keys import SLOTS
from tests import redis_cluster
from torment.node import Node
from torment.nodes import NodesChaos

PREFIX = "likd"


class ClusterChaos(NodesChaos):
    """One run. Nodes learn from the cluster where its servers are, so that there is nothing to cut off between them."""

    def url_for(self, node: Node) -> str:
        servers = ",".join(f"127.0.0.1:{port}" for port in self._cluster.ports)
        return f"redis+cluster://{servers}/{PREFIX}"

    def _make_store(self) -> None:
        self._cluster = redis_cluster.make(redis_cluster.kinds()[0])

    def _end_store(self) -> None:
        self._cluster.stop()

    def _begin(self) -> None:
        self._cluster.start()

    async def _bring_back(self) -> None:
        for port in self._cluster.ports:
            if port not in self._cluster.processes:
                await trio.to_thread.run_sync(self._cluster.start_server, port)

    def _of_store(self) -> list[Callable[[], Awaitable[None]]]:
        return [*[self._kill_server] * 2, self._pause_server, *[self._fail_over] * 3, *[self._move_slot] * 3]

    async def _kill_server(self) -> None:
        """A server dies and comes back with what it had."""
        self.faults["kill -9 of a server"] += 1
        port = self._rng.choice(self._cluster.ports)
        with trio.CancelScope(shield=True):
            self._cluster.kill(port)
            await trio.sleep(self._rng.uniform(0, 2.0))
            await trio.to_thread.run_sync(self._cluster.start_server, port)

    async def _pause_server(self) -> None:
        self.faults["SIGSTOP, SIGCONT of a server"] += 1
        process = self._cluster.processes[self._rng.choice(self._cluster.ports)]
        process.send_signal(signal.SIGSTOP)
        with trio.CancelScope(shield=True):
            await trio.sleep(self._rng.uniform(0.1, 2.0))
        process.send_signal(signal.SIGCONT)

    async def _fail_over(self) -> None:
        """A primary dies, and a replica that missed the last writes takes its place."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._cluster.wait_well)
            self.faults["failover that lost writes"] += 1
            primary = self._rng.choice(self._cluster.primaries)
            replica = self._cluster.replica_of(primary)
            self._cluster.kill(replica)
            await trio.sleep(self._rng.uniform(0.3, 3.0))
            self._cluster.kill(primary)
            await trio.to_thread.run_sync(self._cluster.start_server, replica)
            self._cluster.ask(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
            await trio.sleep(self._rng.uniform(0, 1.0))
            await trio.to_thread.run_sync(self._cluster.start_server, primary)

    async def _move_slot(self) -> None:
        """A bucket moves from one primary to another, key by key."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._cluster.wait_well)
            source, target = self._rng.sample(self._cluster.primaries, 2)
            mine = [slot for slot in SLOTS if self._cluster.has_slot(source, slot)]
            if mine:
                self.faults["slot moved"] += 1
                await trio.to_thread.run_sync(self._cluster.move, self._rng.choice(mine), source, target)

    def _stored(self) -> tuple[dict[str, Counts], dict[str, str], list[bytes]]:
        rows: dict[str, Counts] = {}
        liking: list[bytes] = []
        for port, key in self._cluster.keys(f"{PREFIX}:*"):
            _, _, rest = key.partition(b"}:")
            if rest.startswith(b"c:"):
                flat = self._cluster.ask(port, "HGETALL", key)
                assert isinstance(flat, list)
                rows[rest[2:].decode()] = {
                    name.decode(): int(n) for name, n in zip(flat[::2], flat[1::2], strict=True) if int(n)
                }
            elif rest.startswith(b"a:"):
                members = self._cluster.ask(port, "SMEMBERS", key)
                assert isinstance(members, list)
                liking += [rest[2:] + member for member in members]
        return rows, {}, liking
