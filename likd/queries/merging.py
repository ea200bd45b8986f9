"""Merging: makes one URL's counts, history and actors part of another's, and its name an alias."""

from __future__ import annotations

import attrs
import structlog
import trio

from likd.counting.actors import ActorKeys, Actors
from likd.counting.intake import Intake
from likd.errors import LikdError, Unsupported
from likd.model import Fold, IdempotencyKey, Outcome, Refused, Submission
from likd.queries.totals import Totals
from likd.stores.protocol import CountStore
from likd.stores.sites import site_store

STORE_SECONDS_MAX = 40.0
"""How long the caller of a merge waits for the store at most; once durable, it will be done in any case."""

log = structlog.get_logger(__name__)


class MergeError(LikdError):
    """The URLs can't be merged; the message says why."""


class MergeBusy(MergeError):
    """Not now: another merge is in progress, or URLs are still being folded by new rules."""


class MergeRefused(LikdError):
    """Nothing was merged, and a retry may help."""

    def __init__(self, outcome: Refused) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@attrs.frozen
class Merged:
    """The old URL counts for `new`. While it is `pending`, the store has yet to carry it out; nothing can prevent that.

    `liked_both` is how many actors had liked both, None if that is not known (yet).
    """

    new: str
    pending: bool
    liked_both: int | None = None


@attrs.define(eq=False)
class Merger:
    """Merges URLs while events for both arrive, so that none is lost or counted twice.

    A merge is a submission: the event manager gives it its place among all others, after which everything for the old
    name is counted for the new one. It closes the open table and goes with it, through journal and batch file, to the
    store, which carries it out in that table's transaction. Only one is in progress at a time.
    """

    intake: Intake
    totals: Totals
    actors: Actors
    actor_keys: ActorKeys
    store: CountStore
    _offered: bool = False

    async def merge(self, old: str, new: str, *, store_seconds: float = STORE_SECONDS_MAX) -> Merged:
        """Merge canonical `old` into canonical `new`, and wait at most that long for the store.

        Raises MergeError, MergeRefused, Unsupported.

        If it is cancelled before it has its place, it may or may not happen; asking again is safe.
        """
        if "merging" not in self.store.parts:
            raise Unsupported(f"a {self.store.kind} store can't merge URLs")
        aliases = self.totals.ledger.aliases
        new = aliases(new)
        if self._offered or self.totals.ledger.merging:
            raise MergeBusy("another merge is in progress")
        if old == new:
            raise MergeError("a URL can't be merged into itself")
        if old in aliases:
            if aliases(old) != new:
                raise MergeError(f"it is already merged into {aliases(old)}")
            return Merged(new, pending=False, liked_both=self.totals.ledger.liked_both.get(old))
        outcome = await self._place(Fold(old, new, self.actor_keys.of_url(old), self.actor_keys.of_url(new)))
        if isinstance(outcome, Refused):
            raise MergeRefused(outcome)
        with trio.move_on_after(store_seconds):
            while old in (merge.old for merge in self.totals.ledger.merging.values()):
                await self.totals.ledger.wait_moved()
        pending = any(merge.old == old for merge in self.totals.ledger.merging.values())
        merged = Merged(new, pending, self.totals.ledger.liked_both.get(old))
        log.info("merged", old=old, new=new, pending=pending, liked_both=merged.liked_both)
        return merged

    async def erase(self, target: str, *, keep: bool, key: IdempotencyKey | None = None) -> bool:
        """Erase a canonical URL, or a site ("//" and its host). Returns whether the store has yet to carry it out.

        Its counts, history and actors are removed. With `keep`, it stays known, with zeros. With a `key`, it is done
        only once. Raises MergeError, MergeRefused, KeyReused, Unsupported.
        """
        if site_store(self.store) is None:
            raise Unsupported(f"a {self.store.kind} store can't delete or reset")
        if not target.startswith("//"):
            target = self.totals.ledger.aliases(target)
        if self._offered or self.totals.ledger.merging:
            raise MergeBusy("another merge is in progress")
        if self.actors.folding:
            # Whatever is still stored under an old name would be folded into it afterwards.
            raise MergeBusy("URLs are still being folded by the new rules")
        url_key = b"" if target.startswith("//") else self.actor_keys.of_url(target)
        outcome = await self._place(Fold(target, target if keep else "", url_key, b""), key)
        if isinstance(outcome, Refused):
            raise MergeRefused(outcome)
        with trio.move_on_after(STORE_SECONDS_MAX):
            while target in (merge.old for merge in self.totals.ledger.merging.values()):
                await self.totals.ledger.wait_moved()
        pending = any(merge.old == target for merge in self.totals.ledger.merging.values())
        log.info("erased", target=target, keep=keep, pending=pending)
        return pending

    async def remove_alias(self, old: str) -> None:
        """Let `old` count for itself from now on. Raises MergeError, StoreError.

        Events for it while it was an alias stay where they were counted.
        """
        aliases = self.totals.ledger.aliases
        if old not in aliases:
            raise MergeError("it is not an alias")
        if self._offered or self.totals.ledger.merging:
            raise MergeBusy("another merge is in progress")
        store = site_store(self.store)
        if store is None:
            raise Unsupported(f"a {self.store.kind} store can't remove aliases")
        new = aliases(old)
        self._offered = True
        # From now on, acts on either are held with what is known about both, because what each counts for may change.
        self.actors.begin_merge(Fold(old, new, self.actor_keys.of_url(old), self.actor_keys.of_url(new)))
        try:
            await self.intake.barrier()
            await store.remove_alias(old)
            aliases.remove(old)
        except trio.ClosedResourceError:
            raise MergeRefused(Refused("the daemon is shutting down", 5)) from None
        finally:
            self.actors.give_up_merge()
            self._offered = False
            self.totals.forget([old, new])
        log.info("alias removed", old=old, new=new)

    async def _place(self, fold: Fold, key: IdempotencyKey | None = None) -> Outcome:
        submission = Submission({}, 0, key, merge=fold)
        if key is not None:
            self._offered = True
            try:
                answering = await self.intake.claim(submission)
            finally:
                self._offered = False
            if answering is not submission or submission.outcome is not None:
                return await answering.settled()
        submission.on_settled(self._settled)
        self._offered = True
        self.actors.begin_merge(fold)
        try:
            # What was offered earlier comes before it, and is held with everything it needs to know without the merge.
            await self.intake.order(submission)
        except trio.ClosedResourceError:
            submission.settle(Refused("the daemon is shutting down", 5))
        except trio.Cancelled:
            submission.settle(Refused("it was not awaited"))
            raise
        return await submission.settled()

    def _settled(self, outcome: Outcome) -> None:
        self._offered = False
        if isinstance(outcome, Refused):
            self.actors.give_up_merge()
