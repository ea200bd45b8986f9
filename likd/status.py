"""What the daemon says about itself: /v1/status and /v1/tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from likd.durability.applied_log import ranges
from likd.engine import Engine
from likd.runtime.histogram import Histogram
from likd.runtime.processes import ProcessStatistics, statistics
from likd.runtime.recent import FAULTS
from likd.runtime.supervisor import Child


@attrs.frozen
class StatusReport:
    """Reads the state objects of the engine's parts; changes none."""

    engine: Engine
    version: str
    others: Callable[[], Sequence[ProcessStatistics]] = tuple
    """The processes other than the engine's."""
    refused: Callable[[], Mapping[str, int]] = dict
    """How often callers were refused in the last 24 hours, by reason."""

    @property
    def processes(self) -> list[ProcessStatistics]:
        """The engine and the others, in numbers."""
        mine = statistics("engine", os.getpid())
        return [*([] if mine is None else [mine]), *self.others()]

    @property
    def lag_seconds(self) -> float:
        """The age of the oldest table that the store does not have."""
        waiting = self.engine.totals.ledger.waiting
        return round(max(0.0, self.engine.clock.now() - waiting[0].since), 3) if waiting else 0.0

    def status(self) -> dict[str, Any]:
        """The daemon in numbers. Times are seconds, sizes bytes."""
        engine = self.engine
        table = engine.manager.open_table
        return {
            "version": self.version,
            "refused_24h": {**engine.bounds.last_day.counts(), **self.refused()},
            "faults": [attrs.asdict(fault) for fault in FAULTS.newest()],
            "latency_ms": {
                "acknowledge_p50": _ms(engine.manager.acknowledgements, 0.5),
                "acknowledge_p99": _ms(engine.manager.acknowledgements, 0.99),
                "flush_p50": _ms(engine.journal.appends, 0.5),
                "flush_p99": _ms(engine.journal.appends, 0.99),
            },
            "bounds": self._bounds(),
            "processes": [attrs.asdict(process) for process in self.processes],
            "uptime_seconds": round(engine.monitor.uptime, 3),
            "rates": {name: round(rate.per_second, 1) for name, rate in engine.monitor.rates.items()},
            "totals": {
                "events_accepted": engine.manager.events_accepted,
                "requests_accepted": engine.manager.requests_accepted,
                "by_kind": {kind: engine.manager.accepted.get(kind, 0) for kind in engine.handlers.kinds},
                "unchanged": engine.actors.unchanged,
                "requests_refused": dict(engine.bounds.refused),
            },
            "tables": {
                "open": table.id,
                "open_urls": len(table.urls),
                "draining": engine.batcher.tables_in_hand,
                "waiting": engine.totals.ledger.tables_waiting,
                "rows_waiting": engine.totals.ledger.rows_waiting,
            },
            "journal": {
                "durability": engine.config.durability,
                "fault": engine.manager.journal_fault,
                "mismatches": engine.batcher.mismatches,
            },
            "batcher": {"written": engine.batcher.batches_written, "fault": engine.batcher.fault},
            "pool": attrs.asdict(engine.pool.status),
            "store": {
                "kind": engine.store.kind,
                "state": "failing" if engine.drainer.fault else "ok",
                "fault": engine.drainer.fault,
                "applied": engine.totals.ledger.applied,
                "lag_tables": engine.totals.ledger.tables_waiting,
                "lag_seconds": self.lag_seconds,
                "rows_written": engine.drainer.rows_written,
                "write_tolerance": engine.config.write_tolerance,
                "node": engine.store.node,
                "epoch": engine.store.epoch,
                "went_back": engine.drainer.went_back,
                "missing": {
                    "tables": ranges(engine.applied_tables.missing),
                    "counts": engine.applied_tables.missing_counts,
                },
            },
            "folding": {
                "done": engine.folder.done,
                "after": engine.folder.after,
                "folded": engine.folder.folded,
                "fault": engine.folder.fault,
            },
            "merging": [merge.old for merge in engine.totals.ledger.merging.values()],
            "handlers": [
                {"name": r.name, "faults": r.faults, "last_fault": r.last_fault or None, "off": r.off}
                for r in engine.handlers.registered
            ],
            "idempotency_keys": len(engine.keys),
            "live": {"urls_watched": engine.hub.urls_watched},
            "disk_free_bytes": engine.monitor.disk_free,
            "damaged_files": engine.monitor.damaged_files,
            "clock_doubtful": engine.clock.doubtful,
            "aside_bytes": engine.batcher.aside_bytes,
        }

    def _bounds(self) -> dict[str, dict[str, int]]:
        """The length of each queue, and its limit, beyond which requests are refused."""
        engine = self.engine
        pool = engine.pool.status
        return {
            "inbox": {"is": engine.intake.waiting, "max": engine.config.inbox_max},
            "tables": {"is": engine.batcher.tables_in_hand, "max": engine.config.tables_waiting_max // 2},
            "rows": {"is": engine.totals.ledger.rows_waiting, "max": engine.config.rows_waiting_max},
            "counters": {"is": pool.leased, "max": engine.config.counters_max},
            "aside_bytes": {"is": engine.batcher.aside_bytes, "max": engine.config.aside_bytes_max},
        }

    def tree(self) -> dict[str, Any]:
        """The supervision tree."""
        engine = self.engine
        pool = attrs.asdict(engine.pool.status)
        queues: dict[str, int] = {
            "event manager": engine.intake.waiting,
            "batcher": engine.batcher.tables_in_hand,
            "drainer": engine.totals.ledger.tables_waiting,
            "live hub": engine.hub.urls_watched,
        }
        bounds = {"event manager": "inbox", "batcher": "tables"}
        children = [_child(child) for child in engine.root.children]
        for child in children:
            if child["name"] in queues:
                child["queue"] = queues[child["name"]]
            if child["name"] in bounds:
                child["queue_max"] = self._bounds()[bounds[child["name"]]]["max"]
            if child["name"] == "pool manager":
                child["counters"] = pool
        return {"name": engine.root.name, "state": "running", "children": children}


def _ms(times: Histogram, share: float) -> float | None:
    """The quantile of `times` since the start, in milliseconds: the upper bound of a bucket."""
    seconds = times.quantile(share)
    return None if seconds is None else round(seconds * 1000, 3)


def _child(child: Child) -> dict[str, Any]:
    below = {} if child.below is None else {"children": [_child(each) for each in child.below.children]}
    return {
        **below,
        "name": child.name,
        "state": child.state,
        "restarts": child.restarts,
        "last_fault": child.last_fault,
    }
