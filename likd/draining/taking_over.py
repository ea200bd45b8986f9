"""Taking over: renames what a start finds waiting for the store to the URLs that the current rules count."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

import attrs
import trio

from likd.counting.actors import Actors
from likd.counting.ledger import Ledger
from likd.counting.waiting import Waiting
from likd.draining.names import Names
from likd.durability.batch_file import Batch
from likd.model import Counts, Liking, Rows, count_of, done_by, undo_of
from likd.runtime.cooperative import Steps, finish_in_turns
from likd.stores.protocol import ActorStore

SLICE_KEYS = 2000


def take_over(batches: Iterable[Batch], names: Names, ledger: Ledger, actors: Actors) -> Steps[TakenOver]:
    """Let the `batches` that a start found wait for the store, with the URLs that count now."""
    renamed: dict[str, str] = {}
    for batch in batches:
        by_rules = names.by_rules(batch)
        for old, new in by_rules.items():
            ledger.is_stored_as(new, old)
        renamed |= by_rules
        batch = names.batch(batch, by_rules)
        if batch.merge is not None:
            actors.begin_merge(batch.merge)
            ledger.placed(batch.table_id, batch.merge)
        ledger.batched(batch)
        yield
    return TakenOver(names, ledger, renamed)


@attrs.define(eq=False)
class TakenOver:
    """What was taken over, and which of its URLs have changed (`renamed`).

    It was decided by what the store has under the old names, so these are folded before anything in it is applied. An
    actor who liked two URLs that are now one has two likes until the old name is folded; what the store will then add
    to make up for later likes and unlikes is added to what is waiting in the same step.
    """

    names: Names
    ledger: Ledger
    renamed: dict[str, str]
    settled: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Nothing in it is under another name any more."""
    _first: deque[tuple[str, str]] = attrs.field(factory=deque, init=False)
    _off: dict[str, list[tuple[Waiting, Rows]]] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._first.extend(sorted(self.renamed.items(), key=lambda pair: pair[1]))
        if not self.renamed:
            self.settle()

    @property
    def url_keys(self) -> set[bytes]:
        """The beginnings of actors' keys at the URLs into which others are folded."""
        aliases, key_of = self.names.aliases, self.names.keys.of_url
        return {key_of(url) for new in self.renamed.values() for url in (new, aliases(new))}

    def first(self, limit: int) -> Sequence[tuple[str, str]]:
        """The next URLs that are to be folded (old, new)."""
        return list(islice(self._first, limit))

    def folded(self, some: Iterable[tuple[str, str]]) -> None:
        """These URLs are folded."""
        for _, new in some:
            self._first.popleft()
            self._correct(self.names.aliases(new))

    def settle(self) -> None:
        """Everything is folded, or there was nothing to fold."""
        for url in list(self._off or ()):
            self._correct(url)
        self.ledger.nothing_is_stored_otherwise()
        self.settled.set()

    async def foresee(self, store: ActorStore) -> None:
        """Find out what the store will do with actors' likings under two names. Raises StoreError.

        Nothing may be applied or folded meanwhile.
        """
        if self._off is not None:
            return
        names_of = self._names_of()
        key_of, aliases = self.names.keys.of_url, self.names.aliases
        url_of = {key_of(url): url for url in names_of}
        length = len(next(iter(url_of), b""))
        acting: dict[str, set[bytes]] = {}
        for item in self.ledger.waiting:
            for key in item.increments.actors:
                url = url_of.get(key[:length])
                if url is not None:
                    acting.setdefault(aliases(url), set()).add(key[length:])
        # A waiting merge combines an actor's likings for all URLs that count for one.
        known_by = {
            key_of(url) + actor: [key_of(name) + actor for name in names]
            for url, names in names_of.items()
            for actor in acting.get(aliases(url), ())
        }
        stored: set[bytes] = set()
        if known_by:
            _, stored = await store.read_actors(sorted({key for keys in known_by.values() for key in keys}))
        liking = {key for key, keys in known_by.items() if not stored.isdisjoint(keys)}
        self._off = {}
        for item in self.ledger.waiting:
            await finish_in_turns(self._foresee(item, url_of, liking))

    def _foresee(self, item: Waiting, url_of: dict[bytes, str], liking: set[bytes]) -> Steps[None]:
        assert self._off is not None
        length = len(next(iter(url_of), b""))
        for number, (key, (likes, net)) in enumerate(list(item.increments.actors.items()), start=1):
            if number % SLICE_KEYS == 0:
                yield
            url = url_of.get(key[:length])
            if url is None:
                continue
            off = 0 if net is None else likes - (key in liking) - net
            (liking.add if likes else liking.discard)(key)
            if net is not None and off:
                item.increments.actors[key] = Liking(likes, net + off)
                self._off.setdefault(self.names.aliases(url), []).append((item, {url: _made_up_by(done_by(key), off)}))
        merge = item.increments.merge
        if merge is not None and merge.erases:
            gone = tuple(url_key for url_key, url in url_of.items() if merge.takes(url))
            liking.difference_update([key for key in liking if key.startswith(gone)])
        elif merge is not None:
            for key in [key for key in liking if key.startswith(merge.old_key)]:
                liking.discard(key)
                liking.add(merge.new_key + key[len(merge.old_key) :])

    def _names_of(self) -> dict[str, list[str]]:
        """The URLs into which others are folded, each with the names under which the store may have it."""
        finals = {self.names.aliases(new) for new in self.renamed.values()}
        urls = set(self.renamed.values()) | finals
        for item in self.ledger.waiting:
            merge = item.increments.merge
            if merge is not None and not merge.erases and self.names.aliases(merge.new) in finals:
                urls |= {merge.old, merge.new}
        names: dict[str, list[str]] = {url: [url] for url in urls}
        for old, new in self.renamed.items():
            names.setdefault(self.ledger.settled_name(new), []).append(old)
        return names

    def _correct(self, url: str) -> None:
        for item, rows in (self._off or {}).pop(url, ()):
            self.ledger.correct(item, rows)


def _made_up_by(done: str, n: int) -> Counts:
    return {count_of(done): n} if n > 0 else {count_of(undo_of(done)): -n}
