"""What the daemon says of itself: /v1/status and /v1/tree."""

from __future__ import annotations

import time
from typing import Any

import attrs

from likd.batcher import Batcher
from likd.bounds import Bounds
from likd.config import Config
from likd.drainer import Drainer
from likd.handlers import Handlers
from likd.keys import KeyWindow
from likd.live import LiveHub
from likd.manager import EventManager
from likd.monitor import Monitor
from likd.pool import PoolManager
from likd.store import Store
from likd.supervisor import Child, Supervisor
from likd.totals import Totals


@attrs.frozen(kw_only=True)
class StatusBoard:
    """Reads the state objects of all components; changes none."""

    config: Config
    version: str
    root: Supervisor
    manager: EventManager
    pool: PoolManager
    batcher: Batcher
    drainer: Drainer
    totals: Totals
    store: Store
    handlers: Handlers
    keys: KeyWindow
    hub: LiveHub
    monitor: Monitor
    bounds: Bounds

    def status(self) -> dict[str, Any]:
        """The daemon in numbers. Times are seconds, sizes bytes."""
        waiting = self.totals.waiting
        table = self.manager.open_table
        return {
            "version": self.version,
            "uptime_seconds": round(self.monitor.uptime, 3),
            "rates": {name: round(rate.per_second, 1) for name, rate in self.monitor.rates.items()},
            "totals": {
                "events_accepted": self.manager.events_accepted,
                "requests_accepted": self.manager.requests_accepted,
                "requests_refused": dict(self.bounds.refused),
            },
            "tables": {
                "open": table.id,
                "open_urls": len(table.urls),
                "draining": self.batcher.tables_in_hand,
                "waiting": sum(len(item.tables) for item in waiting),
                "rows_waiting": self.totals.rows_waiting,
            },
            "journal": {
                "durability": self.config.durability,
                "fault": self.manager.journal_fault,
                "mismatches": self.batcher.mismatches,
            },
            "batcher": {"written": self.batcher.batches_written, "fault": self.batcher.fault},
            "pool": attrs.asdict(self.pool.status),
            "store": {
                "kind": self.store.kind,
                "state": "failing" if self.drainer.fault else "ok",
                "fault": self.drainer.fault,
                "applied": self.totals.applied,
                "lag_tables": sum(len(item.tables) for item in waiting),
                "lag_seconds": round(max(0.0, time.time() - waiting[0].since), 3) if waiting else 0.0,
                "rows_written": self.drainer.rows_written,
                "write_tolerance": self.config.write_tolerance,
            },
            "handlers": [
                {"name": r.name, "faults": r.faults, "last_fault": r.last_fault or None, "off": r.off}
                for r in self.handlers.registered
            ],
            "idempotency_keys": len(self.keys),
            "live": {"urls_watched": self.hub.urls_watched},
            "disk_free_bytes": self.monitor.disk_free,
        }

    def tree(self) -> dict[str, Any]:
        """The supervision tree."""
        pool = attrs.asdict(self.pool.status)
        children = [_child(child) for child in self.root.children]
        for child in children:
            if child["name"] == "pool manager":
                child["counters"] = pool
        return {"name": self.root.name, "state": "running", "children": children}


def _child(child: Child) -> dict[str, Any]:
    return {
        "name": child.name,
        "state": child.state,
        "restarts": child.restarts,
        "last_fault": child.last_fault,
    }
