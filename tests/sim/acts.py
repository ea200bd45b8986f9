"""What actors want in a simulated world, which URLs are merged meanwhile, and what must have become of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import attrs

from likd.counting.actors import ActorKeys
from likd.counting.aliases import Aliases
from likd.model import LIKES, UNLIKES, Rows
from tests.sim.erasures import Erasures


@attrs.define
class Heard:
    """An act that was acknowledged, and between which times it was decided."""

    actor: str
    url: str
    likes: bool
    began: float
    ended: float


@attrs.define
class Merge:
    """An attempt to merge, and between which times it came into force."""

    old: str
    new: str
    began: float
    ended: float | None = None
    promised: bool = False


class Acts:
    """Keeps what is wanted, and knows what must be so in the end."""

    def __init__(self, erasures: Erasures) -> None:
        self._erasures = erasures
        self.wishes: dict[tuple[str, str], bool] = {}
        """(actor, URL) → what the actor wanted last."""
        self.unsettled: dict[tuple[str, str], None] = {}
        """Where the actor has not heard yet that it is so."""
        self._heard: list[Heard] = []
        self._merges: list[Merge] = []
        self._united: float | None = None

    def wanted(self, actor: str) -> tuple[str, str] | None:
        """What the actor still has to ask for, if anything."""
        return next((place for place in self.unsettled if place[0] == actor), None)

    def wish(self, actor: str, url: str, likes: bool) -> tuple[str, str]:
        """The actor wants something else."""
        self.wishes[actor, url] = likes
        self.unsettled[actor, url] = None
        return actor, url

    def heard(self, actor: str, url: str, likes: bool, began: float, ended: float) -> None:
        """The actor has heard that it is so."""
        self.unsettled.pop((actor, url), None)
        self._heard.append(Heard(actor, url, likes, began, ended))

    def merging(self, old: str, new: str, began: float) -> Merge:
        """Somebody asks for a merge."""
        self._merges.append(Merge(old, new, began))
        return self._merges[-1]

    def seen(self, aliases: Aliases, now: float) -> None:
        """These merges are in force."""
        for merge in self._merges:
            if merge.ended is None and merge.old in aliases:
                merge.ended = now

    def united(self, now: float) -> None:
        """From now on http and https are one."""
        self._united = now

    def check(
        self,
        classes: Mapping[str, str],
        rows: Rows,
        likes: Set[bytes],
        keys: ActorKeys,
        actors: Sequence[str],
        urls: Sequence[str],
        *,
        alone: bool,
    ) -> None:
        """All is as it must be, where each URL counts for what `classes` say. Raises AssertionError.

        With other nodes, which know of a merge when the store does, nobody can tell who likes what came of it.
        """
        for merge in self._merges:
            assert not merge.promised or classes[merge.old] == classes[merge.new], f"{merge} was forgotten"
        for root in {classes[url] for url in urls}:
            members = [url for url in urls if classes[url] == root]
            liking = {key for key in likes if key.startswith(keys.of_url(root))}
            counts = rows.get(root, {})
            net = counts.get(LIKES, 0) - counts.get(UNLIKES, 0)
            assert net == len(liking), f"{root}: {counts}, and {len(liking)} like it"
            merged = any(merge.old in members or merge.new in members for merge in self._merges)
            for actor in actors if alone or not merged else ():
                wanted = self._expected(actor, members)
                assert wanted in (None, keys(actor, root) in liking), f"{actor} at {members} should be {wanted}"

    def _expected(self, actor: str, members: Sequence[str]) -> bool | None:
        """Whether the actor likes what all of `members` are now, None if that was a race."""
        merges = [m for m in self._merges if m.old in members and m.new in members and m.ended is not None]
        changed = [m.ended for m in merges if m.ended is not None]
        begun = [m.began for m in merges]
        if self._united is not None and len({url.partition(":")[2] for url in members}) < len(members):
            changed.append(self._united)
            begun.append(self._united)
        heard = [act for act in self._heard if act.actor == actor and act.url in members]
        if not heard:
            return False
        if not changed:
            return self._erasures.left(heard[-1].url, heard[-1].likes, heard[-1].began, heard[-1].ended)
        if heard[-1].began > max(changed):
            return heard[-1].likes
        last = {act.url: act.likes for act in heard}
        if self._united in changed:
            # Of two URLs that become one by new rules the newest word counts, or either: as far as it had come.
            return last.popitem()[1] if len(set(last.values())) == 1 and heard[-1].ended < min(begun) else None
        return any(last.values()) if heard[-1].ended < min(begun) else None
