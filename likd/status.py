"""What the daemon says about itself: /v1/status and /v1/tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from likd.counting.actors import ActorsStatistics
from likd.counting.backpressure import BoundsStatistics
from likd.counting.event_manager import EventManagerStatistics
from likd.counting.intake import IntakeStatistics
from likd.counting.ledger import LedgerStatistics
from likd.counting.monitor import MonitorStatistics
from likd.counting.pool import PoolStatistics
from likd.draining.applied_tables import AppliedTablesStatistics
from likd.draining.batcher import BatcherStatistics
from likd.draining.drainer import DrainerStatistics
from likd.draining.folding import FolderStatistics
from likd.durability.applied_log import ranges
from likd.durability.idempotency import KeyWindowStatistics
from likd.durability.journal import JournalStatistics
from likd.engine import Engine
from likd.plugins.handlers import HandlerStatistics
from likd.queries.live_hub import LiveHubStatistics
from likd.runtime.clock import ClockStatistics
from likd.runtime.histogram import HistogramStatistics
from likd.runtime.processes import ProcessStatistics, statistics
from likd.runtime.recent import FAULTS
from likd.runtime.supervisor import ChildStatistics
from likd.stores.nodes import ALIVE_SECONDS, Node


@attrs.frozen(kw_only=True)
class EngineStatistics:
    """The parts of an engine in numbers, all as of one moment."""

    intake: IntakeStatistics
    bounds: BoundsStatistics
    keys: KeyWindowStatistics
    actors: ActorsStatistics
    manager: EventManagerStatistics
    journal: JournalStatistics
    handlers: tuple[HandlerStatistics, ...]
    pool: PoolStatistics
    ledger: LedgerStatistics
    batcher: BatcherStatistics
    drainer: DrainerStatistics
    applied_tables: AppliedTablesStatistics
    folder: FolderStatistics
    hub: LiveHubStatistics
    monitor: MonitorStatistics
    clock: ClockStatistics
    nodes: tuple[Node, ...]
    """All that share the store, as far as is known."""
    children: tuple[ChildStatistics, ...]
    """The supervised tasks."""

    @classmethod
    def of(cls, engine: Engine) -> EngineStatistics:
        """Ask every part of `engine`."""
        return cls(
            intake=engine.intake.statistics(),
            bounds=engine.bounds.statistics(),
            keys=engine.keys.statistics(),
            actors=engine.actors.statistics(),
            manager=engine.manager.statistics(),
            journal=engine.journal.statistics(),
            handlers=engine.handlers.statistics(),
            pool=engine.pool.statistics(),
            ledger=engine.ledger.statistics(),
            batcher=engine.batcher.statistics(),
            drainer=engine.drainer.statistics(),
            applied_tables=engine.applied_tables.statistics(),
            folder=engine.folder.statistics(),
            hub=engine.hub.statistics(),
            monitor=engine.monitor.statistics(),
            clock=engine.clock.statistics(),
            nodes=engine.others.statistics(),
            children=engine.root.statistics(),
        )


@attrs.frozen
class StatusReport:
    """Reports what the engine's parts say about themselves; changes none of them."""

    engine: Engine
    version: str
    others: Callable[[], Sequence[ProcessStatistics]] = tuple
    """The processes other than the engine's."""
    refused: Callable[[], Mapping[str, int]] = dict
    """How often callers were refused in the last 24 hours, by reason."""

    def statistics(self) -> EngineStatistics:
        """The engine's parts in numbers."""
        return EngineStatistics.of(self.engine)

    @property
    def processes(self) -> list[ProcessStatistics]:
        """The engine and the others, in numbers."""
        mine = statistics("engine", os.getpid())
        return [*([] if mine is None else [mine]), *self.others()]

    def lag_seconds(self, ledger: LedgerStatistics) -> float:
        """The age of the oldest table that the store does not have."""
        oldest = ledger.oldest_waiting
        return round(max(0.0, self.engine.clock.now() - oldest), 3) if oldest is not None else 0.0

    def status(self) -> dict[str, Any]:
        """The daemon in numbers. Times are seconds, sizes bytes."""
        now = self.statistics()
        monitor = now.monitor
        return {
            "version": self.version,
            "refused_24h": {**now.bounds.refused_24h, **self.refused()},
            "faults": [attrs.asdict(fault) for fault in FAULTS.newest()],
            "latency_ms": {
                "acknowledge_p50": _ms(now.manager.acknowledgements, 0.5),
                "acknowledge_p99": _ms(now.manager.acknowledgements, 0.99),
                "flush_p50": _ms(now.journal.appends, 0.5),
                "flush_p99": _ms(now.journal.appends, 0.99),
            },
            "bounds": self._bounds(now),
            "processes": [attrs.asdict(process) for process in self.processes],
            "uptime_seconds": round(monitor.uptime_seconds, 3),
            "rates": {name: round(per_second, 1) for name, per_second in monitor.rates.items()},
            "totals": {
                "events_accepted": now.manager.events_accepted,
                "requests_accepted": now.manager.requests_accepted,
                "by_kind": {kind: now.manager.accepted.get(kind, 0) for kind in self.engine.handlers.kinds},
                "unchanged": now.actors.unchanged,
                "requests_refused": now.bounds.refused,
            },
            "tables": {
                "open": now.manager.open_table,
                "open_urls": now.manager.open_urls,
                "draining": now.batcher.tables_in_hand,
                "waiting": now.ledger.tables_waiting,
                "rows_waiting": now.ledger.rows_waiting,
            },
            "journal": {
                "durability": now.journal.durability,
                "fault": now.manager.journal_fault,
                "mismatches": now.batcher.mismatches,
            },
            "batcher": {"written": now.batcher.batches_written, "fault": now.batcher.fault},
            "pool": attrs.asdict(now.pool),
            "store": self._store(now),
            "nodes": self.nodes(now),
            "folding": attrs.asdict(now.folder),
            "merging": list(now.ledger.merging),
            "handlers": [{**attrs.asdict(each), "last_fault": each.last_fault or None} for each in now.handlers],
            "idempotency_keys": now.keys.keys,
            "live": {"urls_watched": now.hub.urls_watched},
            "disk_free_bytes": monitor.disk_free_bytes,
            "damaged_files": monitor.damaged_files,
            "clock_doubtful": now.clock.doubtful,
            "aside_bytes": now.batcher.dead_letter_bytes,
        }

    def _store(self, now: EngineStatistics) -> dict[str, Any]:
        store, fault = self.engine.store, now.drainer.fault
        return {
            "kind": store.kind,
            "state": "failing" if fault else "ok",
            "fault": fault,
            "applied": now.ledger.applied,
            "lag_tables": now.ledger.tables_waiting,
            "lag_seconds": self.lag_seconds(now.ledger),
            "rows_written": now.drainer.rows_written,
            "write_tolerance": now.drainer.write_tolerance,
            "node": store.node,
            "epoch": store.epoch,
            "went_back": now.drainer.went_back,
            "missing": {
                "tables": ranges(now.applied_tables.missing_tables),
                "counts": now.applied_tables.missing_counts,
            },
        }

    def nodes(self, now: EngineStatistics) -> list[dict[str, Any]]:
        """The nodes that share the store: what each said of itself, and how long ago."""
        mine = self.engine.store.node
        return [
            {
                "node": node.node,
                "name": node.name,
                "this": node.node == mine,
                "epoch": node.epoch,
                "applied": node.mark,
                "lag_seconds": self.lag_seconds(now.ledger) if node.node == mine else round(node.lag_seconds, 3),
                "seen_seconds": round(node.seen_seconds, 1),
                "alive": node.seen_seconds < ALIVE_SECONDS and not node.retired,
                "retired": node.retired,
            }
            for node in now.nodes
        ]

    def _bounds(self, now: EngineStatistics) -> dict[str, dict[str, int]]:
        """The length of each queue, and its limit, beyond which requests are refused."""
        config = self.engine.config
        return {
            "inbox": {"is": now.intake.waiting, "max": config.inbox_max},
            "tables": {"is": now.batcher.tables_in_hand, "max": config.tables_waiting_max // 2},
            "rows": {"is": now.ledger.rows_waiting, "max": config.rows_waiting_max},
            "counters": {"is": now.pool.leased, "max": config.counters_max},
            "aside_bytes": {"is": now.batcher.dead_letter_bytes, "max": config.aside_bytes_max},
        }

    def tree(self) -> dict[str, Any]:
        """The supervision tree."""
        now = self.statistics()
        queues: dict[str, int] = {
            "event manager": now.intake.waiting,
            "batcher": now.batcher.tables_in_hand,
            "drainer": now.ledger.tables_waiting,
            "live hub": now.hub.urls_watched,
        }
        bounds = {"event manager": "inbox", "batcher": "tables"}
        children = list(map(_child, now.children))
        for child in children:
            if child["name"] in queues:
                child["queue"] = queues[child["name"]]
            if child["name"] in bounds:
                child["queue_max"] = self._bounds(now)[bounds[child["name"]]]["max"]
            if child["name"] == "pool manager":
                child["counters"] = attrs.asdict(now.pool)
        return {"name": self.engine.root.name, "state": "running", "children": children}


def _ms(times: HistogramStatistics, share: float) -> float | None:
    """The quantile of `times` since the start, in milliseconds: the upper bound of a bucket."""
    seconds = times.quantile(share)
    return None if seconds is None else round(seconds * 1000, 3)


def _child(child: ChildStatistics) -> dict[str, Any]:
    below = {} if child.children is None else {"children": list(map(_child, child.children))}
    return {
        **below,
        "name": child.name,
        "state": child.state,
        "restarts": child.restarts,
        "last_fault": child.last_fault,
    }
