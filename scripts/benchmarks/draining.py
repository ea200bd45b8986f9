"""A process that is a node of a shared store: it applies transactions to the PostgreSQL at a URL.

Each line of its input is how many; each line of its output is what they cost, and how many likes they were.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

from benchmarks.databases import NAMES
from benchmarks.loads import SITE
from benchmarks.processes import processor
from likd.model import Rows
from likd.stores.postgres.connection import conninfo
from likd.stores.postgres.store import PostgresDatabase
from likd.stores.protocol import Increments

MINUTE = 29_000_000
TRANSACTIONS_A_MINUTE = 8
HOT = 100
"""So many URLs are in every transaction."""


def transaction(rng: random.Random, rows: int, urls: int) -> Rows:
    """Some URLs that are always there, and others by chance."""
    hot = min(HOT, rows)
    chosen = [*range(hot), *rng.sample(range(hot, urls), rows - hot)]
    return {f"{SITE}{n}": {"likes": 1 + n % 3, "impressions": 7} for n in chosen}


def main(url: str, node: str, rows: int, urls: int, *, indexes: bool) -> None:
    database = PostgresDatabase(conninfo(url), f"node {node}", top_indexes=indexes)
    database.open(NAMES)
    rng = random.Random(node)
    table = 0
    print("ready", flush=True)
    for line in sys.stdin:
        work = [transaction(rng, rows, urls) for _ in range(int(line))]
        before, began = processor(os.getpid()), time.perf_counter()
        for some in work:
            table += 1
            database.apply(Increments(table, table, MINUTE + table // TRANSACTIONS_A_MINUTE, some), MINUTE)
        seconds, spent = time.perf_counter() - began, processor(os.getpid()) - before
        likes = sum(counts["likes"] for some in work for counts in some.values())
        cost = {"seconds": seconds, "main": spent.main, "others": spent.others, "likes": likes}
        print(json.dumps(cost), flush=True)
    database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), indexes=sys.argv[5] == "indexes")
