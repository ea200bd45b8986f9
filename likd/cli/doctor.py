"""`likd doctor`: finds what would keep the daemon from working well."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import trio

from likd.cli.options import Grouped, with_settings
from likd.config.parsers import Bind, UnixBind, in_words
from likd.config.settings import Config, ConfigError, load, unknown_variables
from likd.errors import StartError, StoreError
from likd.stores.sqlite.store import WAL_BYTES

DESCRIPTORS_SPARE = 128
FSYNC_SECONDS_GOOD = 0.005
FSYNC_SECONDS_MAX = 0.05
FSYNCS = 50
LOG_TIMES_MAX = 4
YEAR_MIN = 2026

Finding = tuple[str, str, str]
"""ok, warn or fail; what was checked; what was found."""


@click.command(cls=Grouped)
@with_settings
def doctor(file: Path | None, **flags: str | None) -> None:
    """Check settings, disk, clock, limits, store and port, as `likd serve` would find them with the same options.

    Writes a small file to the data directory and removes it. Can be run while the daemon runs.

    \b
    Exit status: 0 if no check fails, 1 if one does, 2 if a setting is invalid.
    """
    try:
        config = load(flags, file=file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    failed = False
    colors = {"ok": "green", "warn": "yellow", "fail": "red"}
    for check in (_settings, _access, _disk, _damage, _durability, _store, _clock, _limits, _port):
        for grade, what, found in check(config):
            failed |= grade == "fail"
            click.echo(f"{click.style(f'{grade:4}', fg=colors[grade])}  {what}: {found}")
    sys.exit(1 if failed else 0)


def _settings(_: Config) -> Iterator[Finding]:
    unknown = unknown_variables(os.environ)
    if not unknown:
        yield "ok", "settings", "all are known"
    for fault in unknown:
        yield "warn", "settings", fault


def _access(config: Config) -> Iterator[Finding]:
    from likd.web.access.tokens import load_tokens, refuse_unsafe
    from likd.web.tls import server_context

    try:
        tokens = load_tokens(config, os.environ)
        refuse_unsafe(config, tokens)
        server_context(config)
    except ConfigError as error:
        yield "fail", "access", str(error)
        return
    told = [f"{len(tokens.admin)} admin tokens, {len(tokens.write)} write tokens"]
    told += [f"public sites {', '.join(config.public_sites)}"] if config.public_sites else []
    open_to_all = not tokens.admin and not tokens.write and not config.public_sites
    yield "ok", "access", f"open to anyone who can reach {in_words(config.bind)}" if open_to_all else "; ".join(told)


def _disk(config: Config) -> Iterator[Finding]:
    path = _existing(config.data_dir)
    if not os.access(path, os.W_OK | os.X_OK):
        yield "fail", "data directory", f"{path} is not writable"
        return
    made = "" if config.data_dir.exists() else " (will be created)"
    yield "ok", "data directory", f"{config.data_dir.absolute()}{made}"
    free = shutil.disk_usage(path).free
    grade = "fail" if free < config.disk_free_min else "warn" if free < 16 * config.disk_free_min else "ok"
    yield (
        grade,
        "free space",
        f"{free / 2**30:.1f} GiB; below {config.disk_free_min / 2**30:.2f} GiB events are refused",
    )
    kind = _file_system(path)
    if kind in ("nfs", "nfs4", "cifs", "9p", "fuse.sshfs"):
        yield "warn", "file system", f"{kind}: locks and fsync over a network are slow at best; use a local disk"
    elif kind in ("tmpfs", "ramfs") and config.durability == "fsync":
        yield "warn", "file system", f"{kind}: nothing here survives a reboot"


def _damage(config: Config) -> Iterator[Finding]:
    from likd.durability.disk import quarantined_names
    from likd.durability.filenames import DAMAGED

    names = quarantined_names(config.data_dir)
    if names:
        where = (config.data_dir / DAMAGED).absolute()
        yield (
            "fail",
            "damage",
            f"{len(names)} files in {where}, the last is {names[-1]}: inspect them, then remove them",
        )
    else:
        yield "ok", "damage", "no files were set aside"


def _durability(config: Config) -> Iterator[Finding]:
    path = _existing(config.data_dir)
    if config.durability != "fsync" or not os.access(path, os.W_OK | os.X_OK):
        return
    times = []
    with tempfile.TemporaryFile(dir=path) as file:
        for _ in range(FSYNCS):
            file.write(b"x" * 512)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    median = sorted(times)[FSYNCS // 2]
    grade = "ok" if median <= FSYNC_SECONDS_GOOD else "warn" if median <= FSYNC_SECONDS_MAX else "fail"
    yield (
        grade,
        "fsync",
        f"{median * 1000:.2f} ms median, {max(times) * 1000:.2f} ms worst: each request waits that long",
    )


def _store(config: Config) -> Iterator[Finding]:
    scheme, _, rest = config.store.partition("://")
    if scheme != "sqlite":
        yield from _shared_store(config)
        return
    database = (config.data_dir / rest.removeprefix("/")).absolute()
    if not database.exists():
        yield "ok", "store", f"sqlite {sqlite3.sqlite_version} (will be created)"
        return
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            urls = connection.execute("SELECT count(*) FROM counts").fetchone()[0]
    except sqlite3.Error as error:
        yield "fail", "store", f"{database}: {error}"
        return
    if found != "ok":
        yield "fail", "store", f"{database} is damaged: {found}"
    else:
        yield (
            "ok",
            "store",
            f"sqlite {sqlite3.sqlite_version}, {urls:,} URLs, {database.stat().st_size / 2**20:.1f} MiB",
        )
    log = database.with_name(database.name + "-wal")
    log_bytes = log.stat().st_size if log.exists() else 0
    size = f"{log} is {log_bytes / 2**20:.0f} MiB"
    if log_bytes > LOG_TIMES_MAX * WAL_BYTES:
        yield "warn", "store's log", f"{size}: a program that reads without a pause keeps it from being truncated"
    else:
        yield "ok", "store's log", size


def _shared_store(config: Config) -> Iterator[Finding]:
    from likd.durability.filenames import SOURCE
    from likd.stores import threaded
    from likd.stores.database import Database
    from likd.stores.protocol import Retention
    from likd.stores.registry import Place, open_url

    source = config.data_dir / SOURCE
    known = source.read_text().strip() if source.exists() else ""
    place = Place(data_dir=config.data_dir, source=known, retention=Retention(), cache_mib=1, url_key=str.encode)
    try:
        opened = open_url(config.store, place)
    except StartError as error:
        yield "fail", "store", str(error)
        return
    try:
        mark = trio.run(threaded.peek, opened)
    except StoreError as error:
        yield "fail", "store", str(error)
    else:
        yield "ok", "store", f"{opened.kind} answers; it has this data directory's tables up to {mark}"
        if not isinstance(opened, Database):
            for what in trio.run(opened.warnings):
                yield "warn", "store", what


def _clock(config: Config) -> Iterator[Finding]:
    year = time.gmtime().tm_year
    if year < YEAR_MIN:
        yield "fail", "clock", f"it says {year}: history and idempotency keys need the right time"
        return
    from likd.durability import dates
    from likd.durability.disk import RealDisk
    from likd.stores.sqlite.store import read_newest

    try:
        newest = 0.0
        if config.data_dir.exists():
            in_store = read_newest(config.data_dir / "likd.db")
            newest = max(trio.run(dates.newest, RealDisk(config.data_dir)), in_store)
        ahead = newest - time.time()
    except (OSError, StoreError) as error:
        yield "warn", "clock", f"the time of the last count can't be read: {error}"
        return
    if ahead > 60:
        yield "warn", "clock", f"it is {ahead:.0f} s behind the last count"
    else:
        yield "ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def _limits(config: Config) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.connections_max + DESCRIPTORS_SPARE
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield "warn", "file descriptors", f"{hard} allowed, {wanted} wanted for {config.connections_max} connections"
    else:
        yield "ok", "file descriptors", "unlimited" if hard == resource.RLIM_INFINITY else str(hard)


def _port(config: Config) -> Iterator[Finding]:
    import httpx

    from likd.web.listeners import BindError, open_listeners

    for bind in config.bind:
        try:
            trio.run(open_listeners, [bind]).close()
        except BindError as error:
            scheme = "https" if config.tls_cert else "http"
            socket = str(bind.path) if isinstance(bind, UnixBind) else None
            where = "localhost" if isinstance(bind, UnixBind) else _reachable(bind)
            transport = httpx.HTTPTransport(verify=False, uds=socket)
            try:
                with httpx.Client(timeout=5, transport=transport) as client:
                    alive = client.get(f"{scheme}://{where}{config.base_path}/healthz").json()
            except (httpx.HTTPError, ValueError, OSError):
                alive = None
            if alive == {"status": "ok"}:
                yield "ok", "port", f"likd is already listening on {bind}"
            else:
                yield "fail", "port", str(error)
        else:
            yield "ok", "port", f"{bind} is free"


def _reachable(bind: Bind) -> str:
    return f"127.0.0.1:{bind.port}" if bind.host in ("0.0.0.0", "::") else str(bind)


def _existing(path: Path) -> Path:
    """`path`, or the nearest directory above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _file_system(path: Path) -> str:
    """The kind of file system that `path` is on, "" if it can't be told."""
    found, kind = "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        return ""
    for line in mounts.splitlines():
        _, at, this, *_ = line.split(" ")
        if len(at) >= len(found) and path.resolve().is_relative_to(at.replace("\\040", " ")):
            found, kind = at, this
    return kind
