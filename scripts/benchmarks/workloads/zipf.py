"""Likes distributed by Zipf's law, compared with others that also keep a total, top list and minute for each."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contest import Bench, Case, contender
from benchmarks.loads import Load, load, zipf_numbers
from benchmarks.peers import postgresql, sqlite
from benchmarks.workloads.bulk import deep, through

URLS = 100_000
LIKES = 1_000_000


def work(bench: Bench, lines: int, connections: int) -> Load:
    """Zipf 1.1 over 100,000 URLs, in requests of that many lines."""
    requests = max(connections, bench.scaled(LIKES) // lines)
    return load(zipf_numbers(requests * lines, URLS), lines, connections)


def zipf(bench: Bench) -> Iterator[Case]:
    """Zipf 1.1 over 100,000 URLs: total, top list and minute of each"""
    for lines, connections in bench.some((128, 64), (10_000, 2)):
        likes = work(bench, lines, connections)
        who = bench.likd(through, likes) + deep(bench, likes)
        who += [contender("SQLite alone, the same work", sqlite.batches, likes, bench.scratch)]
        batches = contender("PostgreSQL, unnest, the same work", postgresql.batches, likes)
        yield Case(f"{lines:,} lines × {connections} connections", who + bench.peers(postgresql.lacks(), batches))
    for rows in bench.some(1_000_000, 5_000_000):
        there = bench.scaled(rows)
        likes = work(bench, 10_000, 2)
        who = bench.likd(through, likes, before=bench.scratch, urls_before=there)
        name = "SQLite alone, without top lists"
        who += [contender(name, sqlite.batches, likes, bench.scratch, top=False, urls_before=there)]
        yield Case(f"10,000 lines × 2 connections, {there:,} URLs in the store before", who)
