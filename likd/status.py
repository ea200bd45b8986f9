"""What the daemon says of itself: /v1/status and /v1/tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from likd.durability.applied_log import ranges
from likd.engine import Engine
from likd.runtime.processes import ProcessStatistics, statistics
from likd.runtime.supervisor import Child


@attrs.frozen
class StatusReport:
    """Reads the state objects of the engine's parts; changes none."""

    engine: Engine
    version: str
    others: Callable[[], Sequence[ProcessStatistics]] = tuple
    """The processes besides the engine's."""

    @property
    def processes(self) -> list[ProcessStatistics]:
        """The engine and the others, in numbers."""
        mine = statistics("engine", os.getpid())
        return [*([] if mine is None else [mine]), *self.others()]

    @property
    def lag_seconds(self) -> float:
        """How old the oldest table is that the store does not have."""
        waiting = self.engine.totals.waiting
        return round(max(0.0, self.engine.wall_clock() - waiting[0].since), 3) if waiting else 0.0

    def status(self) -> dict[str, Any]:
        """The daemon in numbers. Times are seconds, sizes bytes."""
        engine = self.engine
        table = engine.manager.open_table
        return {
            "version": self.version,
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
                "waiting": engine.totals.tables_waiting,
                "rows_waiting": engine.totals.rows_waiting,
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
                "applied": engine.totals.applied,
                "lag_tables": engine.totals.tables_waiting,
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
            "merging": [merge.old for merge in engine.totals.merging.values()],
            "handlers": [
                {"name": r.name, "faults": r.faults, "last_fault": r.last_fault or None, "off": r.off}
                for r in engine.handlers.registered
            ],
            "idempotency_keys": len(engine.keys),
            "live": {"urls_watched": engine.hub.urls_watched},
            "disk_free_bytes": engine.monitor.disk_free,
            "damaged_files": engine.monitor.damaged_files,
            "clock_doubtful": engine.clock_doubtful(),
            "aside_bytes": engine.batcher.aside_bytes,
        }

    def tree(self) -> dict[str, Any]:
        """The supervision tree."""
        engine = self.engine
        pool = attrs.asdict(engine.pool.status)
        queues: dict[str, int] = {
            "event manager": engine.intake.waiting,
            "batcher": engine.batcher.tables_in_hand,
            "drainer": engine.totals.tables_waiting,
            "live hub": engine.hub.urls_watched,
        }
        children = [_child(child) for child in engine.root.children]
        for child in children:
            if child["name"] in queues:
                child["queue"] = queues[child["name"]]
            if child["name"] == "pool manager":
                child["counters"] = pool
        return {"name": engine.root.name, "state": "running", "children": children}


def _child(child: Child) -> dict[str, Any]:
    below = {} if child.below is None else {"children": [_child(each) for each in child.below.children]}
    return {
        **below,
        "name": child.name,
        "state": child.state,
        "restarts": child.restarts,
        "last_fault": child.last_fault,
    }
