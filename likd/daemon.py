"""The daemon: the engine on a real data directory, the web in front of it, one life from lock to shutdown."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import structlog
import trio

from likd import __version__
from likd.config import Config
from likd.counter import Observer
from likd.disk import Disk, DryRunDisk, RealDisk
from likd.engine import Engine, open_engine
from likd.faults import Faults, FaultyDisk, FaultyStore
from likd.faults import enabled as faults_enabled
from likd.handlers import Handlers, load_handlers
from likd.keys import KeyLog, KeyWindow
from likd.notify import Notifier
from likd.recovery import Recovered, Recovery
from likd.status import StatusBoard
from likd.store import Store
from likd.store.sqlite import SqliteStore, read_applied
from likd.watchdog import Watchdog
from likd.web.app import create_app
from likd.web.faultpoint import add_fault_point
from likd.web.listeners import open_listeners
from likd.web.operations import Operations
from likd.web.server import WebServer
from likd.web.session import LiveSessions

DATABASE = "likd.db"

SWITCH_INTERVAL_SECONDS = 0.0002
"""A thread that comes back from an fsync gets the interpreter so soon, instead of after Python's 5 ms."""

DESCRIPTORS_RESERVED = 64
"""File descriptors that connections leave to the journal, the batch files and the store."""

GC_ALLOCATIONS = 50_000
"""Counting makes many objects and no cycles: the cyclic collector need not look often."""

log = structlog.get_logger(__name__)


class StartError(Exception):
    """The daemon can't start; the message says why."""


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

        What has not reached the store after `shutdown_timeout` is in files that the next start drains.
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

    Raises StartError, BindError, HandlerError, StoreError at the start, RestartIntensityExceeded later.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    with (
        locked_data_dir(config.data_dir),
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
    ):
        async with open_daemon(config) as daemon, trio.open_nursery() as nursery:
            notifier = Notifier()
            nursery.start_soon(_obey_signals, signals, daemon, notifier)
            await nursery.start(daemon.run)
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_ALLOCATIONS, 20, 20)
            ready(daemon)
            notifier.ready(f"listening on {' '.join(daemon.web.addresses)}")
            nursery.start_soon(notifier.feed_watchdog)
            await daemon.engine.root.ended.wait()
            nursery.cancel_scope.cancel()


async def _obey_signals(signals: AsyncIterator[int], daemon: Daemon, notifier: Notifier) -> None:
    async with trio.open_nursery() as nursery:
        stopping = False
        async for number in signals:
            if stopping:
                # All that was acknowledged is in the journal or further on.
                os._exit(128 + number)
            stopping = True
            log.info("shutting down", signal=signal.Signals(number).name)
            notifier.stopping()
            nursery.start_soon(daemon.shut_down)


@asynccontextmanager
async def open_daemon(config: Config) -> AsyncIterator[Daemon]:
    """Recover the data directory of `config`, which is locked, and compose a daemon that goes on from there."""
    disk: Disk = RealDisk(config.data_dir)
    store: Store = SqliteStore(config.data_dir / DATABASE, _source(config.data_dir))
    handlers = Handlers(load_handlers())
    observers = load_observers()
    faults = Faults()
    if faults_enabled():
        disk, store = FaultyDisk(config.data_dir, faults), FaultyStore(store, faults)
        observers.append(faults.observe)
    async with open_engine(config, disk=disk, store=store, handlers=handlers, observers=observers) as engine:
        board = StatusBoard(engine, __version__)
        operations = Operations(
            intake=engine.intake,
            handlers=engine.handlers,
            totals=engine.totals,
            store=engine.store,
            body_bytes_max=config.body_bytes_max,
        )
        sessions = LiveSessions(
            hub=engine.hub,
            operations=operations,
            status=board.status,
            interval_seconds=config.live_interval,
            watches_max=config.watches_max,
        )
        app = create_app(operations=operations, status=board, bounds=engine.bounds, sessions=sessions)
        if faults_enabled():
            add_fault_point(app, faults, engine.root)
        web = WebServer(
            operations=operations,
            app=app,
            listeners=await open_listeners(config.bind),
            hub=engine.hub,
            connections_max=min(config.connections_max, _descriptors() - DESCRIPTORS_RESERVED),
            bodies_bytes_max=config.bodies_bytes_max,
            head_seconds=config.head_timeout,
            idle_seconds=config.idle_timeout,
            grace_seconds=config.shutdown_timeout / 2,
        )
        engine.root.add("web", web.run)
        engine.root.add("watchdog", Watchdog(blocked_seconds=config.blocked_seconds).run)
        yield Daemon(engine, web)


async def recover(config: Config, *, dry_run: bool) -> Recovered:
    """Bring the data directory of `config`, which is locked, in order as a start does; or find out what it would do.

    Raises HandlerError, StoreError, OSError.
    """
    handlers = Handlers(load_handlers())
    disk: Disk = RealDisk(config.data_dir)
    database = config.data_dir / DATABASE
    window = KeyWindow(window_seconds=config.keys_window, keys_max=config.keys_max)
    if dry_run:
        disk = DryRunDisk(disk)
        applied = await trio.to_thread.run_sync(read_applied, database)
    else:
        store = SqliteStore(database, _source(config.data_dir))
        applied = await store.open(handlers.counts)
        await store.aclose()
    keys = KeyLog(disk, window_seconds=config.keys_window, keys_max=config.keys_max)
    recovery = Recovery(
        disk, applied=applied, handlers=handlers, keys=keys, window=window, keep_batches=config.keep_batches
    )
    return await recovery.run()


def load_observers() -> list[Observer]:
    """The observers that installed packages offer. Raises StartError for one that can't be loaded."""
    observers: list[Observer] = []
    for entry_point in sorted(entry_points(group="likd.observers"), key=lambda e: e.name):
        try:
            observers.append(entry_point.load())
        except Exception as error:
            raise StartError(f"observer {entry_point.name}: {type(error).__name__}: {error}") from error
    return observers


def _descriptors() -> int:
    """How many file descriptors this process may have; as many as it is allowed to ask for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def _source(data_dir: Path) -> str:
    """The identity of the data directory, under which stores keep its applied mark."""
    path = data_dir / "source"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        source = uuid.uuid4().hex
        temporary = path.with_suffix(".tmp")
        temporary.write_text(source + "\n")
        temporary.replace(path)
        return source


@contextmanager
def locked_data_dir(path: Path) -> Iterator[None]:
    """Make the data directory if need be and hold its lock: one daemon each. Raises StartError."""
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        fd = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StartError(f"can't use the data directory {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise StartError(f"the data directory {path} is in use by process {owner}") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
