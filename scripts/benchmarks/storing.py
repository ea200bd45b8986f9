"""A process that applies transactions to the embedded store of the likd that it can import.

Each line of its input is a list of transactions, each of them a list of URLs liked once; each line of its output is
their cost.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import trio

from benchmarks.databases import NAMES
from benchmarks.processes import processor
from likd.stores.protocol import Increments
from likd.stores.sqlite.store import SqliteStore

MINUTE = 29_000_000
TRANSACTIONS_A_MINUTE = 8


async def main(path: Path) -> None:
    store = SqliteStore(path, "bench")
    await store.open(NAMES)
    await store.apply(Increments(1, 1, MINUTE, {}))
    number = 1
    print("ready", flush=True)
    for line in sys.stdin:
        work = [{url: {"likes": 1} for url in urls} for urls in json.loads(line)]
        before, began = processor(os.getpid()), time.perf_counter()
        for rows in work:
            number += 1
            await store.apply(Increments(number, number, MINUTE + number // TRANSACTIONS_A_MINUTE, rows))
        seconds, spent = time.perf_counter() - began, processor(os.getpid()) - before
        print(json.dumps({"seconds": seconds, "main": spent.main, "others": spent.others}), flush=True)
    await store.aclose()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
