"""Sites, pages and erasures in PostgreSQL are as the embedded store has them, over however many nodes."""

from __future__ import annotations

import random
from pathlib import Path

import attrs
import pytest

from likd.model import Fold, Likings, Rows
from likd.stores.database import Database
from likd.stores.postgres import site_reads
from likd.stores.postgres.store import PostgresDatabase
from likd.stores.protocol import Increments, Retention
from likd.stores.sites import By, PagesQuery, Past, Site, SitesRead, Span
from likd.stores.sqlite.store import SqliteDatabase
from tests import postgres
from tests.stores.postgres.test_store import KEYS, MINUTE, NAMES, node

URLS = [
    *(f"https://a.example/{n}" for n in range(4)),
    *(f"https://b.example:8443/{n}%20_x" for n in range(3)),
    "http://a.example/0",
    "https://[2001:db8::1]:8080/",
    "https://c.example/",
]
LISTS: list[tuple[By, bool, str, str]] = [
    ("likes", False, "", ""),
    ("likes", True, "a.example", ""),
    ("change", False, "", ""),
    ("change", True, "", "%20_"),
    ("views", False, "b.example", "B.EX"),
    ("rate", False, "", ""),
    ("rate", True, "", ""),
    ("all", False, "", ""),
    ("all", True, "a.example", "/0"),
]
HOSTS = ["a.example", "b.example", "[2001:db8::1]", "c.example", "none.example", ""]


@pytest.fixture
def url() -> str:
    return postgres.server().database()


def told(database: Database, now: int) -> list[object]:
    """All that a store tells of sites."""
    day, hour = now * 60 // 86_400 * 86_400, now * 60 // 3600 * 3600
    spans = [Span("hour", hour - 7200, hour + 3600), Span("day", day - 86_400, day + 86_400)]
    found: list[object] = [
        told_of(database.sites(spans, None)),
        sorted(told_of(database.sites(spans, HOSTS)), key=lambda site: site.host),
        database.sites([], None).total,
        *(
            list(map(without_zeros, database.past(spans, url, site).past))
            for url, site in (("", "a.example"), ("", ""), (URLS[0], ""))
        ),
        database.read(URLS)[1],
        database.read_actors([KEYS(actor, url) for actor in ("ann", "bob") for url in URLS])[1],
    ]
    for by, ascending, site, search in LISTS:
        query = PagesQuery(
            site=site,
            search=search,
            period=(day, now * 60 + 60),
            before=(day - 86_400, now * 60 - 86_340),
            trend=spans[0],
            by=by,
            ascending=ascending,
            limit=5,
            without=[URLS[1]],
        )
        read = database.pages(query)
        pages = [attrs.evolve(page, trend=without_zeros(page.trend)) for page in read.pages]
        found.append((by, ascending, site, search, pages, read.named, read.total))
    return found


def told_of(read: SitesRead) -> list[Site]:
    return [attrs.evolve(site, past=list(map(without_zeros, site.past))) for site in read.sites if site.urls]


def without_zeros(past: Past) -> Past:
    """What came and went by a merge or an erasure leaves zeros in the one, and nothing in the other."""
    return [(at, counts) for at, counts in past if counts]


def steps(seed: int) -> list[tuple[Increments, int]]:
    rng = random.Random(seed)
    now = MINUTE
    made: list[tuple[Increments, int]] = []
    for table in range(1, 26):
        now += rng.choice((0, 1, 30, 70, 400))
        rows: Rows = {
            url: {name: rng.randrange(1, 9) for name in rng.sample(NAMES, rng.randrange(1, 4))}
            for url in rng.sample(URLS, rng.randrange(0, 6))
        }
        actors: Likings = {}
        merge = None
        if table % 4 == 0:
            old, new = rng.sample(URLS, 2)
            merge = rng.choice(
                [
                    Fold(old, new, KEYS.of_url(old), KEYS.of_url(new)),
                    Fold(old, "", KEYS.of_url(old), b""),
                    Fold(old, old, KEYS.of_url(old), b""),
                    Fold("//b.example", "", b"", b""),
                    Fold("//a.example", "//a.example", b"", b""),
                ]
            )
        made.append((Increments(table, table, now - rng.choice((0, 0, 3)), rows, actors, merge), now))
    return made


@pytest.mark.parametrize("seed", range(2))
def test_what_is_told_of_sites_is_what_the_embedded_store_tells(url: str, tmp_path: Path, seed: int) -> None:
    shared = node(url, retention=Retention())
    embedded = SqliteDatabase(tmp_path / "likd.db", "here", Retention(), url_key=KEYS.of_url)
    embedded.open(NAMES)
    for number, (increments, now) in enumerate(steps(seed)):
        mine, theirs = shared.apply(increments, now), embedded.apply(increments, now)
        assert mine is not None
        assert theirs is not None
        assert mine.liked_both == theirs.liked_both
        if number in (11, 24):
            for found, wanted in zip(told(shared, now), told(embedded, now), strict=True):
                assert found == wanted
    shared.close()
    embedded.close()


@pytest.mark.parametrize("seed", range(1))
def test_it_is_the_same_over_several_nodes_of_which_one_is_retired(url: str, tmp_path: Path, seed: int) -> None:
    nodes = [node(url, f"node {n}") for n in range(3)]
    embedded = SqliteDatabase(tmp_path / "likd.db", "here", Retention(), url_key=KEYS.of_url)
    embedded.open(NAMES)
    for number, (increments, now) in enumerate(steps(100 + seed)):
        if number == 15:
            nodes[2].retire("3", force=True)
        writer = nodes[number % (3 if number < 15 else 2)]
        writer.apply(increments, now)
        embedded.apply(increments, now)
    for found, wanted in zip(told(nodes[0], now), told(embedded, now), strict=True):
        assert found == wanted
    for each in (*nodes, embedded):
        each.close()


def test_a_list_of_very_many_pages_looks_at_those_that_lead(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_reads, "PAGES_SCANNED_MAX", 20)
    monkeypatch.setattr(site_reads, "LEADERS_MAX", 5)
    monkeypatch.setattr(site_reads, "ACTIVE_MAX", 5)
    database: PostgresDatabase = node(url)
    rows: Rows = {f"https://a.example/{n}": {"likes": 100 + n} for n in range(40)}
    database.apply(Increments(1, 1, MINUTE - 5000, rows), MINUTE - 5000)
    database.apply(Increments(2, 2, MINUTE, {"https://a.example/new": {"likes": 7}}), MINUTE)
    period = ((MINUTE - 60) * 60, MINUTE * 60 + 60)
    read = database.pages(PagesQuery(period=period, limit=3))
    assert read.total == 41
    assert [page.url.rpartition("/")[2] for page in read.pages] == ["new", "39", "38"]
    every = database.pages(PagesQuery(by="all", limit=50))
    assert len(every.pages) == 41
    database.close()
