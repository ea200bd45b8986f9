"""Chaos: real daemons under real load are killed, stopped, crashed, hung, starved of disk and cut off from their store.

Clients send events with Idempotency-Keys and retry until each request is acknowledged; a reader checks that no total
goes backwards. At the end: acknowledged == counted, for each URL and kind, over HTTP and in the database.

    scripts/chaos --seconds 60
    scripts/chaos --seconds 1800 --seed 7 --json chaos.json
    scripts/chaos --processes 2
    scripts/chaos --nodes 3 --store postgresql
    scripts/chaos --nodes 3 --store redis+cluster

With a store in PostgreSQL, the server, too, is killed, replaced by a standby that missed commits, and cut off from some
of the nodes; and likes minus unlikes by actors, who use any node, must equal the actors who like. With one in a
cluster of Redis, its servers are killed, stopped, replaced by replicas that missed writes, and move slots.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
from torment.daemon import Daemon
from torment.single import Chaos

TMPFS_BYTES = 192 << 20
"""More than the store's write-ahead log may take, with its checkpoint."""


def mount(path: Path) -> bool:
    """Make `path` a small disk of its own, if that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(path)]
    return bool(shutil.which("mount")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def torment_one(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Chaos around one daemon with its embedded store: the figures, and what went wrong."""
    disk = directory / "disk"
    disk.mkdir()
    mounted = mount(disk)
    if not mounted:
        print("the disk is not filled: no small file system can be mounted here")
    daemon = Daemon(disk / "data", free_port(), directory / "log", "--processes", str(arguments.processes))
    chaos = Chaos(daemon, disk / "data", random.Random(arguments.seed), small_disk=mounted)
    wrong: list[str] = []
    try:
        trio.run(chaos.run, arguments.seconds, arguments.clients)
    except* Exception as faults:
        wrong = [f"{type(fault).__name__}: {fault}" for fault in _leaves(faults)]
    finally:
        daemon.signal(signal.SIGKILL)
        if daemon.process is not None:
            daemon.process.wait()
        if wrong and arguments.keep:
            shutil.copytree(directory, arguments.keep, dirs_exist_ok=True)
        if mounted:
            subprocess.run(["umount", str(disk)], check=False)
    return {"lives": daemon.lives, **chaos.figures, "faults": dict(sorted(chaos.faults.items())), "wrong": wrong}


def torment_nodes(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Chaos around several nodes on one store: the same."""
    from torment.cluster import ClusterChaos
    from torment.nodes import NodesChaos

    ports = [free_port() for _ in range(arguments.nodes)]
    made = ClusterChaos if arguments.store == "redis+cluster" else NodesChaos
    chaos = made(directory, ports, random.Random(arguments.seed))
    wrong: list[str] = []
    try:
        trio.run(chaos.run, arguments.seconds, arguments.clients)
    except* Exception as faults:
        wrong = [f"{type(fault).__name__}: {fault}" for fault in _leaves(faults)]
    finally:
        chaos.end()
        if wrong and arguments.keep:
            shutil.copytree(directory, arguments.keep, dirs_exist_ok=True)
    return {"lives": chaos.lives, **chaos.figures, "faults": dict(sorted(chaos.faults.items())), "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the chaos lasts (60)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="the seed of the schedule"
    )
    parser.add_argument("--clients", type=int, default=8, help="clients that send events (8)")
    parser.add_argument("--processes", type=int, default=1, help="front processes, which are attacked, too (1: none)")
    parser.add_argument(
        "--store",
        choices=["sqlite", "postgresql", "redis+cluster"],
        default="sqlite",
        help="what is counted in (sqlite)",
    )
    parser.add_argument("--nodes", type=int, default=1, help="nodes on one store, which is not sqlite then (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and log there if something goes wrong")
    arguments = parser.parse_args()
    if arguments.nodes > 1 and arguments.store == "sqlite":
        parser.error("--nodes: several nodes need --store postgresql or redis+cluster")
    print(f"seed {arguments.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="likd-chaos-") as directory:
        torment = torment_one if arguments.store == "sqlite" else torment_nodes
        found = torment(arguments, Path(directory))
    figures = {"seed": arguments.seed, "seconds": round(time.monotonic() - began, 1), **found}
    _print(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    for fault in found["wrong"]:
        print(f"WRONG (seed {arguments.seed}): {fault}")
    if found["wrong"]:
        sys.exit(1)
    print("acknowledged == counted, for each URL and kind")


def _print(figures: Mapping[str, Any]) -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            for fault, times in value.items():
                print(f"{times:>12,}  {fault}")
        elif isinstance(value, int | float):
            print(f"{value:>12,}  {name}")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


if __name__ == "__main__":
    main()
