"""The daemon: the engine on a real data directory with the web in front of it, from lock to shutdown."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import structlog
import trio

from likd import __version__
from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.durability import data_dir, dates
from likd.durability.disk import Disk, DryRunDisk, RealDisk
from likd.durability.filenames import SOURCE
from likd.durability.idempotency import KeyLog, KeyWindow
from likd.durability.lock import locked_data_dir
from likd.engine import Engine, open_engine
from likd.errors import StartError
from likd.plugins.handlers import Handlers, load_handlers
from likd.plugins.observers import load_observers
from likd.recovery import Recovered, Recovery
from likd.runtime.clock import Clock
from likd.runtime.systemd import Notifier
from likd.runtime.watchdog import Watchdog
from likd.stores import threaded
from likd.stores.database import Database
from likd.stores.protocol import NativeStore, Retention
from likd.stores.registry import Place, open_url
from likd.stores.threaded import as_store
from likd.testing.faults import Faults, FaultyDisk, FaultyStore
from likd.testing.faults import enabled as faults_enabled
from likd.web.access.tokens import access_in_words, load_tokens, refuse_unsafe
from likd.web.compose import compose_web
from likd.web.listeners import check_free
from likd.web.server import WebServer
from likd.web.tls import server_context

SWITCH_INTERVAL_SECONDS = 0.0002
"""How soon a thread that returns from an fsync gets the interpreter; Python's default is 5 ms."""

DESCRIPTORS_RESERVED = 64
"""File descriptors reserved for the journal, the batch files and the store."""

GC_ALLOCATIONS = 50_000
"""Counting and recovery make many objects but no cycles, so the cyclic collector need not run often."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


@attrs.frozen
class Daemon:
    """A composed daemon, ready to run: the engine, and the web server in front of it."""

    engine: Engine
    web: WebServer

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the tree until `shut_down`, or until it gives up (RestartIntensityExceeded)."""
        await self.engine.root.run(task_status=task_status)

    async def shut_down(self) -> None:
        """Refuse new work and let the end of the channels run through the tree; `run` ends with its last task.

        Whatever has not reached the store after `shutdown_timeout` is in files that the next start drains.
        """
        root = self.engine.root
        root.drain()
        self.web.stop()
        with trio.move_on_after(self.engine.config.shutdown_timeout):
            await root.wait_finished("web")
            await self.engine.drain()
        root.stop()


async def serve(config: Config, *, ready: Callable[[Daemon], None]) -> None:
    """Run a daemon until SIGTERM or SIGINT; a second signal ends the process at once.

    A signal during a long start ends it, and the next start continues from there.

    Raises ConfigError, StartError and StoreError at the start, RestartIntensityExceeded and Fenced later.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    # Errors in the settings are reported before anything is created.
    tokens = load_tokens(config, os.environ)
    refuse_unsafe(config, tokens)
    server_context(config)
    if not config.data_dir.exists():
        await check_free(config.bind)
    log.info(
        "starting",
        version=__version__,
        data_dir=str(config.data_dir.absolute()),
        access=access_in_words(config, tokens),
    )
    with (
        locked_data_dir(config.data_dir),
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
    ):
        notifier = Notifier()
        async with trio.open_nursery() as nursery:
            obedience = _Obedience(notifier)
            nursery.start_soon(obedience.run, signals)
            with obedience.start:
                await _run(config, ready, notifier, obedience)
            nursery.cancel_scope.cancel()


async def _run(config: Config, ready: Callable[[Daemon], None], notifier: Notifier, obedience: _Obedience) -> None:
    gc.set_threshold(GC_ALLOCATIONS, 20, 20)
    async with open_daemon(config) as daemon, trio.open_nursery() as nursery:
        obedience.daemon = daemon
        await nursery.start(daemon.run)
        gc.collect()
        gc.freeze()
        ready(daemon)
        notifier.ready(f"listening on {' '.join(daemon.web.addresses)}")
        nursery.start_soon(notifier.feed_watchdog)
        await daemon.engine.root.ended.wait()
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class _Obedience:
    """Obeys signals: during the `start` by abandoning it, later by shutting the `daemon` down."""

    notifier: Notifier
    start: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    daemon: Daemon | None = None

    async def run(self, signals: AsyncIterator[int]) -> None:
        async with trio.open_nursery() as nursery:
            stopping = False
            async for number in signals:
                if stopping:
                    # Everything acknowledged is in the journal or further on.
                    os._exit(128 + number)
                stopping = True
                log.info("shutting down", signal=signal.Signals(number).name)
                self.notifier.stopping()
                if self.daemon is None:
                    self.start.cancel()
                else:
                    nursery.start_soon(self.daemon.shut_down)


@asynccontextmanager
async def open_daemon(config: Config) -> AsyncIterator[Daemon]:
    """Recover the locked data directory of `config`, and compose a daemon that continues from there."""
    tokens = load_tokens(config, os.environ)
    refuse_unsafe(config, tokens)
    disk: Disk = RealDisk(config.data_dir)
    actor_keys = actor_keys_of(config)
    database = database_of(config, actor_keys, _identity(data_dir.source, config))
    clock = Clock(newest=await newest_time(disk, database))
    store = as_store(database, clock.settled)
    handlers = Handlers(load_handlers(config.kinds))
    observers = load_observers()
    faults = Faults() if faults_enabled() else None
    if faults is not None:
        disk = FaultyDisk(config.data_dir, faults)
        if isinstance(database, Database):
            store = FaultyStore(database, faults, wall_clock=clock.settled)
        observers.append(faults.observe)
    async with open_engine(
        config,
        disk=disk,
        store=store,
        handlers=handlers,
        observers=observers,
        actor_keys=actor_keys,
        clock=clock,
    ) as engine:
        watchdog = Watchdog(blocked_seconds=config.blocked_seconds)
        web = await compose_web(
            config,
            engine,
            tokens=tokens,
            watchdog=watchdog,
            connections_max=min(config.connections_max, _descriptors() - DESCRIPTORS_RESERVED),
            faults=faults,
        )
        engine.root.add("web", web.run)
        if web.fronts is not None:
            engine.root.add("fronts", web.fronts.run, below=web.fronts.supervisor)
        engine.root.add("watchdog", watchdog.run)
        yield Daemon(engine, web)


def database_of(config: Config, actor_keys: ActorKeys, source: str) -> Database | NativeStore:
    """The database of `config` for the data directory `source`, yet to be opened. Raises StartError."""
    place = Place(
        data_dir=config.data_dir,
        source=source,
        retention=Retention(config.keep_minutes, config.keep_hours, config.keep_days),
        cache_mib=config.store_cache,
        url_key=actor_keys.of_url,
        secret_fingerprint=actor_keys.fingerprint,
        top_indexes=config.top_indexes,
    )
    return open_url(config.store, place)


def actor_keys_of(config: Config) -> ActorKeys:
    """The secret that actors are hashed with: that of a shared store, or the directory's own. Raises StartError."""
    given = os.environ.get("LIKD_ACTOR_SECRET", "")
    if given:
        return ActorKeys(data_dir.given_secret(given, "LIKD_ACTOR_SECRET"))
    if config.actor_secret_file:
        try:
            text = Path(config.actor_secret_file).read_text(errors="replace")
        except OSError as error:
            raise StartError(f"can't read {config.actor_secret_file}: {error.strerror}") from None
        return ActorKeys(data_dir.given_secret(text, config.actor_secret_file))
    return ActorKeys(_identity(data_dir.secret, config))


def _identity(read: Callable[[Path], T], config: Config) -> T:
    try:
        return read(config.data_dir)
    except data_dir.IdentityError as error:
        raise StartError(str(error)) from None


async def newest_time(disk: Disk, database: Database | NativeStore) -> float:
    """The time of the latest count in `disk` and `database`, in seconds since 1970; 0 if unknown.

    Raises StoreError, OSError.
    """
    return max(await dates.newest(disk), await threaded.newest(database))


async def recover(config: Config, *, dry_run: bool) -> Recovered:
    """Put the locked data directory of `config` in order as a start does, or find out what a start would do.

    Raises StartError, HandlerError, StoreError, OSError.
    """
    handlers = Handlers(load_handlers(config.kinds))
    disk: Disk = RealDisk(config.data_dir)
    window = KeyWindow(window_seconds=config.keys_window, keys_max=config.keys_max)
    if dry_run:
        disk = DryRunDisk(disk)
        # Nothing is created, not even an identity.
        known = (config.data_dir / SOURCE).exists()
        database = database_of(config, ActorKeys(b""), _identity(data_dir.source, config) if known else "")
        clock = Clock(newest=await newest_time(disk, database))
        applied = await threaded.peek(database)
    else:
        actor_keys = actor_keys_of(config)
        database = database_of(config, actor_keys, _identity(data_dir.source, config))
        clock = Clock(newest=await newest_time(disk, database))
        store = as_store(database, clock.settled)
        applied = await store.open(handlers.counts)
        await store.aclose()
    keys = KeyLog(
        disk,
        window_seconds=config.keys_window,
        keys_max=config.keys_max,
        wall_clock=clock.noted,
        settled=clock.forgetting,
    )
    recovery = Recovery(
        disk,
        applied=applied,
        handlers=handlers,
        keys=keys,
        window=window,
        keep_batches=max(config.keep_batches, int(database.replay_seconds > 0)),
        keep_applied=(database.replay_seconds if config.replay_window is None else config.replay_window) > 0,
        wall_clock=clock.now,
    )
    return await recovery.run()


def _descriptors() -> int:
    """Raise this process's limit of file descriptors as far as allowed. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize
