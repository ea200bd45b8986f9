"""Actors: one like for each actor and URL, exact, whatever is still on its way to the store."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypeAlias

import attrs

from likd.events import LIKE, Act, Events, Submission
from likd.store import Increments, Store, in_time

URL_KEY_BYTES = 8
ACTOR_KEY_BYTES = 12

Likings: TypeAlias = dict[bytes, bool]
"""Key of an actor and a URL → whether the actor likes the URL."""


@attrs.frozen
class ActorKeys:
    """Makes the keys by which likd knows actors: nobody without `secret` can tell or guess an actor from one.

    A key begins with its URL's part, so that all of a URL's actors are together.
    """

    secret: bytes = attrs.field(repr=False)

    def __call__(self, actor: str, url: str) -> bytes:
        """The key of `actor` at canonical `url`."""
        digest = hashlib.blake2b(actor.encode(), key=self.secret, digest_size=ACTOR_KEY_BYTES)
        return self.of_url(url) + digest.digest()

    def of_url(self, url: str) -> bytes:
        """How the keys of all actors of canonical `url` begin."""
        return hashlib.blake2b(url.encode(), key=self.secret, digest_size=URL_KEY_BYTES).digest()


class Actors:
    """Who likes what: the store's answer, and over it the changes that the store does not have yet.

    What is read from the store is kept for `cached_max` keys. A submission is held from before it is offered
    until it is settled, and what its acts need to know stays in memory so long: the event manager decides
    without waiting, in the order in which it takes submissions.
    """

    def __init__(self, store: Store, *, applied: int, cached_max: int) -> None:
        self._store = store
        self._applied = applied
        self._cached: OrderedDict[bytes, bool] = OrderedDict()
        self._cached_max = cached_max
        self._held: dict[bytes, int] = {}
        self._changed: dict[bytes, tuple[bool, int]] = {}
        self._epoch = 0
        self.unchanged = 0
        """Events that changed nothing."""

    def hold(self, submission: Submission) -> bool:
        """Hold what the acts of `submission` need to know, if all of it is in memory."""
        if not all(act.key in self._changed or act.key in self._cached for act in submission.acts):
            return False
        for act in submission.acts:
            self._held[act.key] = self._held.get(act.key, 0) + 1
        return True

    async def load(self, submission: Submission) -> None:
        """Get what the acts of `submission` need to know into memory, and hold it. Raises StoreError."""
        keys = {act.key for act in submission.acts}
        with in_time():
            while not self.hold(submission):
                epoch = self._epoch
                applied, liking = await self._store.read_actors(sorted(keys))
                # If the store is ahead because its word was lost, what it has more is among `_changed`, too.
                if applied >= self._applied and epoch == self._epoch:
                    for key in keys:
                        self._cached[key] = key in liking
                        self._cached.move_to_end(key)

    def release(self, submission: Submission) -> None:
        """Let go of what was held."""
        for act in submission.acts:
            self._held[act.key] -= 1
            if not self._held[act.key]:
                del self._held[act.key]
        self._evict()

    def release_when_settled(self, submission: Submission, answering: Submission) -> None:
        """Let go of what was held for `submission` when the one that answers for it is settled."""
        answering.on_settled(lambda _: self.release(submission))

    def decide(self, acts: Iterable[Act], events: Events, changes: Likings) -> None:
        """Add those of `acts` that change something to `events`, and what they change to `changes`."""
        for act in acts:
            likes = act.kind == LIKE
            if likes == self._likes(act.key, changes):
                self.unchanged += 1
                continue
            changes[act.key] = likes
            urls = events.setdefault(act.kind, {})
            urls[act.url] = urls.get(act.url, 0) + 1

    def change(self, table: int, changes: Likings) -> dict[bytes, tuple[bool, int] | None]:
        """These changes are part of `table`. Returns what `undo` needs if they are refused."""
        before = {key: self._changed.get(key) for key in changes}
        for key, likes in changes.items():
            self._changed[key] = likes, table
        return before

    def batched(self, table: int, likings: Likings) -> None:
        """The batch file of `table` has these changes: news only if it was found at the start."""
        for key, likes in likings.items():
            changed = self._changed.get(key)
            if changed is None or changed[1] < table:
                self._changed[key] = likes, table

    def undo(self, before: Mapping[bytes, tuple[bool, int] | None]) -> None:
        """Take the newest changes back."""
        for key, earlier in before.items():
            if earlier is None or earlier[1] <= self._applied:
                del self._changed[key]
            else:
                self._changed[key] = earlier

    def applied(self, increments: Increments) -> None:
        """The store has these changes."""
        for key, likes in increments.actors.items():
            changed = self._changed.get(key)
            if changed is not None and changed[1] <= increments.last:
                del self._changed[key]
            self._cached[key] = likes
            self._cached.move_to_end(key)
        self._applied = increments.last
        self._evict()

    def forget(self) -> None:
        """The store was changed by others: ask it again for all that is not held."""
        self._epoch += 1
        for key in [key for key in self._cached if key not in self._held]:
            del self._cached[key]

    def _likes(self, key: bytes, changes: Likings) -> bool:
        likes = changes.get(key)
        if likes is None:
            changed = self._changed.get(key)
            likes = changed[0] if changed is not None else self._cached[key]
        return likes

    def _evict(self) -> None:
        excess = len(self._cached) - self._cached_max
        if excess > 0:
            for key in list(islice((key for key in self._cached if key not in self._held), excess)):
                del self._cached[key]
