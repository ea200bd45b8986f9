"""Sums by site of the embedded store, written in each transaction: totals, and a history like that of URLs.

In the tables of the history, a site has the negative of its id where a URL has its own, and all sites together have 0.
So they are rolled up, removed and corrected like everything else.

What earlier versions counted is summed up in steps, URL by URL in order of their ids: the sums include all URLs up to
`upto`, and nothing of the others until it is their turn. So they are always the sums of exactly these URLs, whenever
the daemon ends.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from likd.model import Rows, host_of
from likd.stores.sites import prefixes_of
from likd.stores.sqlite.history import TABLES, History
from likd.stores.sqlite.staging import slices
from likd.stores.sqlite.sums import SUM_MAX, growth, summed

ALL = 0
"""The id of all sites together in the history."""
URLS_AT_ONCE = 4000
"""How many URLs of earlier versions are summed up in one transaction: some hundred milliseconds at most."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sites (id INTEGER PRIMARY KEY, host TEXT NOT NULL UNIQUE, urls INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS summed (upto INTEGER);
"""
_TEMPORARY = """
PRAGMA temp_store = MEMORY;
CREATE TEMPORARY TABLE IF NOT EXISTS summing (id INTEGER PRIMARY KEY, site INTEGER NOT NULL);
"""


class Sites:
    """Keeps the sums in the caller's database; the caller owns the transactions."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._names: tuple[str, ...] = ()

    def open(self, connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
        """Create the tables, or update them to the current counts."""
        connection.executescript(_SCHEMA + _TEMPORARY)
        there = {row[1] for row in connection.execute("PRAGMA table_info(sites)")}
        for name in names:
            if name not in there:
                connection.execute(f'ALTER TABLE sites ADD COLUMN "{name}" INTEGER NOT NULL DEFAULT 0')
        if connection.execute("SELECT 1 FROM summed").fetchone() is None:
            counted = connection.execute("SELECT 1 FROM counts LIMIT 1").fetchone()
            connection.execute("INSERT INTO summed VALUES (?)", (0 if counted else None,))
        self._names = names

    def add(self, connection: sqlite3.Connection, rows: Rows, grown: Sequence[str]) -> None:
        """Add `rows`, which are staged but not in `counts` yet, to the totals; stage their sums for the history."""
        upto = self._upto(connection)
        new = "SELECT json_group_array(url) FROM staged WHERE id > (SELECT coalesce(max(id), 0) FROM counts)"
        # The id of a removed URL may have been given to another.
        new += "" if upto is None else f" AND id <= {upto}"
        urls = Counter(host_of(url) for url in _texts(connection, new))
        sums = self._stage(connection, rows, grown, upto)
        if sums:
            self._grow(connection, grown, {host: [urls[host], *counts] for host, counts in sums.items()})
        self._stage_sums(connection, grown, sums)

    def stage(self, connection: sqlite3.Connection, rows: Rows, grown: Sequence[str]) -> None:
        """Stage the sums of `rows`, which are staged and were already added."""
        self._stage_sums(connection, grown, self._stage(connection, rows, grown, self._upto(connection)))

    def leave(self, connection: sqlite3.Connection, folds: Sequence[tuple[int, int | None]]) -> None:
        """What the first of each pair in `folds` has becomes the second's, or nobody's: both are existing ids.

        The totals of the second have already grown by it.
        """
        upto = self._upto(connection)
        for old, new in folds:
            site, target = self._site_of(connection, old, upto), self._site_of(connection, new, upto)
            if site is not None:
                columns = "".join(f', -"{name}"' for name in self._names)
                gone = connection.execute(f"SELECT -1{columns} FROM counts WHERE id = ?", (old,)).fetchone()
                self._grow(connection, self._names, {site[1]: list(gone)})
            if site != target:
                for table in TABLES:
                    for at in self._history.spans(connection, table):
                        self._book(connection, table, at, old, site, sign=-1)
                        self._book(connection, table, at, old, target, sign=1)

    def erase(self, connection: sqlite3.Connection, host: str) -> None:
        """Forget the sums of a site, all of whose URLs are erased; those that are there still are counted."""
        site = self._ids(connection, [host]).get(host)
        if site is None:
            return
        for table in TABLES:
            span = TABLES[table][0]
            for at in self._history.spans(connection, table):
                where = f"url = {-site} AND {span} = {at}" if span else f"url = {-site}"
                given = f"(SELECT *, {ALL} AS id FROM {table} WHERE {where}) WHERE true"
                self._history.book(connection, table, at, given, (), sign=-1)
        self._history.forget(connection, str(-site))
        zeros = "".join(f', "{name}" = 0' for name in self._names)
        connection.execute(f"UPDATE sites SET urls = 0{zeros} WHERE id = ?", (site,))
        self._count(connection, host, prefixes_of(host))

    def count(self, connection: sqlite3.Connection, url: str) -> None:
        """A URL has no counts, and is still there."""
        self._count(connection, host_of(url), [(url, url + "\0")])

    def _count(self, connection: sqlite3.Connection, host: str, ranges: Iterable[tuple[str, str]]) -> None:
        """The URLs in these `ranges`, which have no counts, are of `host` again."""
        upto = self._upto(connection)
        where = "" if upto is None else f" AND id <= {upto}"
        urls = 0
        for bounds in ranges:
            query = f"SELECT count(*) FROM counts WHERE url >= ? AND url < ?{where}"
            urls += connection.execute(query, bounds).fetchone()[0]
        if urls:
            self._grow(connection, (), {host: [urls]})

    def sum_up(self, connection: sqlite3.Connection) -> bool:
        """Sum up the next URLs. Returns whether all are summed up."""
        upto = self._upto(connection)
        if upto is None:
            return True
        query = "SELECT id, url FROM counts WHERE id > ? ORDER BY id LIMIT ?"
        (text,) = connection.execute(
            f"SELECT json_group_array(json_array(id, url)) FROM ({query})", (upto, URLS_AT_ONCE)
        ).fetchone()
        urls = msgspec.json.decode(text, type=list[tuple[int, str]])
        last = urls[-1][0] if urls else None
        connection.execute("UPDATE summed SET upto = ?", (last,))
        if last is None:
            return True
        hosts = {row_id: host_of(url) for row_id, url in urls}
        self._grow(connection, (), {host: [n] for host, n in Counter(hosts.values()).items()})
        sites = self._ids(connection, set(hosts.values()))
        connection.execute("DELETE FROM summing")
        pairs = msgspec.json.encode([(row_id, sites[host]) for row_id, host in hosts.items()]).decode()
        connection.execute(
            "INSERT INTO summing SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)",
            (pairs,),
        )
        self._sum_totals(connection)
        between = f"url > {upto} AND url <= {last}"
        for table in TABLES:
            for at in self._history.spans(connection, table):
                for row_id in ("-site", str(ALL)):
                    span = TABLES[table][0]
                    where = f"{between} AND {span} = {at}" if span else between
                    joined = f"{table} CROSS JOIN summing ON summing.id = url WHERE {where}"
                    given = f"(SELECT {table}.*, {row_id} AS id FROM {joined}) WHERE true"
                    self._history.book(connection, table, at, given, ())
        return False

    def share(self, connection: sqlite3.Connection) -> float:
        """What part is summed up; 1 if all is."""
        row = connection.execute("SELECT upto FROM summed").fetchone()
        if row is None or row[0] is None:
            return 1.0
        (newest,) = connection.execute("SELECT max(id) FROM counts").fetchone()
        return min(0.999, int(row[0]) / newest) if newest else 1.0

    def id_of(self, connection: sqlite3.Connection, host: str) -> int | None:
        """The id of the site `host` in the history."""
        row = connection.execute("SELECT -id FROM sites WHERE host = ?", (host,)).fetchone()
        return None if row is None else int(row[0])

    def _upto(self, connection: sqlite3.Connection) -> int | None:
        row = connection.execute("SELECT upto FROM summed").fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _stage(
        self, connection: sqlite3.Connection, rows: Rows, grown: Sequence[str], upto: int | None
    ) -> dict[str, list[int]]:
        """The sums by site of those of `rows` that are in the sums."""
        if upto is not None:
            without = set(_texts(connection, f"SELECT json_group_array(url) FROM staged WHERE id > {upto}"))
            rows = {url: counts for url, counts in rows.items() if url not in without}
        return _by_host(rows, grown)

    def _stage_sums(self, connection: sqlite3.Connection, grown: Sequence[str], sums: Mapping[str, list[int]]) -> None:
        if not sums:
            return
        columns = "".join(f', "{name}"' for name in grown)
        values = "".join(f", json_extract(value, '$[{n}]')" for n in range(len(grown)))
        connection.execute(
            f"INSERT INTO staged (id, url{columns}) SELECT -sites.id, key{values}"
            " FROM json_each(?) CROSS JOIN sites ON host = key",
            (_encode(sums),),
        )
        everything = [min(SUM_MAX, sum(column)) for column in zip(*sums.values(), strict=True)]
        marks = ", ?" * len(everything)
        connection.execute(f"INSERT INTO staged (id, url{columns}) VALUES ({ALL}, ''{marks})", everything)

    def _grow(self, connection: sqlite3.Connection, grown: Sequence[str], sums: Mapping[str, list[int]]) -> None:
        """Add to the totals of sites: a number of URLs, and an amount of each count in `grown`."""
        columns = "".join(f', "{name}"' for name in grown)
        values = "".join(f", json_extract(value, '$[{n}]')" for n in range(len(grown) + 1))
        update = ", ".join(["urls = urls + excluded.urls", *(growth(name, "host") for name in grown)])
        connection.execute(
            f"INSERT INTO sites (host, urls{columns}) SELECT key{values} FROM json_each(?) WHERE true"
            f" ON CONFLICT (host) DO UPDATE SET {update}",
            (_encode(sums),),
        )

    def _sum_totals(self, connection: sqlite3.Connection) -> None:
        columns = "".join(f', "{name}"' for name in self._names)
        sums = "".join(f', {summed(name)} AS "{name}"' for name in self._names)
        update = ", ".join(growth(name, "host") for name in self._names)
        if not self._names:
            return
        connection.execute(
            f"INSERT INTO sites (id, host{columns}) SELECT site, ''{columns} FROM"
            f" (SELECT site, url{sums} FROM summing CROSS JOIN counts USING (id) GROUP BY site)"
            f" WHERE true ON CONFLICT (id) DO UPDATE SET {update}"
        )

    def _ids(self, connection: sqlite3.Connection, hosts: Iterable[str]) -> dict[str, int]:
        query = "SELECT host, sites.id FROM json_each(?) CROSS JOIN sites ON host = value"
        return dict(connection.execute(query, (msgspec.json.encode(list(hosts)).decode(),)))

    def _site_of(self, connection: sqlite3.Connection, row_id: int | None, upto: int | None) -> tuple[int, str] | None:
        """The site of a URL, if the sums include the URL."""
        if row_id is None or (upto is not None and row_id > upto):
            return None
        (url,) = connection.execute("SELECT url FROM counts WHERE id = ?", (row_id,)).fetchone()
        host = host_of(url)
        return self._ids(connection, [host])[host], host

    def _book(
        self,
        connection: sqlite3.Connection,
        table: str,
        at: int | None,
        url: int,
        site: tuple[int, str] | None,
        *,
        sign: int,
    ) -> None:
        """Add to a site and to all sites, or subtract, what the history has of a URL in one span."""
        if site is None:
            return
        span = TABLES[table][0]
        where = f"url = ? AND {span} = {at}" if span else "url = ?"
        for row_id in (-site[0], ALL):
            given = f"(SELECT *, {row_id} AS id FROM {table} WHERE {where}) WHERE true"
            self._history.book(connection, table, at, given, (url,), sign=sign)


def _by_host(rows: Rows, grown: Sequence[str]) -> dict[str, list[int]]:
    """The sums of `rows` by host, in the order of the counts `grown`. Releases the interpreter between slices."""
    columns: list[defaultdict[str, int]] = [defaultdict(int) for _ in grown]
    known: dict[str, None] = {}
    for some in slices(rows.items()):
        # The part before the path stands for the host: examining it for each URL is what takes time.
        prefixes = [url[: url.find("/", 8)] for url, _ in some]
        known.update(dict.fromkeys(prefixes))
        for name, column in zip(grown, columns, strict=True):
            for prefix, (_, counts) in zip(prefixes, some, strict=True):
                column[prefix] += counts.get(name, 0)
        time.sleep(0)
    sums: dict[str, list[int]] = {}
    for prefix in known:
        host = host_of(prefix)
        mine = [column[prefix] for column in columns]
        sums[host] = [min(SUM_MAX, a + b) for a, b in zip(mine, sums.get(host, [0] * len(grown)), strict=True)]
    return sums


def _texts(connection: sqlite3.Connection, query: str) -> list[str]:
    """The strings in an array that `query` makes: one row, for which the interpreter is released once."""
    (text,) = connection.execute(query).fetchone()
    return msgspec.json.decode(text, type=list[str])


def _encode(sums: Mapping[str, list[int]]) -> str:
    return msgspec.json.encode(sums).decode()
