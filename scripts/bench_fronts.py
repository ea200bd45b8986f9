"""Processor time of engine and fronts for each request, beside one process: more cores carry what follows from it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict

from bench import SITE, THOUSAND, ZIPF, Bench, Daemon, Status

SCRIPT = """
local n, bulk = 0, BULK
function request()
  if "METHOD" == "GET" then
    n = n + 1
    return wrk.format("GET", "TARGET?url=SITE" .. n % 1000)
  end
  local lines = {}
  for i = 1, bulk do
    n = n + 1
    lines[i] = '{"kind":"like","url":"SITE' .. (PAGE) .. '"}'
  end
  return wrk.format("POST", "/v1/events", {["Content-Type"] = "application/json"}, table.concat(lines, "\\n"))
end
"""
WORKLOADS_OF_FRONTS = (
    ("single likes, 2 connections", "POST", "/v1/events", 1, THOUSAND, 2),
    ("single likes, 64 connections", "POST", "/v1/events", 1, THOUSAND, 64),
    ("single likes, 256 connections", "POST", "/v1/events", 1, THOUSAND, 256),
    ("single likes, Zipf over 100,000 URLs, 256 connections", "POST", "/v1/events", 1, ZIPF, 256),
    ("100 likes a request, 64 connections", "POST", "/v1/events", 100, THOUSAND, 64),
    ("counts of a URL, 64 connections", "GET", "/v1/counts", 1, THOUSAND, 64),
    ("badges, 64 connections", "GET", "/badge.svg", 1, THOUSAND, 64),
)


def fronts(bench: Bench) -> None:
    """Each workload on one process and on `bench.processes` fronts, in turns, with the client on a core of its own."""
    if not shutil.which("wrk"):
        bench.missing.append("wrk: fronts were not measured")
        return
    for name, method, target, bulk, page, connections in WORKLOADS_OF_FRONTS:
        script = SCRIPT.replace("METHOD", method).replace("TARGET", target).replace("BULK", str(bulk))
        script = script.replace("PAGE", page).replace("SITE", SITE)
        found: dict[str, list[float]] = defaultdict(list)
        daemons = {"one process": Daemon(), "engine": Daemon("--processes", str(bench.processes))}
        for run in range(bench.runs + 1):
            for kind, daemon in daemons.items():
                figures = _measure(daemon, script, connections, bulk if method == "POST" else 0, bench)
                if run:
                    for each, value in figures.items():
                        found[f"{kind}: {each}" if kind == "one process" else each].append(value)
        for daemon in daemons.values():
            daemon.stop()
        for each, values in found.items():
            bench.add("fronts", f"{name}, {each}", "µs" if "processor" in each else "", values)


def _measure(daemon: Daemon, script: str, connections: int, bulk: int, bench: Bench) -> dict[str, float]:
    seconds = max(1, int(3 * bench.scale))
    before = daemon.status()
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["taskset", "-c", str((os.cpu_count() or 1) - 1), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        command += ["-s", file.name, daemon.url]
        text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    after = daemon.status()
    (requests,) = map(int, re.findall(r"(\d+) requests in", text))
    counted = after["totals"]["events_accepted"] - before["totals"]["events_accepted"]
    if "Non-2xx" in text or not requests * bulk <= counted <= (requests + connections) * max(bulk, 1):
        raise SystemExit(f"WRONG: {counted} counted of {requests} requests: {text}")
    used = {
        process["name"]: (process["cpu_seconds"] - earlier["cpu_seconds"]) / requests * 1e6
        for process, earlier in zip(after["processes"], before["processes"], strict=True)
    }
    figures = {"processor": used["engine"]}
    others = [value for name, value in used.items() if name != "engine"]
    if others:
        # Besides those of connections that open and close.
        messages = max(1, _messages(after, before) - 2 * connections)
        figures = {
            "processor of the engine": used["engine"],
            "processor of the fronts together": sum(others),
            "processor of the engine for a message": used["engine"] * requests / messages,
            "requests a message": requests / messages,
        }
    return figures


def _messages(after: Status, before: Status) -> int:
    was, now = (sum(process.get("messages", 0) for process in status["processes"]) for status in (before, after))
    return int(now) - int(was)


WORKLOADS = [fronts]
