"""All workloads, in the order in which they are measured."""

from __future__ import annotations

from benchmarks.contest import Workload
from benchmarks.workloads.bulk import bulk
from benchmarks.workloads.fronts import fronts
from benchmarks.workloads.live import live
from benchmarks.workloads.long_tail import long_tail
from benchmarks.workloads.mixed import mixed
from benchmarks.workloads.reads import reads
from benchmarks.workloads.replay import replay
from benchmarks.workloads.shared import shared
from benchmarks.workloads.single import single
from benchmarks.workloads.soak import soak
from benchmarks.workloads.start import start
from benchmarks.workloads.store import store
from benchmarks.workloads.waiting import waiting
from benchmarks.workloads.zipf import zipf

WORKLOADS: list[Workload] = [
    start,
    replay,
    bulk,
    zipf,
    long_tail,
    single,
    mixed,
    reads,
    live,
    fronts,
    store,
    shared,
    waiting,
    soak,
]
