"""The engine: composes everything between a body of events and the store.

    likd
    ├── pool manager ── counter × N
    ├── drainer
    ├── batcher
    ├── event manager
    ├── monitor
    ├── live hub
    ├── other nodes  with a shared store
    ├── key claims   with a shared store
    ├── folder       while there are URLs that were counted under other rules
    └── site sums    while counts of earlier versions are missing from the sums by site

Bodies become submissions in ingest. From there, events flow intake → event manager → batcher → drainer → store; each
arrow is a channel, and closing it ends the next part. That is also the order of a shutdown.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import attrs
import structlog
import trio

from likd.config.engine_settings import EngineSettings
from likd.counting.actors import ActorKeys, Actors
from likd.counting.backpressure import Bounds
from likd.counting.claims import KeyClaims
from likd.counting.event_manager import EventManager
from likd.counting.intake import Intake
from likd.counting.ledger import Ledger
from likd.counting.monitor import Monitor
from likd.counting.pool import PoolManager
from likd.counting.table import Table
from likd.counting.table_limit import TableLimit
from likd.draining.applied_tables import AppliedTables, Keep
from likd.draining.batcher import Batcher
from likd.draining.drainer import Drainer
from likd.draining.folding import Folder
from likd.draining.names import Names, known_aliases
from likd.draining.summing import Summer
from likd.draining.taking_over import take_over
from likd.draining.write_rate import FoundTolerance, WriteTolerance
from likd.durability.applied_log import AppliedLog
from likd.durability.batch_file import Batch
from likd.durability.disk import Disk
from likd.durability.idempotency import KeyLog, KeyWindow
from likd.durability.journal import Durability, Journal
from likd.errors import Fenced, StoreAway, StoreError, TooNew
from likd.ingest.parser import Ingest
from likd.ingest.urls import UrlRules
from likd.model import Submission
from likd.plugins.handlers import Handlers
from likd.plugins.observers import Observer
from likd.queries.live_hub import LiveHub
from likd.queries.merging import Merger
from likd.queries.other_nodes import OtherNodes
from likd.queries.site_watch import SiteWatch
from likd.queries.top_lists import TopLists
from likd.queries.totals import Totals
from likd.queries.unapplied import Unapplied
from likd.recovery import Recovery
from likd.runtime.clock import Clock
from likd.runtime.cooperative import finish_in_turns
from likd.runtime.notice import Notice
from likd.runtime.supervisor import Supervisor
from likd.stores.keys import KeyStore
from likd.stores.protocol import Folding, Store
from likd.stores.sites import site_store

log = structlog.get_logger(__name__)

NO_SECRET = ActorKeys(b"")
"""For engines whose data directory has no secret."""


@attrs.frozen(kw_only=True)
class Engine:
    """The composed parts. `root` runs them; `ingest` turns bodies into submissions, which enter through `intake`."""

    config: EngineSettings
    root: Supervisor
    ingest: Ingest
    intake: Intake
    journal: Journal
    manager: EventManager
    pool: PoolManager
    batcher: Batcher
    drainer: Drainer
    ledger: Ledger
    applied_tables: AppliedTables
    totals: Totals
    top: TopLists
    actors: Actors
    store: Store
    handlers: Handlers
    keys: KeyWindow
    hub: LiveHub
    monitor: Monitor
    bounds: Bounds
    clock: Clock
    rules: UrlRules
    actor_keys: ActorKeys
    merger: Merger
    folder: Folder
    others: OtherNodes
    claims: KeyClaims | None
    unapplied: Unapplied

    async def drain(self) -> None:
        """Refuse new submissions and wait until everything accepted is in the store, or the store fails."""
        self.root.drain()
        await self.intake.close()
        await self.root.wait_finished("event manager", "batcher")
        if self.claims is not None:
            self.claims.close()
        await self.pool.dismiss()
        await self.root.wait_finished("drainer")
        if self.claims is not None:
            await self.root.wait_finished("key claims")


async def _open_store(store: Store, names: Sequence[str]) -> tuple[int | None, str | None]:
    """The store's mark; or None, and why it is unavailable. Raises StoreError if waiting would not help."""
    try:
        return await store.open(names), None
    except StoreAway as error:
        log.error("the store is unavailable: events are accepted and wait for it", fault=str(error))
        return None, str(error)


def _key_claims(
    config: EngineSettings, store: Store, window: KeyWindow, jitter: Callable[[], float]
) -> KeyClaims | None:
    """Who claims keys in the store, if it is to know them."""
    if config.keys == "node" or not isinstance(store, KeyStore) or "keys" not in store.parts:
        return None
    return KeyClaims(store, window, window_seconds=config.keys_window, jitter=jitter)


async def _folding(store: Store, rules: UrlRules, away: str | None) -> Folding | None:
    """How far the store has folded its URLs, None if it is unavailable. If it can't fold, they count as they are."""
    if "merging" not in store.parts:
        return Folding(rules.text)
    return await store.folding() if away is None else None


def _add_bounds(
    bounds: Bounds, config: EngineSettings, batcher: Batcher, ledger: Ledger, pool: PoolManager, monitor: Monitor
) -> None:
    """Let `bounds` refuse requests while any part has as much as the settings allow."""
    bounds.add(
        "tables",
        lambda: batcher.tables_in_hand >= config.tables_waiting_max // 2,
        "the batcher is behind",
    )
    bounds.add("rows", lambda: ledger.too_many_wait(config.rows_waiting_max), "the store is behind", 10)
    bounds.add("counters", lambda: pool.exhausted, "all counters are leased")
    bounds.add(
        "aside",
        lambda: batcher.dead_letter_bytes >= config.aside_bytes_max,
        "events that a failing handler could not count fill all the space for them",
        10,
    )
    bounds.add("disk", lambda: monitor.disk_full, "the disk is full", 10)


@asynccontextmanager
async def open_engine(
    config: EngineSettings,
    *,
    disk: Disk,
    store: Store,
    handlers: Handlers,
    observers: Sequence[Observer] = (),
    actor_keys: ActorKeys = NO_SECRET,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
) -> AsyncIterator[Engine]:
    """Recover what is on `disk`, and compose an engine that continues from there. `store` is closed at the end.

    Events are booked and keys expire by `clock`, by default the system's.
    """
    clock = clock or Clock()
    wall_clock = clock.now
    window = KeyWindow(
        window_seconds=config.keys_window,
        keys_max=config.keys_max,
        wall_clock=clock.noted,
        settled=clock.forgetting,
    )
    key_log = KeyLog(
        disk,
        window_seconds=config.keys_window,
        keys_max=config.keys_max,
        wall_clock=clock.noted,
        settled=clock.forgetting,
    )
    try:
        applied, away = await _open_store(store, handlers.counts)
        applied_log = AppliedLog(disk)
        # If the store may be unavailable at a start, the newest file says how far the directory is.
        keep = Keep(
            max(config.keep_batches, int(store.replay_seconds > 0)),
            store.replay_seconds if config.replay_window is None else config.replay_window,
            config.replay_bytes_max,
        )
        recovery = Recovery(
            disk,
            applied=applied,
            applied_log=applied_log,
            keep_applied=keep.seconds > 0,
            handlers=handlers,
            keys=key_log,
            window=window,
            keep_batches=keep.files,
            wall_clock=wall_clock,
        )
        recovered = await recovery.run()
        rules = UrlRules(config.same_schemes, config.drop_parameters)
        merges = "merging" in store.parts
        noted = await store.aliases() if merges and away is None else {}
        aliases = known_aliases(rules, actor_keys, noted.items())
        names = Names(rules, aliases, actor_keys)

        submissions_in, submissions_out = trio.open_memory_channel[Submission](config.inbox_max)
        tables_in, tables_out = trio.open_memory_channel[Table](config.tables_waiting_max)
        batches_in, batches_out = trio.open_memory_channel[Batch](config.tables_waiting_max)

        behind = Notice()
        actors = Actors(store, applied=applied or 0, cached_max=config.cache_actors_max, aliases=aliases, behind=behind)
        tolerance = FoundTolerance() if config.write_tolerance is None else WriteTolerance(config.write_tolerance)
        ledger = Ledger(
            applied=applied,
            actors=actors,
            aliases=aliases,
            transaction_rows_max=tolerance.transaction_rows_max,
        )
        ledger.ends = store.ends
        totals = Totals(store, ledger, cache_urls_max=config.cache_urls_max, behind=behind)
        taken_over = await finish_in_turns(take_over(recovered.batches, names, ledger, actors))
        journal = Journal(disk, cast(Durability, config.durability), wall_clock=wall_clock)
        pool = PoolManager(
            size=config.pool_size,
            counters_max=config.counters_max,
            max_leases=config.max_leases,
            hung_timeout_seconds=config.hung_timeout,
            observers=observers,
        )
        bounds = Bounds()
        claims = _key_claims(config, store, window, jitter)
        intake = Intake(
            submissions=submissions_in,
            bounds=bounds,
            keys=window,
            actors=actors,
            free_counters=lambda: pool.free,
            claims=claims,
        )
        folder = Folder(
            store=store,
            totals=totals,
            actors=actors,
            intake=intake,
            names=names,
            tolerance=tolerance,
            folding=await _folding(store, rules, away),
            taken_over=taken_over,
            behind=behind,
        )
        if away is None:
            with suppress(StoreError):
                # Else it is done before the first batch is applied.
                await folder.begin()
        summed = site_store(store)
        summer = Summer(summed) if summed is not None else None
        if summer is not None:
            with suppress(StoreError):
                # Else it is found out later.
                await summer.begin()

        async def learn() -> None:
            if merges:
                totals.merged_elsewhere(known_aliases(rules, actor_keys, (await store.aliases()).items()).items())

        manager = EventManager(
            submissions=submissions_out,
            tables=tables_in,
            journal=journal,
            handlers=handlers,
            pool=pool,
            actors=actors,
            ledger=ledger,
            aliases=aliases,
            next_table=recovered.next_table,
            table_limit=TableLimit(config.table_limit, config.table_limit_max),
            flush_interval_seconds=config.flush_interval,
            wall_clock=wall_clock,
        )
        batcher = Batcher(
            tables=tables_out,
            batches=batches_in,
            disk=disk,
            journal=journal,
            keys=key_log,
            handlers=handlers,
            pool=pool,
            ledger=ledger,
            dead_letter_bytes=recovered.dead_letter_bytes,
            jitter=jitter,
        )
        applied_tables = AppliedTables(disk, applied_log, keep, found=recovered.kept, missing=recovered.missing)
        drainer = Drainer(
            batches=batches_out,
            store=store,
            ledger=ledger,
            tolerance=tolerance,
            applied_tables=applied_tables,
            names=handlers.counts,
            behind=behind,
            jitter=jitter,
            prepare=folder.prepare,
            renamed=names.by_now,
            away=away,
            learn=learn,
            next_table=recovered.next_table,
        )
        monitor = Monitor(
            disk=disk,
            disk_free_min=config.disk_free_min,
            rates={
                "events_per_second": lambda: manager.events_accepted,
                "requests_per_second": lambda: manager.requests_accepted,
                "rows_per_second": lambda: drainer.rows_written,
            },
        )
        top = TopLists(store, totals)
        hub = LiveHub(
            totals=totals, top=top, interval_seconds=config.live_interval, sites=SiteWatch(store, totals, wall_clock)
        )
        _add_bounds(bounds, config, batcher, ledger, pool, monitor)
        root = Supervisor("likd", jitter=jitter, fatal=(Fenced, TooNew))
        root.add("pool manager", pool.run)
        root.add("drainer", drainer.run)
        root.add("batcher", batcher.run)
        root.add("event manager", manager.run)
        root.add("monitor", monitor.run)
        if claims is not None:
            root.add("key claims", claims.run)
        root.add("live hub", hub.run)
        others = OtherNodes(
            store=store,
            totals=totals,
            actors=actors,
            learn=learn,
            name=config.node_name or socket.gethostname(),
            lag_seconds=lambda: ledger.lag(clock.now()),
            behind=behind,
        )
        if "feed" in store.parts:
            root.add("other nodes", others.run)
        if not folder.done:
            root.add("folder", folder.run, permanent=False)
        if summer is not None and not summer.done:
            root.add("site sums", summer.run, permanent=False)
        yield Engine(
            config=config,
            root=root,
            ingest=Ingest(handlers.kinds, rules, actor_keys, handlers.done, config.counters_max),
            intake=intake,
            journal=journal,
            manager=manager,
            pool=pool,
            batcher=batcher,
            drainer=drainer,
            ledger=ledger,
            applied_tables=applied_tables,
            totals=totals,
            top=top,
            actors=actors,
            store=store,
            handlers=handlers,
            keys=window,
            hub=hub,
            monitor=monitor,
            bounds=bounds,
            clock=clock,
            rules=rules,
            actor_keys=actor_keys,
            merger=Merger(intake, totals, actors, actor_keys, store),
            folder=folder,
            others=others,
            claims=claims,
            unapplied=Unapplied(totals, wall_clock),
        )
    finally:
        with trio.CancelScope(shield=True):
            await store.aclose()
