"""Taking over: what waits by old names of URLs adds up to who likes them by the new ones, at every step."""

from __future__ import annotations

import trio
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from likd.counting.actors import ActorKeys, Actors
from likd.draining.names import Names
from likd.draining.taking_over import take_over
from likd.durability.batch_file import Batch
from likd.ingest.urls import UrlRules
from likd.model import Counts, Liking, Likings, Rows, add
from likd.runtime.cooperative import finish
from tests.fakestore import FakeStore, totals_over

KEYS = ActorKeys(b"secret")
HTTP, HTTPS = "http://example.com/", "https://example.com/"
PLACES = [(actor, url) for actor in "ab" for url in (HTTP, HTTPS)]
places = st.sets(st.sampled_from(PLACES))


def net(counts: Counts) -> int:
    return counts.get("likes", 0) - counts.get("unlikes", 0)


def batches(stored: set[tuple[str, str]], liking: list[set[tuple[str, str]]]) -> list[Batch]:
    """A batch for each of `liking`, after which these like."""
    made: list[Batch] = []
    before = stored
    for table, now in enumerate(liking, start=1):
        rows: Rows = {}
        actors: Likings = {}
        for place in before ^ now:
            actor, url = place
            add(rows.setdefault(url, {}), {"likes" if place in now else "unlikes": 1})
            actors[KEYS(actor, url)] = Liking(place in now, 1 if place in now else -1)
        made.append(Batch(table, 60.0 * table, 60.0 * table, ("likes", "unlikes"), rows, actors))
        before = now
    return made


@settings(max_examples=50)
@given(stored=places, liking=st.lists(places, min_size=1, max_size=4))
def test_what_waits_adds_up_to_who_likes_at_every_step(
    stored: set[tuple[str, str]], liking: list[set[tuple[str, str]]]
) -> None:
    async def take() -> None:
        store = FakeStore()
        store.liking = {KEYS(*place) for place in stored}
        actors = Actors(store, applied=0, cached_max=10)
        totals = totals_over(store, applied=0, cache_urls_max=10, actors=actors)
        names = Names(UrlRules(unify_schemes=True), totals.ledger.aliases, KEYS)
        taken_over = finish(take_over(batches(stored, liking), names, totals.ledger, actors))
        # What waits by none of the old names is no matter of taking over: it is changing when the folder comes by.
        assume(taken_over.renamed)
        before = len(stored) + net(totals.increments(HTTPS))
        assert before == len(liking[-1])
        if not taken_over.renamed:
            # What the store has by the old name is folded in its turn, whatever waits.
            return
        await taken_over.foresee(store)
        assert len(stored) + net(totals.increments(HTTPS)) == before
        taken_over.folded(taken_over.first(10))
        taken_over.settle()
        state = {KEYS(actor, HTTPS) for actor, _ in stored}
        likes = len(state)
        for item in totals.ledger.waiting:
            for key, (like, _) in item.increments.actors.items():
                (state.add if like else state.discard)(key)
            likes += net(item.increments.rows.get(HTTPS, {}))
            assert likes == len(state)
        assert len({actor for actor, _ in stored}) + net(totals.increments(HTTPS)) == likes

    trio.run(take)
