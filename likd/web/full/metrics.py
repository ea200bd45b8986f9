"""/metrics: the daemon in numbers, in the format that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from likd.model import IMPRESSION
from likd.runtime.histogram import HistogramStatistics
from likd.runtime.supervisor import ChildStatistics
from likd.runtime.watchdog import Watchdog
from likd.status import EngineStatistics, StatusReport
from likd.web.access.connection_limit import ConnectionLimit
from likd.web.access.gate import Gate
from likd.web.access.visitors import Visitors


@attrs.define(eq=False)
class Metrics:
    """Reports what the parts say about themselves, like the status, at the moment of the request."""

    board: StatusReport
    gate: Gate
    visitors: Visitors
    connections: ConnectionLimit
    request_faults: Callable[[], int]
    watchdog: Watchdog
    _registry: CollectorRegistry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def text(self) -> bytes:
        """The exposition in Prometheus's text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not know the names in advance."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of likd's metrics."""
        now = self.board.statistics()
        yield from self._requests(now)
        yield from _counting(now)
        yield from self._store(now)
        yield from _tasks(now)
        yield from self._connections(now)
        yield from _directory(now)
        yield from self._processes()

    def _requests(self, now: EngineStatistics) -> Iterator[Metric]:
        manager = now.manager
        events = CounterMetricFamily("likd_events", "Events by kind and by outcome.", labels=["kind", "result"])
        for result, by_kind in (("accepted", manager.accepted), ("refused", manager.refused)):
            for kind in self.board.engine.handlers.kinds:
                events.add_metric([kind, result], by_kind.get(kind, 0))
        events.add_metric([IMPRESSION, "ignored"], self.visitors.statistics().ignored)
        yield events
        yield _counter(
            "likd_events_unchanged", "Accepted likes and unlikes that changed nothing.", now.actors.unchanged
        )
        yield _counter("likd_requests_accepted", "Requests whose events were accepted.", manager.requests_accepted)
        yield _counters(
            "likd_requests_refused", "Requests refused because a bound was reached.", "bound", now.bounds.refused
        )
        yield _counters(
            "likd_callers_refused",
            "Requests refused because of who sent them, by HTTP status.",
            "status",
            self.gate.statistics().refused,
        )
        yield _histogram(
            "likd_acknowledgement_seconds",
            "From taking a group of requests to acknowledging it.",
            manager.acknowledgements,
        )

    def _store(self, now: EngineStatistics) -> Iterator[Metric]:
        drainer, missing = now.drainer, now.applied_tables
        yield _counter("likd_store_rows_written", "Rows written to the store.", drainer.rows_written)
        yield _gauge(
            "likd_store_lag_seconds",
            "Age of the oldest table that the store does not have.",
            self.board.lag_seconds(now.ledger),
        )
        yield _gauge("likd_store_failing", "1 while the store refuses writes.", int(drainer.fault is not None))
        yield _counter("likd_store_went_back", "Times the store went back in time.", drainer.went_back)
        yield _gauge(
            "likd_store_missing_tables",
            "Tables that the store lost and that no longer exist anywhere.",
            len(missing.missing_tables),
        )
        counts = {name: missing.missing_counts.get(name, 0) for name in self.board.engine.handlers.counts}
        yield _gauges("likd_store_missing_counts", "Counts in those tables.", "name", counts)
        yield _gauge(
            "likd_store_write_tolerance_rows_per_second",
            "The most rows per second written to the store.",
            drainer.write_tolerance,
        )
        for name, text, field in (
            (
                "likd_node_lag_seconds",
                "Age of the oldest table that a node has not drained, as it said last.",
                "lag_seconds",
            ),
            ("likd_node_seen_seconds", "How long ago a node was seen.", "seen_seconds"),
            ("likd_node_epoch", "How often a node of a shared store was started.", "epoch"),
        ):
            family = GaugeMetricFamily(name, text, labels=["node", "name"])
            for node in self.board.nodes(now):
                if not node["retired"]:
                    family.add_metric([str(node["node"]), node["name"]], node[field])
            yield family

    def _connections(self, now: EngineStatistics) -> Iterator[Metric]:
        connections = self.connections.statistics()
        yield _counter(
            "likd_request_faults", "Requests and connections that failed inside likd.", self.request_faults()
        )
        yield _gauge("likd_connections", "Open connections.", connections.open)
        yield _counter(
            "likd_connections_refused", "Connections closed because there were too many.", connections.refused
        )
        yield _gauge("likd_urls_watched", "Distinct URLs being watched live.", now.hub.urls_watched)
        yield _gauge("likd_idempotency_keys", "Idempotency keys remembered.", now.keys.keys)
        yield _counter(
            "likd_event_loop_blocked",
            "Times the event loop was blocked for longer than allowed.",
            self.watchdog.statistics().blocked,
        )

    def _processes(self) -> Iterator[Metric]:
        processes = self.board.processes
        yield _counters(
            "likd_process_cpu_seconds",
            "Processor time of the engine and of each front since its start.",
            "process",
            {process.name: process.cpu_seconds for process in processes},
        )
        memory = GaugeMetricFamily(
            "likd_process_memory_bytes", "Memory used by the engine and by each front.", labels=["process"]
        )
        for process in processes:
            memory.add_metric([process.name], process.memory_bytes)
        yield memory
        info = GaugeMetricFamily("likd_build_info", "1, with the version.", labels=["version"])
        info.add_metric([self.board.version], 1)
        yield info


def _counting(now: EngineStatistics) -> Iterator[Metric]:
    journal, manager, ledger, batcher = now.journal, now.manager, now.ledger, now.batcher
    yield _histogram("likd_journal_fsync_seconds", "Appends to the journal, with their fsync.", journal.appends)
    yield _counter("likd_journal_bytes", "Bytes written to the journal.", journal.bytes_written)
    yield _counter("likd_journal_failures", "Failed writes to the journal.", journal.failures)
    yield _counter("likd_journal_mismatches", "Tables whose counters differed from their journal.", batcher.mismatches)
    yield _gauge("likd_table_open_urls", "Unique URLs in the open table.", manager.open_urls)
    yield _gauge("likd_tables_draining", "Tables without a batch file yet.", batcher.tables_in_hand)
    yield _gauge("likd_tables_waiting", "Batched tables waiting for the store.", ledger.tables_waiting)
    yield _gauge("likd_rows_waiting", "Rows waiting for the store.", ledger.rows_waiting)
    yield _gauge("likd_inbox_requests", "Requests waiting for the event manager.", now.intake.waiting)
    yield _counter("likd_batch_files_written", "Batch files written.", batcher.batches_written)


def _tasks(now: EngineStatistics) -> Iterator[Metric]:
    pool = now.pool
    yield _gauge("likd_counters", "Counters in the pool.", pool.counters)
    yield _gauge("likd_counters_leased", "Counters leased to a URL.", pool.leased)
    yield _counter("likd_counters_hung", "Counters restarted because their observer did not return.", pool.hung)
    yield _counter("likd_counters_crashed", "Counters restarted because they crashed.", pool.crashed)
    yield _counter("likd_counters_worn", "Counters replaced after their last lease.", pool.worn)
    restarts = {child.name: child.restarts for child in _walk(now.children)}
    yield _counters("likd_child_restarts", "Restarts of supervised tasks.", "child", restarts)
    faults = {handler.name: handler.faults for handler in now.handlers}
    yield _counters("likd_handler_faults", "Faults of event handlers.", "handler", faults)
    yield _counter(
        "likd_listener_faults",
        "Failures of parts that were waiting for an acknowledgement.",
        now.manager.listener_faults,
    )


def _directory(now: EngineStatistics) -> Iterator[Metric]:
    monitor, folder = now.monitor, now.folder
    if monitor.disk_free_bytes is not None:
        yield _gauge("likd_disk_free_bytes", "Free space on the data directory's disk.", monitor.disk_free_bytes)
    yield _gauge("likd_damaged_files", "Files set aside as damaged that are still there.", monitor.damaged_files)
    yield _gauge("likd_folding", "1 while URLs counted under earlier rules are being folded.", int(not folder.done))
    yield _counter("likd_urls_folded", "URLs folded into the ones that the current rules count.", folder.folded)
    yield _gauge("likd_folding_failing", "1 while folding waits for the store.", int(folder.fault is not None))
    yield _gauge("likd_clock_doubtful", "1 while the system's clock is not trusted.", int(now.clock.doubtful))
    yield _gauge(
        "likd_aside_bytes", "Disk space taken by events that a handler could not count.", now.batcher.dead_letter_bytes
    )


def _walk(children: Iterable[ChildStatistics]) -> Iterator[ChildStatistics]:
    """All tasks, and those of the supervisors among them."""
    for child in children:
        yield child
        yield from _walk(child.children or ())


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _histogram(name: str, text: str, histogram: HistogramStatistics) -> Metric:
    return HistogramMetricFamily(name, text, buckets=histogram.cumulative(), sum_value=histogram.sum)
