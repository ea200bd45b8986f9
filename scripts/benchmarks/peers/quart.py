"""A Quart application on Hypercorn that does nothing: the least that likd's pages would cost there."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.contest import ACKNOWLEDGED, P99, Figures, Measure
from benchmarks.processes import processor
from benchmarks.wrk import gets, wrk

PROGRAM = """
import hypercorn.trio, trio
from hypercorn.config import Config
from quart_trio import QuartTrio
app = QuartTrio("bare")
@app.get("/")
async def nothing():
    return '{"counts":[]}', 200, {"Content-Type": "application/json"}
async def main():
    config = Config()
    config.bind, config.accesslog, config.errorlog = ["127.0.0.1:0"], None, None
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(hypercorn.trio.serve, app, config)
        print(bound[0], flush=True)
trio.run(main)
"""


@contextlib.contextmanager
def reads(connections: int, seconds: int) -> Iterator[Measure]:
    """Requests that it answers at once."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()

        def measure() -> Figures:
            before = processor(server.pid)
            ran = wrk(url, gets(["/"]), connections, seconds)
            return {ACKNOWLEDGED: ran.a_second, P99: ran.p99_ms, **(processor(server.pid) - before).per(ran.requests)}

        try:
            yield measure
        finally:
            server.terminate()
