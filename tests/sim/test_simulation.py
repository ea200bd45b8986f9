"""Thousands of simulated lives: whatever happens, acknowledged is counted once, refused is not, no total goes back.

A failing seed replays alone, with a trace: scripts/simulate --seed N. What it notices when it is broken on purpose is
in the table of docs/reliability.md. Found by some thousand seeds, in code that was thought to be right: cutting off the
first parts of a group whose last part may come back, and leaving half a failed write to a restarted event manager.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import structlog

from tests.sim import world

SECONDS = float(os.environ.get("LIKD_SIMULATION_SECONDS", "5"))
NODES = (1, 3)


def drop_logs(*_: object) -> dict[str, object]:
    raise structlog.DropEvent


def run_seeds(nodes: int, seconds: float) -> tuple[int, list[str]]:
    """Run worlds of so many nodes for so long: how many, and what broke."""
    structlog.configure(processors=[drop_logs])
    deadline = time.monotonic() + seconds
    broken: list[str] = []
    seed = 0
    while time.monotonic() < deadline and len(broken) < 3:
        try:
            world.run(seed, nodes=nodes)
        except Exception as error:
            broken.append(f"seed {seed} of {nodes} nodes: {world.reasons(error)}")
        seed += 1
    return seed, broken


def test_no_promise_is_broken_in_any_world() -> None:
    with ProcessPoolExecutor(len(NODES), mp_context=get_context("spawn")) as pool:
        parts = [pool.submit(run_seeds, nodes, SECONDS) for nodes in NODES]
        done = [part.result() for part in parts]

    assert not [line for _, broken in done for line in broken]
    assert all(seeds for seeds, _ in done)


@pytest.mark.parametrize(("nodes", "hash_seed"), [(1, "0"), (3, "1")])
def test_a_seed_is_the_same_world_each_time(nodes: int, hash_seed: str) -> None:
    command = [sys.executable, "-m", "tests.sim", "--seed", "9", "--nodes", str(nodes), "--digest"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == [world.run(9, nodes=nodes).trace.hexdigest()]
