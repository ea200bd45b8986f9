"""A cluster: which server has which slot, and asking all of them at once, however they move meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import structlog
import trio
from coredis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from likd.errors import StoreAway, StoreError
from likd.stores.redis.address import Address, Node
from likd.stores.redis.line import Line, LineBroken, Reply, packed

KIND = "redis cluster"
SLOTS = 16_384
LEARN_SECONDS = 1.0
"""Who does not tell who has what within that is not waited for: another does."""
PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 0.5
WAIT_MILLISECONDS = 500
"""A write waits so long for a replica to have it."""
WAIT_AGAIN_SECONDS = 10.0
"""Where no replica had it in time, the next writes do not wait for so long."""

_MOVING = (MovedError, AskError, TryAgainError)
_AWAY = (ClusterDownError, BusyLoadingError, ReadOnlyError)

log = structlog.get_logger(__name__)


@attrs.frozen
class Call:
    """A packed command about keys of one slot. It may be given again: done twice, it is done once."""

    slot: int
    command: bytes = attrs.field(repr=False)


@attrs.define
class _Shard:
    """A primary and what it was asked; `replicas` are as many as the cluster thinks are well."""

    node: Node
    replicas: int = 0
    calls: list[int] = attrs.field(factory=list)


@attrs.define
class Topology:
    """Who has what, as far as it is known; all clients of a cluster may share it.

    `replicas` tells how many replicas each primary has. Who is `suspect` did not answer when asked last.
    """

    owners: list[Node | None] = attrs.field(factory=list)
    replicas: dict[Node, int] = attrs.field(factory=dict)
    suspect: set[Node] = attrs.field(factory=set)
    stale: bool = True


class Cluster:
    """Asks the servers of a cluster, one time at a time. `scripts` are those that its calls name, by their digests.

    A server that does not answer within `answer_seconds`, and slots that nobody serves, are tried again for
    `patience_seconds`.
    """

    def __init__(
        self,
        address: Address,
        scripts: Mapping[bytes, str],
        topology: Topology,
        *,
        answer_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._address = address
        self._scripts = scripts
        self._answer_seconds = answer_seconds
        self._patience_seconds = patience_seconds
        self._lines: dict[Node, Line] = {}
        self._topology = topology
        self._unreplicated_until: dict[Node, float] = {}
        self.unreplicated = 0
        """How many writes no replica had in time."""

    @property
    def primaries(self) -> Mapping[Node, int]:
        """The primaries that have slots, and how many replicas each has, as far as it is known."""
        return self._topology.replicas

    def close(self) -> None:
        """Let go of all connections; it can be asked again."""
        while self._lines:
            self._lines.popitem()[1].close()
        self._topology.stale = True

    async def ask(self, calls: Sequence[Call], *, wait: bool = False) -> list[Reply]:
        """The replies to `calls`, none of them an error. With `wait`, a replica has what they wrote, if it is in time.

        Raises StoreAway, StoreError; some of `calls` may be done then.
        """
        replies: list[Reply] = [None] * len(calls)
        deadline = trio.current_time() + self._patience_seconds
        pause = PAUSE_SECONDS
        todo: Sequence[int] = range(len(calls))
        fault: Exception | None = None
        while todo:
            if fault is not None:
                await trio.sleep(pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
            try:
                if self._topology.stale:
                    await self._learn()
                todo, fault = await self._round(calls, todo, replies, wait=wait)
                if fault is not None:
                    self._topology.stale = True
                elif todo:
                    # A server told who has it by now, which others may not know yet.
                    todo, fault = await self._round(calls, todo, replies, wait=wait)
                    self._topology.stale = True
            except LineBroken as error:
                fault = error
                self._topology.stale = True
            if todo and trio.current_time() > deadline:
                raise StoreAway(f"{KIND}: {_said(fault)}")
        return replies

    async def ask_server(self, node: Node, command: bytes) -> Reply:
        """The reply of one server, whatever it is about. Raises StoreAway, StoreError."""
        try:
            (reply,) = await self._ask(node, [command])
        except LineBroken as error:
            raise StoreAway(f"{KIND}: {_said(error)}") from None
        if isinstance(reply, RedisError):
            raise StoreError(f"{KIND}: {node}: {_said(reply)}")
        return reply

    async def learn(self) -> None:
        """Find out who has what. Raises StoreAway, StoreError."""
        try:
            await self._learn()
        except LineBroken as error:
            raise StoreAway(f"{KIND}: {_said(error)}") from None

    async def _round(
        self, calls: Sequence[Call], todo: Sequence[int], replies: list[Reply], *, wait: bool
    ) -> tuple[list[int], Exception | None]:
        """Ask once: which calls are to be asked again, and what one of them failed by. Raises StoreError."""
        shards: dict[Node, _Shard] = {}
        failed: dict[int, Exception] = {}
        for number in todo:
            node = self._topology.owners[calls[number].slot]
            if node is None:
                failed[number] = ClusterDownError(f"nobody serves slot {calls[number].slot}")
                continue
            if node not in shards:
                shards[node] = _Shard(node, self._topology.replicas.get(node, 0))
            shards[node].calls.append(number)

        async def ask_shard(shard: _Shard) -> None:
            try:
                failed.update(await self._ask_shard(shard, calls, replies, wait=wait))
            except (LineBroken, StoreError) as error:
                failed.update(dict.fromkeys(shard.calls, error))

        async with trio.open_nursery() as nursery:
            for shard in shards.values():
                nursery.start_soon(ask_shard, shard)
        await self._follow(failed, calls, replies)
        faults = list(failed.values())
        for fault in faults:
            if isinstance(fault, StoreError):
                raise fault
            if isinstance(fault, RedisError) and not isinstance(fault, (*_MOVING, *_AWAY)):
                raise StoreError(f"{KIND}: {_said(fault)}")
        return list(failed), next((fault for fault in faults if not isinstance(fault, MovedError)), None)

    async def _follow(self, failed: dict[int, Exception], calls: Sequence[Call], replies: list[Reply]) -> None:
        """Ask again what is about keys that have all moved already, while their slot is still moving.

        In its turn: the new server is one that was asked just before.
        """
        for number, fault in list(failed.items()):
            if isinstance(fault, AskError) and not isinstance(fault, MovedError):
                answer = await self._ask_newcomer(Node(fault.host, fault.port), calls[number].command)
                if isinstance(answer, Exception):
                    failed[number] = answer
                else:
                    replies[number] = answer
                    del failed[number]

    async def _ask_shard(
        self, shard: _Shard, calls: Sequence[Call], replies: list[Reply], *, wait: bool
    ) -> list[tuple[int, Exception]]:
        """Ask one primary: the numbers of those calls that failed, and by what. Raises LineBroken."""
        node = shard.node
        commands = [calls[number].command for number in shard.calls]
        waits = wait and shard.replicas > 0 and self._unreplicated_until.get(node, 0.0) < trio.current_time()
        if waits:
            commands.append(packed(b"WAIT", b"1", b"%d" % WAIT_MILLISECONDS))
        answers = await self._ask(node, commands)
        if waits and not answers.pop():
            self.unreplicated += 1
            log.warning(
                "no replica had in time what a primary was given", primary=str(node), waited_ms=WAIT_MILLISECONDS
            )
            self._unreplicated_until[node] = trio.current_time() + WAIT_AGAIN_SECONDS
        if any(isinstance(answer, NoScriptError) for answer in answers):
            await self._ask(node, [packed(b"SCRIPT", b"LOAD", text.encode()) for text in self._scripts.values()])
            unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            for at, answer in zip(unknown, await self._ask(node, [commands[at] for at in unknown]), strict=True):
                answers[at] = answer
        failed: list[tuple[int, Exception]] = []
        for number, answer in zip(shard.calls, answers, strict=True):
            if isinstance(answer, MovedError):
                self._topology.owners[calls[number].slot] = Node(answer.host or node.host, answer.port)
            if isinstance(answer, Exception):
                failed.append((number, answer))
            else:
                replies[number] = answer
        return failed

    async def _ask_newcomer(self, node: Node, command: bytes) -> Reply:
        _, answer = await self._ask(node, [packed(b"ASKING"), command])
        if isinstance(answer, NoScriptError):
            await self._ask(node, [packed(b"SCRIPT", b"LOAD", text.encode()) for text in self._scripts.values()])
            _, answer = await self._ask(node, [packed(b"ASKING"), command])
        return answer

    async def _ask(self, node: Node, commands: Sequence[bytes], seconds: float | None = None) -> list[Reply]:
        """The replies of `node`. Raises LineBroken."""
        seconds = seconds or self._answer_seconds
        line = self._lines.get(node)
        try:
            if line is None:
                line = self._lines[node] = await Line.connect(node, self._address)
            with trio.move_on_after(seconds):
                replies = await line.ask(commands)
                self._topology.suspect.discard(node)
                return replies
            raise LineBroken(f"{node} does not answer within {seconds:g} s")
        except LineBroken:
            self._topology.suspect.add(node)
            self._let_go(node)
            raise
        except BusyLoadingError as error:
            raise LineBroken(f"{node}: {_said(error)}") from None
        except RedisError as error:
            raise StoreError(f"{KIND}: {node}: {_said(error)}") from None
        except BaseException:
            # What is still to come of its replies is nobody's.
            self._let_go(node)
            raise

    def _let_go(self, node: Node) -> None:
        line = self._lines.pop(node, None)
        if line is not None:
            line.close()

    async def _learn(self) -> None:
        """Ask one server after another who has which slot. Raises LineBroken, StoreError."""
        fault: LineBroken | None = None
        known = dict.fromkeys([*self._lines, *self._address.nodes, *self._topology.replicas])
        for node in sorted(known, key=self._topology.suspect.__contains__):
            try:
                (found,) = await self._ask(node, [packed(b"CLUSTER", b"SLOTS")], LEARN_SECONDS)
            except LineBroken as error:
                fault = error
                continue
            if isinstance(found, BusyLoadingError) or found == []:
                fault = LineBroken(f"{node} knows of no servers that have slots")
                continue
            if isinstance(found, RedisError):
                raise StoreError(f"{KIND}: {node}: {_said(found)}")
            self._take(found, node)
            return
        raise fault or LineBroken("there is no server to ask")

    def _take(self, found: list[Reply], asked: Node) -> None:
        owners: list[Node | None] = [None] * SLOTS
        replicas: dict[Node, int] = {}
        for first, last, primary, *others in found:
            # A server that does not know its own name yet is the one that was asked.
            owner = Node(primary[0].decode() if primary[0] else asked.host, primary[1])
            owners[first : last + 1] = [owner] * (last + 1 - first)
            replicas[owner] = len(others)
        for node in self._lines.keys() - replicas.keys():
            self._lines.pop(node).close()
        self._topology.owners, self._topology.replicas, self._topology.stale = owners, replicas, False


def _said(fault: Exception | None) -> str:
    """What a fault says. coredis takes the first word off that says which kind it is."""
    if isinstance(fault, MovedError | AskError):
        return "its slots are moving"
    return " ".join(str(fault).split()) or type(fault).__name__
