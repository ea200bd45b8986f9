"""Count a large input through a real daemon with small tables, and compare every count with an independent one.

scripts/demo                                       300,000 likes, Zipf over 30,000 URLs
scripts/demo access.log https://example.com        each delivered GET an impression
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import closing
from pathlib import Path

LIKD = [sys.executable, "-m", "likd"]
DEADLINE_SECONDS = 120.0


def zipf_events(path: Path, n: int = 300_000, urls: int = 30_000) -> Counter[str]:
    """Write a stream of likes, most of them for a few URLs, and count it."""
    weights = [1 / (rank + 1) for rank in range(urls)]
    chosen = [f"https://example.com/page/{rank}" for rank in random.choices(range(urls), weights, k=n)]
    with path.open("w") as file:
        for url in chosen:
            print(json.dumps({"kind": "like", "url": url}), file=file)
    return Counter(chosen)


def log_impressions(path: Path, site: str) -> Counter[str]:
    """Count an access log in the plainest way: split on quotes and blanks."""
    counts: Counter[str] = Counter()
    for line in path.read_text(errors="replace").splitlines():
        _, request, rest = line.split('"', 2)
        method, _, target = request.partition(" ")
        status = rest.split()[0]
        if method == "GET" and (status.startswith("2") or status == "304"):
            counts[site + target.rpartition(" ")[0]] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", type=Path, help="an access log")
    parser.add_argument("site", nargs="?", default="https://example.com", help="the site that it belongs to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="likd-demo-") as directory:
        data = Path(directory) / "data"
        if arguments.log is None:
            source, name, options = Path(directory) / "events.ndjson", "likes", []
            expected = zipf_events(source)
        else:
            source, name = arguments.log, "impressions"
            options = ["--format", "access-log", "--site", arguments.site]
            expected = log_impressions(source, arguments.site)
        flags = ["--table-limit", "100", "--flush-interval", "0.5", "--tables-waiting-max", "500"]
        daemon = subprocess.Popen(
            [*LIKD, "serve", "--data-dir", str(data), "--bind", "127.0.0.1:0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert daemon.stdout is not None
            (url,) = re.findall(r"http://\S+", daemon.stdout.readline().decode())
            print(f"likd at {url}, a table is swapped at 100 URLs")
            began = time.monotonic()
            subprocess.run([*LIKD, "send", "--url", url, "--batch", "2000", *options, str(source)], check=True)
            print(f"sent in {time.monotonic() - began:.1f} s; waiting for the store")
            while True:
                with urllib.request.urlopen(f"{url}/v1/status", timeout=10) as answer:
                    status = json.load(answer)
                tables = status["tables"]
                if not tables["open_urls"] + tables["draining"] + tables["waiting"]:
                    break
                if time.monotonic() - began > DEADLINE_SECONDS:
                    raise SystemExit(f"not drained in time: {tables}")
                time.sleep(0.1)
            batches, rows = status["batcher"]["written"], status["store"]["rows_written"]
            print(f"{batches} tables swapped and drained, {rows} rows written, {time.monotonic() - began:.1f} s in all")
        finally:
            daemon.terminate()
            daemon.wait(30)
        with closing(sqlite3.connect(data / "likd.db")) as database:
            counted = dict(database.execute(f"SELECT url, {name} FROM counts WHERE {name} > 0"))
    print(f"\n{'counted here':>14} {'likd':>10}  url")
    for url, n in expected.most_common(10):
        print(f"{n:>14} {counted.get(url, 0):>10}  {url}")
    print(f"{expected.total():>14} {sum(counted.values()):>10}  all {len(expected)} URLs")
    wrong = [url for url in expected.keys() | counted.keys() if expected[url] != counted.get(url, 0)]
    for url in wrong[:10]:
        print(f"WRONG: {url}: {expected[url]} is right, likd says {counted.get(url, 0)}")
    if wrong:
        raise SystemExit(f"{len(wrong)} URLs differ")
    print(f"equal to the last one: {len(expected)} URLs")


if __name__ == "__main__":
    main()
