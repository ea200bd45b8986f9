"""Erasing a site of very many URLs: in parts, and from where it was when it was stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from likd.model import Fold, Liking
from likd.stores.protocol import Increments
from likd.stores.sqlite import erasures
from likd.stores.sqlite.store import SqliteDatabase, SqliteStore
from tests.stores.site_sums import sums_off

NAMES = ("likes", "unlikes", "impressions")
MINUTE = 28_800_000
HERE = [f"https://a.example/{n:02d}" for n in range(20)]
ELSEWHERE = "https://b.example/"


def key(url: str) -> bytes:
    return url.encode()[-6:].ljust(6, b"-")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "URLS_AT_ONCE", 3)
    monkeypatch.setattr(erasures, "ACTORS_AT_ONCE", 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "likd.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, "here", wall_clock=lambda: MINUTE * 60.0, url_key=key)
    await store.open(NAMES)
    acts = {key(url) + bytes([n]) * 16: Liking(True, 1) for n, url in enumerate(HERE)}
    acts |= {key(HERE[4]) + bytes([n]) * 16: Liking(True, 1) for n in range(30, 41)}
    await store.apply(Increments(1, 1, MINUTE, {url: {"likes": 2} for url in [*HERE, ELSEWHERE]}, acts))
    yield store
    await store.aclose()


def erasing(*, keep: bool) -> Increments:
    """What erases the site, after something was counted there once more."""
    fold = Fold("//a.example", "//a.example" if keep else "", b"", b"")
    return Increments(2, 2, MINUTE, {HERE[0]: {"likes": 1}, "https://a.example/new": {"likes": 1}}, merge=fold)


def left(path: Path) -> tuple[dict[str, int], int, int]:
    """The likes of the URLs that are known, and how many actors and rows of the history of URLs there are."""
    with closing(sqlite3.connect(path)) as db:
        assert not sums_off(db, NAMES)
        return (
            dict(db.execute("SELECT url, likes FROM counts")),
            db.execute("SELECT count(*) FROM actors").fetchone()[0],
            db.execute("SELECT count(*) FROM minutes WHERE url > 0").fetchone()[0],
        )


@pytest.mark.parametrize("keep", [False, True])
async def test_a_site_is_erased_in_parts_between_which_others_write(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    steps: list[str] = []
    part = SqliteDatabase.erase_part

    def noted(database: SqliteDatabase, increments: Increments) -> bool:
        steps.append("part")
        return part(database, increments)

    monkeypatch.setattr(SqliteDatabase, "erase_part", noted)

    async def another() -> None:
        await store.load("starting counts", {ELSEWHERE: {"likes": 5}, HERE[0]: {"likes": 3}})
        steps.append("another")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.apply, erasing(keep=keep))
        nursery.start_soon(another)
    assert steps.count("part") > len(HERE) // 3
    assert steps[-1] == "part", "another waited for all of it"
    known = dict.fromkeys([*HERE, "https://a.example/new"], 0) if keep else {}
    assert left(path) == ({**known, ELSEWHERE: 7}, 0, 1)
    assert [(site.host, site.urls) for site in (await store.sites([])).sites] == [
        ("b.example", 1),
        *([("a.example", 21)] if keep else []),
    ]


@pytest.mark.parametrize("keep", [False, True])
async def test_what_was_stopped_goes_on_where_it_was(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    database = store._database
    assert database.erase_part(erasing(keep=keep))
    assert database.erase_part(erasing(keep=keep))
    await store.aclose()
    again = SqliteStore(path, "here", wall_clock=lambda: MINUTE * 60.0, url_key=key)
    assert await again.open(NAMES) == 1
    removed: list[int] = []
    remove = erasures.Erasures._remove

    def noted(self: erasures.Erasures, connection: sqlite3.Connection, ids: list[int], *, keep: bool) -> None:
        removed.extend(ids)
        remove(self, connection, ids, keep=keep)

    monkeypatch.setattr(erasures.Erasures, "_remove", noted)
    await again.apply(erasing(keep=keep))
    await again.aclose()
    await store.open(NAMES)
    assert len(removed) < len(HERE)
    assert left(path)[1:] == (0, 1)
    assert sum(left(path)[0].values()) == 2
