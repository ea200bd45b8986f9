"""The store in a cluster of Redis or Valkey."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn

import msgspec

from likd.errors import Behind, Fenced, StoreError, TooNew, TotalTooLarge, Unsupported
from likd.model import Counts, Fold, Rows
from likd.runtime.cooperative import Steps, finish_in_turns
from likd.stores.marks import SCHEMA_VERSION, Chain, Entry
from likd.stores.protocol import (
    TOTAL_MAX,
    Applied,
    AsOf,
    Folding,
    Increments,
    Marks,
    News,
    Part,
    Retention,
    SharedRead,
    Unit,
)
from likd.stores.redis import feed, scripts, settings
from likd.stores.redis.address import Address
from likd.stores.redis.clients import Clients
from likd.stores.redis.cluster import KIND, Call, Cluster, Topology
from likd.stores.redis.keys import BUCKETS, META, SLOTS, Keys
from likd.stores.redis.line import Reply, packed
from likd.stores.redis.lists import Lists
from likd.stores.redis.reads import Reads
from likd.stores.redis.rows import SLICE_ROWS, Bucket, Packer, by_bucket, told

WRITE_SECONDS_MAX = 30.0
READ_SECONDS_MAX = 5.0
PATIENCE_SECONDS = 3.0
"""How long what moves, or is not there, is waited for before a call fails; who made it tries again."""
READERS = 4
"""So many read at a time: who waits for a server that does not answer does not keep all others from theirs."""
OPEN_TRIES = 5
FEED_SECONDS = 600.0
"""How long others can follow what a node applied."""

CLOCKS_OFF_SECONDS = 86_400
"""So far ahead of this clock another node's may be: what it counted is in the history."""

_pack = msgspec.msgpack.Encoder().encode
_BEGIN, _JOIN, _MOVE = map(scripts.digest, (scripts.BEGIN, scripts.JOIN, scripts.MOVE))


class RedisStore:
    """Totals in the cluster at `address`, for the data directory `source`.

    `url_key` tells how the keys of a URL's actors begin, and in which bucket it is; `secret_fingerprint` with which
    secret they are made. With `top_indexes` there are top lists. Increments go to all buckets at once, each of which
    takes its part in one step and moves its mark; the store's mark moves when all have. So the marks of two buckets
    are the same, or some have what was being applied when it was last cut off.

    A write has reached a replica when it returns, if there is one that is in time. What a failover lost all the same
    is given again.
    """

    kind = KIND
    replay_seconds = 300.0

    def __init__(
        self,
        address: Address,
        source: str,
        retention: Retention | None = None,
        *,
        url_key: Callable[[str], bytes],
        secret_fingerprint: str = "",
        top_indexes: bool = True,
        wall_clock: Callable[[], float] = time.time,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.chain = Chain(source)
        self.wall_clock = wall_clock
        self._keys = Keys(address.prefix)
        self._url_key = url_key
        self._secret_fingerprint = secret_fingerprint
        self._packer = Packer(self._keys, (), retention or Retention(), url_key, ranked=top_indexes)
        made = partial(Cluster, address, scripts.SCRIPTS, Topology(), patience_seconds=patience_seconds)
        self._writers = Clients(1, partial(made, answer_seconds=WRITE_SECONDS_MAX))
        self._readers = Clients(READERS, partial(made, answer_seconds=READ_SECONDS_MAX))
        self._listers = Clients(1, partial(made, answer_seconds=READ_SECONDS_MAX))
        self._reads = Reads(self._keys, source.encode(), url_key)
        self._lists = Lists(self._keys, self._reads.counts)
        self._known = [0] * (BUCKETS + 1)
        self._ends: frozenset[int] = frozenset()
        self._open = False

    @property
    def node(self) -> int:
        return self.chain.node

    @property
    def epoch(self) -> int:
        return self.chain.epoch

    @property
    def parts(self) -> frozenset[Part]:
        parts: set[Part] = {"actors", "history", "pages", "starting counts", "feed"}
        return frozenset(parts | {"top lists"} if self._packer.ranked else parts)

    @property
    def ends(self) -> frozenset[int]:
        return self._ends

    async def open(self, names: Sequence[str]) -> int:
        async with self._writers.one() as cluster:
            self._open = True
            for _ in range(OPEN_TRIES):
                self.chain.epoch = max(self.chain.epoch, *(epoch for _, epoch in await self._entries(cluster))) + 1
                await self._join(cluster)
                if await self._begin(cluster):
                    break
            else:
                raise StoreError(f"{KIND}: others open the store for this data directory again and again")
            mark = self.chain.known = min(self._known)
            self._ends = frozenset(known for known in self._known if known > mark)
            self._packer = Packer(
                self._keys, tuple(names), self._packer.retention, self._url_key, ranked=self._packer.ranked
            )
        return mark

    async def apply(self, increments: Increments) -> Applied | None:
        async with self._asking(self._writers) as cluster:
            calls = await finish_in_turns(self._adding(increments))
            answers = await cluster.ask(calls, wait=True)
            self._check(answers)
            corrections: Rows = {}
            sure = True
            for number, (said, mark, *more) in enumerate(answers):
                self._known[number] = mark
                sure &= said == b"done" or mark == increments.last
                corrections |= told(more[0] if more else b"")
            (done,) = answers = await cluster.ask([self._move(increments)], wait=True)
            self._check(answers)
            self._known[META] = self.chain.known = done[1]
        if done[0] == b"had" or (increments.actors and not sure):
            return None
        return Applied(corrections)

    async def read(self, urls: Sequence[str]) -> tuple[AsOf, Rows]:
        async with self._asking(self._readers) as cluster:
            marks, corrections, rows = await self._reads.counts(cluster, urls)
            known = self.chain.known
        lowest = min(marks.values(), default=known)
        ahead = {url: mark for url, mark in marks.items() if mark > lowest}
        if lowest <= known and not ahead:
            return lowest, rows
        return Marks(lowest, ahead, corrections), rows

    async def read_actors(self, keys: Sequence[bytes]) -> tuple[int, set[bytes]]:
        async with self._asking(self._readers) as cluster:
            lowest, found = await self._reads.liking(cluster, keys)
        return self.chain.known if lowest is None else lowest, found

    async def top(self, by: str, limit: int) -> tuple[int, list[tuple[str, Counts]]]:
        if not self._packer.ranked:
            raise self._lacks("has no top lists without --top-indexes")
        async with self._asking(self._listers) as cluster:
            return self.chain.known, await self._lists.top(cluster, by, limit)

    async def page(self, after: str, limit: int) -> list[tuple[str, Counts]]:
        async with self._asking(self._listers) as cluster:
            return await self._lists.page(cluster, after, limit)

    async def history(self, url: str, unit: Unit, begin: int, end: int) -> list[tuple[int, Counts]]:
        now = self._now() * 60
        begin = max(begin, now - self._packer.kept_seconds(unit))
        async with self._asking(self._listers) as cluster:
            return await self._reads.history(cluster, url, unit, begin, min(end, now + CLOCKS_OFF_SECONDS))

    async def load(self, name: str, rows: Rows, past: Mapping[int, Rows] | None = None) -> bool:
        async with self._asking(self._writers) as cluster:
            if await self._is_loaded(cluster, name):
                self._check(await cluster.ask([self._checked(number) for number in range(BUCKETS)]))
                return False
            await self._check_totals(cluster, rows)
            buckets = await finish_in_turns(by_bucket(rows, {}, self._url_key))
            for minute, some in (past or {}).items():
                for url, counts in some.items():
                    buckets[self._url_key(url)[0]].past.setdefault(minute, {})[url] = counts
            now = self._now()
            about = {**self._life, "load": name}
            self._check(
                await cluster.ask(
                    [self._packer.add(number, bucket, None, now, about) for number, bucket in enumerate(buckets)],
                    wait=True,
                )
            )
            await cluster.ask([self._meta(b"SADD", b"loads", name.encode())], wait=True)
        return True

    async def loaded(self, name: str) -> bool:
        async with self._asking(self._writers) as cluster:
            return await self._is_loaded(cluster, name)

    async def aliases(self) -> dict[str, str]:
        raise self._lacks("can't merge URLs")

    async def fold(self, folds: Sequence[Fold], folding: Folding, changing: Sequence[bytes] = ()) -> None:
        raise self._lacks("can't merge URLs")

    async def folding(self) -> Folding:
        raise self._lacks("can't merge URLs")

    async def news(self, last: News | None) -> News:
        async with self._asking(self._readers) as cluster:
            return await feed.news(cluster, self._keys, self.chain.source, last)

    async def read_shared(self, urls: Sequence[str]) -> SharedRead:
        return SharedRead(*await self.read(urls), merged={}, marks={})

    async def peek(self) -> int:
        async with self._readers.one() as cluster:
            try:
                return min(mark for mark, _ in await self._entries(cluster))
            finally:
                cluster.close()

    async def newest(self) -> float:
        return 0.0

    async def warnings(self) -> list[str]:
        async with self._readers.one() as cluster:
            try:
                return await settings.warnings(cluster)
            finally:
                cluster.close()

    async def aclose(self) -> None:
        self._open = False
        for clients in (self._writers, self._readers, self._listers):
            await clients.close()

    @property
    def _life(self) -> dict[str, Any]:
        return {"s": self.chain.source, "epoch": self.chain.epoch, "life": self.chain.life}

    @asynccontextmanager
    async def _asking(self, clients: Clients) -> AsyncIterator[Cluster]:
        async with clients.one() as cluster:
            if not self._open:
                raise StoreError(f"{KIND}: the store is not open")
            yield cluster

    async def _entries(self, cluster: Cluster) -> list[tuple[int, int]]:
        """The mark and the epoch that each bucket has of the data directory, and the store itself."""
        source = self.chain.source.encode()
        calls = [
            Call(SLOTS[number], packed(b"HMGET", self._keys.marks(number), source, source + b":e"))
            for number in range(BUCKETS + 1)
        ]
        return [(int(mark or 0), int(epoch or 0)) for mark, epoch in await cluster.ask(calls)]

    async def _join(self, cluster: Cluster) -> None:
        words = [self.chain.source.encode(), self._secret_fingerprint.encode(), b"%d" % SCHEMA_VERSION]
        keys = [self._keys.of(META, b"settings"), self._keys.of(META, b"nodes")]
        call = Call(SLOTS[META], packed(b"EVALSHA", _JOIN, b"2", *keys, *words))
        ((said, number),) = await cluster.ask([call], wait=True)
        if said == b"too new":
            raise TooNew(f"the store in {KIND}", number, SCHEMA_VERSION)
        if said == b"secret":
            raise StoreError(
                f"{KIND}: actors in this store are hashed with another secret: give all who share it the same one by"
                " --actor-secret-file or LIKD_ACTOR_SECRET, or the file `secret` of the data directory that came first"
            )
        self.chain.node = number

    async def _begin(self, cluster: Cluster) -> bool:
        """Be the newest life everywhere; whether none was newer."""
        words = [self.chain.source.encode(), b"%d" % self.chain.epoch, self.chain.life.encode()]
        # First where lives that begin at the same time are told apart.
        for numbers in ([META], range(BUCKETS)):
            calls = [
                Call(SLOTS[number], packed(b"EVALSHA", _BEGIN, b"1", self._keys.marks(number), *words))
                for number in numbers
            ]
            for number, (said, mark) in zip(numbers, await cluster.ask(calls, wait=True), strict=True):
                if said == b"taken":
                    return False
                self._known[number] = mark
        return True

    def _check(self, answers: Iterable[Reply]) -> None:
        """Raises Fenced, Behind if any of `answers` says so."""
        behind: list[int] = []
        for said, number, *_ in answers:
            if said in (b"fenced", b"strange"):
                self._fenced(said, number)
            if said == b"behind":
                behind.append(number)
        if behind:
            raise Behind(min(behind))

    def _fenced(self, said: bytes, number: int) -> NoReturn:
        if said == b"strange":
            raise Fenced(f"the store has table {number} of this data directory, which this likd did not write")
        self.chain.check(Entry(self.chain.node, number, "", 0))
        raise AssertionError("another life is fenced")

    def _adding(self, increments: Increments) -> Steps[list[Call]]:
        """What each bucket is told."""
        buckets = yield from by_bucket(increments.rows, increments.actors, self._url_key)
        now, packed_rows = self._now(), 0
        calls: list[Call] = []
        for number, bucket in enumerate(buckets):
            about = {**self._life, "before": self._known[number], "last": increments.last}
            calls.append(self._packer.add(number, bucket, increments.minute, now, about))
            packed_rows += len(bucket.rows) + len(bucket.actors)
            if packed_rows >= SLICE_ROWS:
                packed_rows = 0
                yield
        return calls

    def _move(self, increments: Increments) -> Call:
        said = {
            **self._life,
            "before": self._known[META],
            "first": increments.first,
            "last": increments.last,
            "trim": f"{int((self.wall_clock() - FEED_SECONDS) * 1000)}",
        }
        keys = [self._keys.marks(META), self._keys.of(META, b"nodes"), feed.key(self._keys, self.chain.source.encode())]
        return Call(SLOTS[META], packed(b"EVALSHA", _MOVE, b"3", *keys, _pack(said), feed.body(increments)))

    def _checked(self, number: int) -> Call:
        """A call that changes nothing, and finds out whether this life may write."""
        about = {**self._life, "before": 0, "last": 0}
        return self._packer.add(number, Bucket(), None, 0, about)

    async def _check_totals(self, cluster: Cluster, rows: Rows) -> None:
        """Raises TotalTooLarge if a total would be beyond what events may be added to."""
        _, _, there = await self._reads.counts(cluster, rows)
        for url, counts in rows.items():
            for name, n in counts.items():
                if there.get(url, {}).get(name, 0) + n > TOTAL_MAX:
                    raise TotalTooLarge(url, name)

    async def _is_loaded(self, cluster: Cluster, name: str) -> bool:
        (is_there,) = await cluster.ask([self._meta(b"SISMEMBER", b"loads", name.encode())])
        return bool(is_there)

    def _meta(self, command: bytes, rest: bytes, *words: bytes) -> Call:
        return Call(SLOTS[META], packed(command, self._keys.of(META, rest), *words))

    def _lacks(self, what: str) -> Unsupported:
        return Unsupported(f"a store of the kind {KIND} {what}")

    def _now(self) -> int:
        return int(self.wall_clock() // 60)
