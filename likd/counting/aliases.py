"""Aliases: the URLs that were merged into others, and the events that come for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from likd.model import ActorEvent, Events, add_events


class Aliases:
    """What each merged URL counts for. No URL counts for another alias.

    `url_key` returns the beginning of the keys of a URL's actors.
    """

    def __init__(self, url_key: Callable[[str], bytes], aliases: Mapping[str, str] | None = None) -> None:
        self._url_key = url_key
        self._new: dict[str, str] = {}
        self._olds: dict[str, list[str]] = {}
        for old, new in (aliases or {}).items():
            self.add(old, new)

    def __call__(self, url: str) -> str:
        """What `url` counts for: another URL, or itself."""
        return self._new.get(url, url)

    def __contains__(self, url: str) -> bool:
        return url in self._new

    def __iter__(self) -> Iterator[str]:
        return iter(self._new)

    def items(self) -> Iterable[tuple[str, str]]:
        """Each alias, and what it counts for."""
        return self._new.items()

    def add(self, old: str, new: str) -> None:
        """From now on `old` counts for `new`, and so does everything that counted for `old`.

        Nothing changes if `old` is an alias already, or would become its own.
        """
        new = self(new)
        if old == new or old in self._new:
            return
        olds = [*self._olds.pop(old, ()), old]
        self._new.update(dict.fromkeys(olds, new))
        self._olds.setdefault(new, []).extend(olds)

    def follow(self, old: str, new: str) -> list[str]:
        """The store says that `old` counts for `new`, and `new` for itself: that holds, whatever was assumed.

        Returns the URLs that now count for another one.
        """
        roots = dict.fromkeys(root for root in (self(old), self(new)) if root != new)
        olds = [url for root in roots for url in (*self._olds.pop(root, ()), root) if url != new]
        if olds:
            self._new.pop(new, None)
            self._new.update(dict.fromkeys(olds, new))
            self._olds.setdefault(new, []).extend(olds)
        return olds

    def remove(self, old: str) -> None:
        """From now on `old` counts for itself."""
        new = self._new.pop(old, None)
        if new is not None:
            self._olds[new].remove(old)

    def of(self, new: str) -> list[str]:
        """The URLs that count for `new`."""
        return sorted(self._olds.get(new, ()))

    def events(self, events: Events) -> Events:
        """`events` by the URLs that they count for; costs next to nothing if none of them is an alias."""
        if not self._new or all(self._new.keys().isdisjoint(urls.keys()) for urls in events.values()):
            return events
        mapped: Events = {}
        for kind, urls in events.items():
            for url, n in urls.items():
                add_events(mapped, {kind: {self(url): n}})
        return mapped

    def acts(self, acts: Sequence[ActorEvent]) -> Sequence[ActorEvent]:
        """The same for acts."""
        if not self._new or self._new.keys().isdisjoint([act.url for act in acts]):
            return acts
        return list(self._map(acts))

    def _map(self, acts: Iterable[ActorEvent]) -> Iterator[ActorEvent]:
        for act in acts:
            new = self._new.get(act.url)
            if new is None:
                yield act
            else:
                key = self._url_key(new)
                yield ActorEvent(act.kind, new, key + act.key[len(key) :])
