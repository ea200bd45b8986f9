"""Upkeep of data directories that share a store: what is done once, by a command, without a daemon."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import trio

from likd.config.settings import Config
from likd.counting.actors import ActorKeys
from likd.daemon import actor_keys_of, database_of, newest_time
from likd.durability import data_dir
from likd.durability.applied_log import AppliedLog
from likd.durability.disk import Disk, RealDisk
from likd.durability.filenames import APPLIED, BATCH, JOURNAL
from likd.durability.idempotency import KeyLog, KeyWindow
from likd.engine import open_engine
from likd.errors import LikdError, StoreError, Unsupported
from likd.model import Counts, total
from likd.plugins.handlers import Handlers, load_handlers
from likd.recovery import Recovery
from likd.runtime.clock import Clock
from likd.stores import threaded
from likd.stores.database import Database
from likd.stores.nodes import Node
from likd.stores.threaded import as_store

Waiting: TypeAlias = Literal["count", "drop"]


class AdoptError(LikdError):
    """The directory can't be adopted like this; the message says why."""


@attrs.frozen
class Drained:
    """What was done: rows that the store got; tables and rows that it still lacks, and why."""

    rows: int
    tables_left: int
    rows_left: int
    fault: str | None


@attrs.frozen
class Adopted:
    """The directory has another identity: the sums of what counts from now on for it, and of what was set aside."""

    counted: Counts
    dropped: Counts


async def drain(config: Config) -> Drained:
    """Empty the data directory of `config`, which is locked, into its store, as far as that takes it.

    Raises StartError, HandlerError, StoreError, OSError, Fenced.
    """
    disk: Disk = RealDisk(config.data_dir)
    actor_keys = actor_keys_of(config)
    database = database_of(config, actor_keys, data_dir.source(config.data_dir))
    clock = Clock(newest=await newest_time(disk, database))
    async with (
        open_engine(
            config,
            disk=disk,
            store=as_store(database, clock.settled),
            handlers=Handlers(load_handlers(config.kinds)),
            actor_keys=actor_keys,
            clock=clock,
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(engine.root.run)
        await engine.drain()
        nursery.cancel_scope.cancel()
    ledger = engine.ledger
    return Drained(engine.drainer.rows_written, ledger.tables_waiting, ledger.rows_waiting, engine.drainer.fault)


async def adopt(config: Config, waiting: Waiting | None) -> Adopted:
    """Give the data directory of `config`, which is locked, a new identity: a node of its own from now on.

    What it had not brought into the store counts for the new one. Where it can't be told what that is, because the
    store has tables of that identity of which this directory knows nothing, `waiting` says what becomes of it.

    Raises AdoptError, StartError, HandlerError, StoreError, OSError.
    """
    disk: Disk = RealDisk(config.data_dir)
    database = database_of(config, ActorKeys(b""), data_dir.source(config.data_dir))
    mark = await threaded.peek(database)
    names = await disk.names()
    log = AppliedLog(disk)
    await log.load(names)
    # What this directory noted was applied by it; what is behind that another life may have made of the same number.
    applied = log.newest
    if mark > applied and waiting is None and _tables(names, applied):
        raise AdoptError(
            f"the store has tables {applied + 1} to {mark} of this directory, which it has not noted: by another copy"
            " of it, or just before a crash. Of what waits here, say --waiting count if the store does not have it, or"
            " --waiting drop, which moves it to damaged/: `likd inspect` shows it"
        )
    handlers = Handlers(load_handlers(config.kinds))
    window = KeyWindow(window_seconds=config.keys_window, keys_max=config.keys_max)
    recovery = Recovery(
        disk,
        applied=applied,
        applied_log=log,
        handlers=handlers,
        keys=KeyLog(disk, window_seconds=config.keys_window, keys_max=config.keys_max),
        window=window,
    )
    recovered = await recovery.run()
    dropped: Counts = {}
    if waiting == "drop":
        dropped = total([batch.sums for batch in recovered.batches])
        for batch in recovered.batches:
            await disk.quarantine(BATCH.name(batch.table_id))
        recovered.batches.clear()
    for name in APPLIED.among(await disk.names()):
        await disk.remove(name)
    # From here on it is another directory: all before can be done again.
    await trio.to_thread.run_sync(data_dir.renew_source, config.data_dir)
    return Adopted(total([batch.sums for batch in recovered.batches]), dropped)


def retire(config: Config, which: str, *, force: bool) -> Node:
    """Let a node of the store of `config` be gone for good. Raises RetireError, StartError, StoreError."""
    database = database_of(config, ActorKeys(b""), "")
    if not isinstance(database, Database):
        raise Unsupported(f"a {database.kind} store has no rows of nodes: there is nothing to be retired")
    try:
        return database.retire(which, force=force)
    except StoreError:
        raise
    except database.faults as fault:
        raise database.explain(fault) from fault


def _tables(names: list[str], after: int) -> list[int]:
    """The tables of which there are files, behind `after`."""
    return [table_id for kind in (BATCH, JOURNAL) for table_id in kind.ids(names) if table_id > after]
