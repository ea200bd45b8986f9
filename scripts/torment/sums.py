"""What must be so in the end: acknowledged == counted, and likes minus unlikes of actors are those who like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs
import trio

from likd.counting.actors import ActorKeys
from likd.model import Counts
from torment.daemon import Counted, Wrong, ask
from torment.load import LIKED, URLS, Load
from torment.node import Node

HEARD_SECONDS_MAX = 20.0
"""After this long at most, a node shows what others drained."""


@attrs.frozen
class Sums:
    """Compares what there is with what the clients of `load` were told. Raises Wrong."""

    load: Load
    keys: ActorKeys

    async def over_http(self, node: Node) -> None:
        """All nodes say the same, once they know what the others drained."""
        status, answer = await ask(node.daemon.port, "GET", "/v1/status")
        if status != 200 or answer["store"]["missing"]["tables"]:
            raise Wrong(f"node {node.number} says of its store: {answer['store']}")
        wanted = Counter({(url, name): n for (url, name), n in self.load.acknowledged.items() if url in URLS})
        deadline = trio.current_time() + HEARD_SECONDS_MAX
        while await self._totals_of_all(node) != wanted and trio.current_time() < deadline:  # noqa: ASYNC110
            await trio.sleep(0.1)
        self._compare(f"over HTTP on node {node.number}", await self._totals_of_all(node), wanted)

    async def _totals_of_all(self, node: Node) -> Counted:
        counted: Counted = Counter()
        for begin in range(0, len(URLS), 100):
            counted += await self.load.totals(node, URLS[begin : begin + 100])
        return counted

    def in_store(self, rows: Mapping[str, Counts], aliases: Mapping[str, str], liking: Sequence[bytes]) -> None:
        """It has what was acknowledged, and likes minus unlikes of actors are those who are `liking`, by their keys."""
        for old, new in self.load.merges:
            if aliases.get(old, old) != aliases.get(new, new):
                raise Wrong(f"{old} was to be merged into {new}: {aliases}")
        wanted: Counted = Counter()
        for (asked, name), n in self.load.acknowledged.items():
            wanted[aliases.get(asked, asked), name] += n
        found = Counter({(at, name): n for at, counts in rows.items() for name, n in counts.items()})
        self._compare(
            "in the store", Counter({place: n for place, n in found.items() if place[0] not in LIKED}), wanted
        )
        for at in LIKED:
            net, who = (
                found[at, "likes"] - found[at, "unlikes"],
                sum(key.startswith(self.keys.of_url(at)) for key in liking),
            )
            if net != who:
                raise Wrong(f"{at}: {net} likes minus unlikes, but {who} like it")
        self.load.figures["actors who like in the end"] = len(liking)

    def _compare(self, where: str, counted: Counted, wanted: Counted) -> None:
        lost, doubled = wanted - counted, counted - wanted
        self.load.figures[f"lost, {where}"] = lost.total()
        self.load.figures[f"doubled, {where}"] = doubled.total()
        if lost or doubled:
            raise Wrong(
                f"{where}: {lost.total()} lost, {doubled.total()} doubled: {[*lost.items(), *doubled.items()][:5]}"
            )
