"""A world: one life of the engine after another on the same simulated disk and store, with clients that never rest.

Whatever happens, each event that was acknowledged is counted once, none that was refused is, and no total that is
read goes back; nor does it when URLs are merged, or when by new rules two URLs count as one. Of what was erased, and
that was acknowledged, there is what came after it. The history has what is
counted, whatever the clock says.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from unittest import mock

import trio
import trio.testing

from likd.counting.aliases import Aliases
from likd.draining import folding
from likd.errors import LikdError
from likd.ingest.urls import UrlRules
from likd.model import LIKES, IdempotencyKey
from likd.queries import merging
from likd.stores.sqlite import erasures as erasing
from tests.sim import clients, erasures
from tests.sim.actors import Wish
from tests.sim.acts import Acts
from tests.sim.clients import Load
from tests.sim.counted import ACTED, COUNTED, ERASED, KEYS, Broken, Counted, Ledger, Request, flat, summed
from tests.sim.erasures import Erasures
from tests.sim.faults import YEARS
from tests.sim.node import Node
from tests.sim.parts import PartedDatabase
from tests.sim.store import SharedSimDatabase, SimDatabase


class World:
    """Everything that a seed decides, and what clients know of it: one node, or several on one store."""

    def __init__(self, seed: int, *, nodes: int = 1, verbose: bool = False) -> None:
        self.verbose = verbose
        self.rng = random.Random(seed)
        self.alone = nodes == 1
        self.parted = self.alone and self.rng.random() < 0.3
        """Whether the store is written part by part. What was begun there is not finished under other rules."""
        kind = PartedDatabase if self.parted else SimDatabase if self.alone else SharedSimDatabase
        self.database = kind(KEYS.of_url)
        """What is in the store, for those who look at it from outside."""
        self.same_schemes = not self.alone and self.rng.random() < 0.3
        self.goes_back = self.rng.random() < 0.5
        """Whether the store sometimes goes back in time or is away at a start, and the daemon keeps what it needs."""
        self.database.timeline.keeps_copies = self.goes_back
        self.ledger = Ledger()
        self.pending: list[Request] = []
        """Requests with keys that are sent again and again, by all nodes."""
        self.loads: list[Load] = []
        self.erasures = Erasures()
        self.acts = Acts(self.erasures)
        self.wishes: dict[tuple[str, str], Wish] = {}
        self.trace = hashlib.sha256()
        self.figures: Counter[str] = Counter()
        self._keys = 0
        self._settled = trio.Event()
        self._late: trio.Nursery | None = None
        self.nodes = [Node(self, number) for number in range(nodes)]

    def new_database(self, node: int) -> SimDatabase:
        """A client of the store for a life of `node`."""
        database = self.database
        made = type(database)(KEYS.of_url, uri=database.uri, source=f"node {node}", timeline=database.timeline)
        made.replay_seconds = YEARS if self.goes_back else 0.0
        return made

    def bring_late(self, what: Callable[[], object]) -> None:
        """A request was on its way to the store when its node lost power: it arrives later, or never."""

        async def arrive() -> None:
            await trio.sleep(self.rng.random() * 0.5)
            try:
                what()
            except (LikdError, sqlite3.Error) as fault:
                self.note("late", type(fault).__name__)
            else:
                self.note("late", "taken")

        if self._late is not None and self.rng.random() < 0.5:
            self._late.start_soon(arrive)

    def new_key(self) -> IdempotencyKey:
        """A key that nobody else has."""
        self._keys += 1
        return clients.key_of(self._keys)

    def begins(self, node: Node) -> None:
        """A life of `node` begins."""
        assert node.engine is not None
        if self.alone:
            self.acts.seen(node.engine.totals.ledger.aliases, trio.current_time())
        self.erasures.life_begins()

    def acknowledge(self, node: Node | None, counted: Counted) -> None:
        """A client was told that these events are counted, by `node` if that is known."""
        self.ledger.acknowledged += counted
        if node is not None:
            node.acknowledged += counted

    @property
    def merging(self) -> bool:
        """Whether a node may know of a merge that the store has yet to do."""
        return any(node.engine is None or node.engine.totals.ledger.merging for node in self.nodes)

    def wants(self, node: Node) -> bool:
        """Whether clients of `node` still wait for anything."""
        return bool(node.pending or self.loads or self.acts.unsettled or self.erasures.wanted)

    async def wait_settled(self) -> None:
        """Wait until a client has heard what it waited for."""
        await self._settled.wait()

    def tell_settled(self) -> None:
        """A client has heard what it waited for."""
        self._settled.set()
        self._settled = trio.Event()

    def note(self, *what: object) -> None:
        """Add to the trace, by which two runs of a seed are compared."""
        self.trace.update(repr((*what, round(trio.current_time(), 9))).encode())
        self.figures[str(what[0])] += 1
        if self.verbose:
            print(f"{trio.current_time():9.4f}", *what)

    def classes(self, aliases: Aliases | Mapping[str, str], rules: UrlRules) -> dict[str, str]:
        """What each URL counts for."""
        name = aliases if isinstance(aliases, Aliases) else lambda url: aliases.get(url, url)
        return {url: name(rules(url)) for url in [*COUNTED, *ACTED, *ERASED]}

    async def live(self) -> None:
        """Some lives of each node that end badly, and a last one that ends well."""
        async with trio.open_nursery() as self._late:
            async with trio.open_nursery() as nursery:
                for node in self.nodes:
                    nursery.start_soon(node.live_badly)
            async with trio.open_nursery() as nursery:
                for node in self.nodes:
                    nursery.start_soon(node.live_well)
        self._check_all()

    def maybe_change_rules(self) -> None:
        """Let http and https be one from the next life on, perhaps. Nodes have the same rules all the time."""
        if self.alone and not self.parted and not self.same_schemes and self.rng.random() < 0.3:
            self.same_schemes = True
            self.acts.united(trio.current_time())
            self.note("rules")

    def _check_all(self) -> None:
        # It knows by now which counts there are.
        database = self.nodes[0].store.database
        by = self.classes(database.merged, UrlRules(self.same_schemes))
        rows = database.rows
        actors = [actor for node in self.nodes for actor in node.actors]
        self.acts.check(by, rows, database.liking, KEYS, actors, ACTED, alone=self.alone)
        for url in rows:
            if by[url] != url:
                raise Broken(f"{url} still has counts of its own, and is part of {by[url]}")
        elsewhere = [url for url in rows if url not in [*ACTED, *map(by.__getitem__, ERASED)]]
        counted = flat({url: rows[url] for url in elsewhere})
        history = flat({url: database.history_of(url) for url in elsewhere})
        acknowledged, doubtful = summed(self.ledger.acknowledged, by), summed(self.ledger.doubtful, by)
        loaded = summed(self.ledger.loaded, by)
        for place in {*counted, *acknowledged, *summed(self.ledger.sent, by)}:
            low, high = acknowledged[place], acknowledged[place] + doubtful[place]
            if not low <= counted[place] <= high:
                raise Broken(f"{place}: {counted[place]} counted, {low} acknowledged, {high - low} in doubt")
            if history[place] + loaded[place] != counted[place]:
                raise Broken(f"{place}: {counted[place]} counted, {history[place]} in the history")
        for url in ERASED if self.alone else ():
            likes = rows.get(by[url], {}).get(LIKES, 0)
            erasures.check_read(self, url, likes)
            if database.history_of(by[url]).get(LIKES, 0) != likes:
                raise Broken(f"{url}: {likes} likes, and the history has others")
        if off := database.site_sums_off:
            raise Broken(f"sums by site are off: {off[:3]}")
        if damaged := [name for node in self.nodes for name in node.disk.damaged]:
            raise Broken(f"set aside as damaged: {damaged}")
        if database.timeline.corrections and self.alone and not (self.same_schemes or database.timeline.went_back):
            raise Broken("what is known of actors was wrong")
        self.note("end", sorted(counted.items()))


def run(seed: int, *, nodes: int = 1, verbose: bool = False) -> World:
    """Run the world of `seed`, with so many nodes; the same each time. Raises Broken."""
    # As trio's own plug-in for hypothesis does it: its scheduler shuffles, and this is its only randomness.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(seed)
    world: list[World] = []

    async def live() -> None:
        world.append(World(seed, nodes=nodes, verbose=verbose))
        await world[0].live()

    with (
        mock.patch.multiple(folding, PAGE_URLS=3, FOLDS_AT_ONCE=1, PAGES_NOTED=1, RETRY_SECONDS=0.02),
        mock.patch.object(merging, "STORE_SECONDS_MAX", 0.2),
        mock.patch.multiple(erasing, URLS_AT_ONCE=2, ACTORS_AT_ONCE=3),
    ):
        trio.run(live, clock=trio.testing.MockClock(autojump_threshold=0))
    return world[0]


def reasons(error: BaseException) -> str:
    """What is at the bottom of a group of exceptions."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(reasons, error.exceptions))
    return f"{type(error).__name__}: {error}"
