"""What sums by site ought to be: the sums over the URLs in the same database."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from likd.model import host_of
from likd.stores.sqlite.history import TABLES


def sums_off(connection: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Where the sums by site are not those of the URLs that are summed up."""
    (upto,) = connection.execute("SELECT upto FROM summed").fetchone()
    columns = "".join(f', "{name}"' for name in names)
    urls = {row_id: host_of(url) for row_id, url in connection.execute("SELECT id, url FROM counts")}
    summed = {row_id: host for row_id, host in urls.items() if upto is None or row_id <= upto}
    sites = dict(connection.execute("SELECT -id, host FROM sites"))
    wanted: Counter[object] = Counter()
    found: Counter[object] = Counter()
    for row_id, *counts in connection.execute(f"SELECT id{columns} FROM counts"):
        if row_id in summed:
            wanted.update({(summed[row_id], name): n for name, n in zip(names, counts, strict=True)})
            wanted[summed[row_id], "urls"] += 1
    for host, *counts in connection.execute(f"SELECT host, urls{columns} FROM sites"):
        found.update({(host, name): n for name, n in zip(("urls", *names), counts, strict=True)})
    for table, (_, unit) in TABLES.items():
        for row_id, at, *counts in connection.execute(f"SELECT url, {unit}{columns} FROM {table}"):
            for name, n in zip(names, counts, strict=True):
                if row_id in summed:
                    wanted[table, summed[row_id], at, name] += n
                    wanted[table, "", at, name] += n
                elif row_id <= 0:
                    found[table, sites[row_id] if row_id else "", at, name] += n
    places = sorted({*wanted, *found}, key=str)
    return [f"{at}: {found[at]}, not {wanted[at]}" for at in places if found[at] != wanted[at]]
