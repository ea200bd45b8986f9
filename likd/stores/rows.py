"""Rows on their way into a store: under their current names, with corrections for what was wrongly assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from likd.model import Counts, Rows, add, count_of, done_by, total, undo_of


def corrections(off: Mapping[bytes, int], urls: Iterable[str], url_key: Callable[[str], bytes]) -> Rows:
    """The likes and unlikes that make up for what is `off`, for the `urls` to whose actors the keys belong."""
    if not off:
        return {}
    names = {url_key(url): url for url in urls}
    length = len(next(iter(names), b""))
    rows: Rows = {}
    for key, n in off.items():
        url = names.get(key[:length])
        if url is not None:
            add(rows.setdefault(url, {}), _made_up_by(done_by(key), n))
    return rows


def _made_up_by(done: str, n: int) -> Counts:
    return {count_of(done): n} if n > 0 else {count_of(undo_of(done)): -n}


def renamed(rows: Rows, names: Mapping[str, str]) -> Rows:
    """`rows` with the counts of some URLs under new `names`."""
    if not names:
        return rows
    by_now: Rows = {}
    for url, counts in rows.items():
        add(by_now.setdefault(names.get(url, url), {}), counts)
    return by_now


def summed(rows: Rows, more: Rows) -> Rows:
    """The sum of both; neither is changed."""
    return {**rows, **{url: total([rows.get(url, {}), counts]) for url, counts in more.items()}} if more else rows
