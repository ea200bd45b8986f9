"""Actors: exactly one like for each actor and URL, whatever is still on its way to the store.

The same holds for each kind of event that an actor does once: what is said about likes applies to all of them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice

import attrs
import trio

from likd.counting.aliases import Aliases
from likd.errors import StoreError
from likd.model import ActorEvent, Events, Fold, Liking, Likings, Outcome, Submission, add_likings, done_by
from likd.runtime.cooperative import Steps, finish, finish_in_turns
from likd.runtime.notice import Notice
from likd.stores.protocol import ActorStore, Increments, in_time

SLICE_KEYS = 500
"""How many keys are held, looked up or released in one step of a millisecond."""
SLICE_SETTLED = 1000
"""How many changes are moved to the store's side in one step."""
SLICE_CHANGES = 5000
"""How many changes are examined in one step."""
URL_KEY_BYTES = 8
ACTOR_KEY_BYTES = 12


@attrs.frozen
class ActorKeys:
    """Makes the keys by which likd knows actors: without `secret`, nobody can tell or guess an actor from its key.

    A key begins with its URL's part, so that all of a URL's actors are together.
    """

    secret: bytes = attrs.field(repr=False)

    def __call__(self, actor: str, url: str) -> bytes:
        """The key of `actor` at canonical `url`."""
        digest = hashlib.blake2b(actor.encode(), key=self.secret, digest_size=ACTOR_KEY_BYTES)
        return self.of_url(url) + digest.digest()

    @property
    def fingerprint(self) -> str:
        """Identifies the secret without revealing it."""
        return hashlib.blake2b(key=self.secret, digest_size=8, person=b"fingerprint").hexdigest()

    def visitor(self, address: str, agent: str) -> str:
        """An actor for a visitor from `address` with the browser `agent`; it reveals nothing without the secret."""
        text = f"{address}\0{agent}".encode()
        return hashlib.blake2b(text, key=self.secret, digest_size=16, person=b"visitor").hexdigest()

    def of_url(self, url: str) -> bytes:
        """The beginning of the keys of all actors at canonical `url`."""
        return hashlib.blake2b(url.encode(), key=self.secret, digest_size=URL_KEY_BYTES).digest()


@attrs.frozen(eq=False)
class Folds:
    """Other URLs are being folded into those whose actors' keys begin with one of `url_keys`, until it is `done`."""

    url_keys: frozenset[bytes]
    done: trio.Event = attrs.field(factory=trio.Event)


@attrs.frozen
class ActorsStatistics:
    """Acts in numbers, since the start."""

    unchanged: int
    """Events that changed nothing."""


class Actors:
    """Who likes what: the store's answer, overlaid with the changes that the store does not have yet.

    What is read from the store is cached for `cached_max` keys. A submission is held from before it is offered until it
    is settled, and what its acts need to know stays in memory that long, so that the event manager decides without
    waiting, in the order in which it takes submissions.

    While two URLs are being merged, acts on either need to know about both. Once the merge has its place in the order,
    an actor likes the new URL if the newest change since then says so, or else if they liked either before.
    """

    def __init__(
        self,
        store: ActorStore,
        *,
        applied: int,
        cached_max: int,
        aliases: Aliases | None = None,
        behind: Notice | None = None,
    ) -> None:
        self._store = store
        self._behind = behind or Notice()
        self._aliases = aliases or Aliases(_no_key)
        self._merge: Fold | None = None
        self._merged_in: int | None = None
        self._applied = applied
        self._cached: OrderedDict[bytes, bool] = OrderedDict()
        self._cached_max = cached_max
        self._folds: Folds | None = None
        self._held: dict[bytes, int] = {}
        self._holding: dict[Submission, list[bytes]] = {}
        self._released: deque[list[bytes]] = deque()
        self._changed: dict[bytes, tuple[bool, int]] = {}
        self._unsettled: Iterator[tuple[bytes, Liking]] = iter(())
        self._done_with: deque[list[ActorEvent]] = deque()
        self._epoch = 0
        self.unchanged = 0
        """Events that changed nothing."""
        self.folding = False
        """Whether the store may still have likes under old names of URLs; if so, it is sent every unlike."""

    def statistics(self) -> ActorsStatistics:
        """The acts in numbers."""
        return ActorsStatistics(self.unchanged)

    def hold(self, submission: Submission) -> bool:
        """Hold what the acts of `submission` need to know, if all of it is in memory."""
        keys = self._needed(submission.acts)
        if not self._knows(keys) or self._must_wait({key[:URL_KEY_BYTES] for key in keys}):
            return False
        self._hold(submission, keys)
        return True

    async def load(self, submission: Submission) -> None:
        """Read what the acts of `submission` need to know into memory, and hold it. Raises StoreError.

        Many acts are held and looked up in steps, and again if a merge began or ended meanwhile, or a fold began.
        """
        if len(submission.acts) <= SLICE_KEYS and self.hold(submission):
            return
        again = False
        try:
            with in_time():
                while True:
                    merge, folds = self._merge, self._folds
                    url_keys: set[bytes] = set()
                    keys = await finish_in_turns(self._hold_all(submission, url_keys))
                    if not self._must_wait(url_keys):
                        await self._look_up(keys, again=again)
                        if merge is self._merge and (folds is self._folds or not self._must_wait(url_keys)):
                            return
                    elif self._folds is not None:
                        await self._folds.done.wait()
                    self.release(submission)
                    again = True
        except BaseException:
            self.release(submission)
            raise

    def release(self, submission: Submission) -> None:
        """Release what was held; if it is much, only some now, and the rest bit by bit with later calls."""
        keys = self._holding.pop(submission, None)
        if keys:
            self._released.append(keys)
        self._let_go()

    def release_when_settled(self, submission: Submission, answering: Submission) -> None:
        """Release what was held for `submission`, and its acts, once the submission that answers for it is settled."""

        def settled(_: Outcome) -> None:
            if isinstance(submission.acts, list):
                # Freeing a hundred thousand at once would keep others waiting.
                self._done_with.append(submission.acts)
                submission.acts = ()
            self.release(submission)

        answering.on_settled(settled)

    def decide(self, acts: Iterable[ActorEvent], events: Events, changes: Likings) -> None:
        """Add those of `acts` that change something to `events`, and their changes to `changes`."""
        for act in acts:
            likes = act.kind == done_by(act.key)
            # If that is unknown, the store is told, and corrects what was wrongly assumed.
            if likes == self._likes(act, changes):
                self.unchanged += 1
                if self.folding and not likes:
                    # A row of its own, without a count, tells the store.
                    events.setdefault(act.kind, {}).setdefault(act.url, 0)
                    add_likings(changes, {act.key: Liking(likes=False, net=0)})
                continue
            add_likings(changes, {act.key: Liking(likes, 1 if likes else -1)})
            urls = events.setdefault(act.kind, {})
            urls[act.url] = urls.get(act.url, 0) + 1

    def begin_merge(self, fold: Fold) -> None:
        """These URLs are to be merged: from now on, acts on either are held with what is known about both.

        Everything already held must be decided before the merge gets its place.
        """
        self._merge, self._merged_in = fold, None

    def place_merge(self, table_id: int) -> None:
        """The tables up to `table_id` come before the merge; everything decided from now on comes after it."""
        self._merged_in = table_id

    def give_up_merge(self) -> None:
        """The merge is given up."""
        self._merge = self._merged_in = None

    def begin_folds(self, url_keys: Iterable[bytes]) -> None:
        """Other URLs are folded into those whose keys begin with these: no act on them is held until `end_folds`.

        Acts held before are decided by what the store had until then.
        """
        finish(self.settle())
        self._folds = Folds(frozenset(url_keys))

    def changing(self) -> Steps[list[bytes]]:
        """The keys of decisions that the store does not have yet, at URLs into which others are being folded.

        They were made as if nobody who likes the old URL liked the new one. Decisions before a waiting merge are left
        out: after it, whoever likes either URL likes the new one.
        """
        assert self._folds is not None
        found: list[bytes] = []
        for number, key in enumerate(list(self._changed), start=1):
            if number % SLICE_CHANGES == 0:
                yield
            if key[:URL_KEY_BYTES] not in self._folds.url_keys or key not in self._changed:
                continue
            merge = self._merge
            if merge is None or merge.erases or self._merged_in is None or not key.startswith(merge.new_key):
                found.append(key)
            elif self._changed[key][1] > self._merged_in:
                found += [key, _sibling(key, merge)]
        return found

    def end_folds(self) -> None:
        """The others are folded, or folding failed: ask the store again."""
        if self._folds is not None:
            self._folds.done.set()
            self._folds = None
        self.forget()

    def change(self, table_id: int, changes: Likings) -> dict[bytes, tuple[bool, int] | None]:
        """These changes are part of `table_id`. Returns what `undo` needs if they are refused."""
        before = {key: self._changed.get(key) for key in changes}
        for key, liking in changes.items():
            self._changed[key] = liking.likes, table_id
        return before

    def batched(self, table_id: int, likings: Likings) -> None:
        """The batch file of `table_id` has these changes; they are only new if it was found at the start."""
        for key, liking in likings.items():
            changed = self._changed.get(key)
            if changed is None or changed[1] < table_id:
                self._changed[key] = liking.likes, table_id

    def undo(self, before: Mapping[bytes, tuple[bool, int] | None]) -> None:
        """Undo the newest changes."""
        for key, earlier in before.items():
            if earlier is None:
                del self._changed[key]
            elif earlier[1] <= self._applied:
                del self._changed[key]
                self._cached[key] = earlier[0]
            else:
                self._changed[key] = earlier

    def applied(self, increments: Increments) -> None:
        """The store has these changes, which `settle` moves over in steps; until then, both say the same."""
        finish(self.settle())
        self._applied = increments.last
        self._unsettled = iter(increments.actors.items())
        if increments.merge is not None:
            finish(self.settle())
            self._merged(increments.merge)

    def settle(self) -> Steps[None]:
        """Do the rest of `applied`'s work, for which nobody waits."""
        while some := list(islice(self._unsettled, SLICE_SETTLED)):
            for key, liking in some:
                changed = self._changed.get(key)
                if changed is not None and changed[1] <= self._applied:
                    del self._changed[key]
                self._cached[key] = liking.likes
                self._cached.move_to_end(key)
            self._evict()
            yield

    def forget(self) -> None:
        """Others changed the store: ask it again about everything that is not held."""
        finish(self.settle())
        self._epoch += 1
        self._cached = OrderedDict((key, self._cached[key]) for key in self._held if key in self._cached)

    def resume(self, applied: int) -> None:
        """The store has the tables up to `applied`, whatever was assumed: what it lost is given again as batches."""
        finish(self.settle())
        self._applied = applied
        self.forget()

    def forget_some(self, keys: Iterable[bytes]) -> None:
        """The same for some keys. Held ones are decided by what was known; the store corrects what was wrong."""
        self._epoch += 1
        for key in keys:
            if key not in self._held:
                self._cached.pop(key, None)

    def _likes(self, act: ActorEvent, changes: Likings) -> bool | None:
        key = act.key
        liking = changes.get(key)
        if liking is not None:
            return liking.likes
        if self._merge is None or self._merged_in is None:
            return self._known(key)
        if self._merge.erases:
            if not self._merge.takes(act.url):
                return self._known(key)
            changed = self._changed.get(key)
            return changed is not None and changed[1] > self._merged_in and changed[0]
        if key.startswith(self._merge.new_key):
            changed = self._changed.get(key)
            if changed is not None and changed[1] > self._merged_in:
                return changed[0]
            return self._known(key) or self._known(_sibling(key, self._merge))
        return self._known(key)

    def _must_wait(self, url_keys: Set[bytes]) -> bool:
        return self._folds is not None and not self._folds.url_keys.isdisjoint(url_keys)

    def _hold(self, submission: Submission, keys: list[bytes]) -> None:
        if keys:
            self._holding.setdefault(submission, []).extend(keys)
        for key in keys:
            self._held[key] = self._held.get(key, 0) + 1

    def _hold_all(self, submission: Submission, url_keys: set[bytes]) -> Steps[list[bytes]]:
        """Hold what the acts of `submission` need to know, whether it is known or not. Adds the keys of its URLs."""
        for begin in range(0, len(submission.acts), SLICE_KEYS):
            needed = self._needed(submission.acts[begin : begin + SLICE_KEYS])
            url_keys.update(key[:URL_KEY_BYTES] for key in needed)
            self._hold(submission, needed)
            self._let_go()
            yield
        return self._holding[submission]

    async def _look_up(self, keys: Sequence[bytes], *, again: bool) -> None:
        """Read those of `keys` into memory that are not there yet, or, with `again`, all of them."""
        for begin in range(0, len(keys), SLICE_KEYS):
            some = keys[begin : begin + SLICE_KEYS]
            asked = False
            while not self._knows(some) or (again and not asked):
                epoch, before = self._epoch, self._applied
                applied, liking = await self._store.read_actors(sorted(set(some)))
                if epoch == self._epoch and applied < before:
                    self._behind.give()
                    raise StoreError("the store went back in time, and is being given what it lacks")
                # If the store is ahead because its answer was lost, what it has in addition is also in `_changed`.
                if applied >= self._applied and epoch == self._epoch:
                    asked = True
                    for key in some:
                        self._cached[key] = key in liking
                        self._cached.move_to_end(key)
            self._evict()
            await trio.lowlevel.checkpoint()

    def _knows(self, keys: Sequence[bytes]) -> bool:
        return all(key in self._changed or key in self._cached for key in keys)

    def _let_go(self) -> None:
        left = 2 * SLICE_KEYS
        while self._released and left:
            keys = self._released[0]
            some = keys[-left:]
            del keys[-left:]
            left -= len(some)
            for key in some:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]
            if not keys:
                self._released.popleft()
        if self._done_with:
            del self._done_with[0][-2 * SLICE_KEYS :]
            if not self._done_with[0]:
                self._done_with.popleft()
        self._evict()

    def _known(self, key: bytes) -> bool | None:
        """Whether an actor likes a URL; None if another node has merged the URL since it was held."""
        changed = self._changed.get(key)
        return changed[0] if changed is not None else self._cached.get(key)

    def _needed(self, acts: Sequence[ActorEvent]) -> list[bytes]:
        """The keys that must be known to decide `acts`."""
        keys = [act.key for act in self._aliases.acts(acts)]
        if self._merge is not None and not self._merge.erases:
            both = self._merge.old_key, self._merge.new_key
            keys += [_sibling(key, self._merge) for key in keys if key.startswith(both)]
        return keys

    def _merged(self, fold: Fold) -> None:
        """The store has merged: among what is held, an actor likes the new URL if they liked either."""
        if fold.erases:
            self._erased(fold)
            return
        self.forget()
        for key, likes in self._cached.items():
            if key.startswith(fold.new_key):
                self._cached[key] = likes or self._cached.get(_sibling(key, fold), False)
        self.give_up_merge()

    def _erased(self, fold: Fold) -> None:
        """The store has erased: among what is held, nobody likes the URL."""
        self.forget()
        for submission in self._holding:
            for act in self._aliases.acts(submission.acts):
                if fold.takes(act.url) and act.key in self._cached:
                    self._cached[act.key] = False
        self.give_up_merge()

    def _evict(self) -> None:
        """Forget the oldest beyond the limit, a few at a time; what is held counts as new again."""
        for _ in range(min(2 * SLICE_KEYS, len(self._cached))):
            if len(self._cached) <= self._cached_max:
                return
            key = next(iter(self._cached))
            if key in self._held:
                self._cached.move_to_end(key)
            else:
                del self._cached[key]


def _sibling(key: bytes, fold: Fold) -> bytes:
    """The key of the same actor at the other URL of `fold`."""
    old = key.startswith(fold.old_key)
    return fold.new_key + key[len(fold.old_key) :] if old else fold.old_key + key[len(fold.new_key) :]


def _no_key(_: str) -> bytes:
    return b""
