"""Names: what URLs count as under the current rules and merges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from likd.counting.actors import ActorKeys
from likd.counting.aliases import Aliases
from likd.durability.batch_file import Batch
from likd.ingest.urls import UrlRules
from likd.model import Fold, Rows, add, rename_likings


@attrs.frozen
class Names:
    """What any URL counts as now, under whichever rules it was counted, before or after merges."""

    rules: UrlRules
    aliases: Aliases
    keys: ActorKeys

    def __call__(self, url: str) -> str:
        """What `url` counts as."""
        return self.aliases(by_rules(self.rules, url))

    def by_rules(self, batch: Batch) -> dict[str, str]:
        """The URLs of `batch` and its merge that are different under the current rules, and what they are now."""
        urls = [*batch.rows, *([batch.merge.old, batch.merge.new] if batch.merge is not None else [])]
        return {url: new for url, new in zip(urls, all_by_rules(self.rules, urls), strict=True) if new != url}

    def by_now(self, batch: Batch) -> Batch:
        """`batch`, which was applied before and is given again, with the URLs that count now.

        Its merge is already known, but has to be carried out again all the same.
        """
        again = self.batch(batch, self.by_rules(batch))
        if batch.merge is None or again.merge is not None:
            return again
        old, new = by_rules(self.rules, batch.merge.old), self(batch.merge.new)
        if old == new:
            return again
        return attrs.evolve(again, merge=Fold(old, new, self.keys.of_url(old), self.keys.of_url(new)))

    def batch(self, batch: Batch, by_rules: Mapping[str, str]) -> Batch:
        """`batch` with the URLs that count now: if two are one now, counts are added and an actor's likings joined."""
        new_urls = ((url, self.aliases(by_rules.get(url, url))) for url in batch.rows)
        renamed = {url: new for url, new in new_urls if new != url}
        merge = self._merge(batch.merge)
        if not renamed:
            return attrs.evolve(batch, merge=merge)
        rows: Rows = {}
        for url, counts in batch.rows.items():
            add(rows.setdefault(renamed.get(url, url), {}), counts)
        prefixes = (
            {self.keys.of_url(url): self.keys.of_url(new) for url, new in renamed.items()} if batch.actors else {}
        )
        return attrs.evolve(batch, rows=rows, actors=rename_likings(batch.actors, prefixes), merge=merge)

    def _merge(self, merge: Fold | None) -> Fold | None:
        if merge is None:
            return None
        if merge.erases:
            old = merge.old if merge.host else self(merge.old)
            return Fold(old, old if merge.new else "", self.keys.of_url(old), b"")
        # If another node has merged it into something else since, all of them are one.
        old, new = self(merge.old), self(merge.new)
        if old == new:
            return None
        return Fold(old, new, self.keys.of_url(old), self.keys.of_url(new))


def by_rules(rules: UrlRules, url: str) -> str:
    """What `url` is under `rules`. One that is invalid under them stays as it is."""
    try:
        return rules(url)
    except ValueError:
        return url


def all_by_rules(rules: UrlRules, urls: list[str]) -> list[str]:
    """The same for many URLs, faster."""
    try:
        return rules.all(urls)
    except ValueError:
        return [by_rules(rules, url) for url in urls]


def known_aliases(rules: UrlRules, keys: ActorKeys, noted: Iterable[tuple[str, str]]) -> Aliases:
    """The aliases recorded in a store, under the current rules.

    If two now say different things about one URL, the one that was recorded for exactly this URL wins.
    """
    aliases = Aliases(keys.of_url)
    by_now = [(by_rules(rules, old), old, by_rules(rules, new)) for old, new in noted]
    for new_old, _, new in sorted(by_now, key=lambda alias: (alias[0] != alias[1], alias)):
        if new_old not in aliases:
            aliases.add(new_old, new)
    return aliases
