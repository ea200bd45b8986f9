"""Run simulated worlds: scripts/simulate."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import structlog

from tests.sim import world


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=world.__doc__)
    parser.add_argument("--seed", type=int, help="run this one alone, with a trace")
    parser.add_argument("--nodes", type=int, default=1, help="nodes on one store (1)")
    parser.add_argument("--digest", action="store_true", help="of a seed, print only what tells its trace from others")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long seeds are run (60)")
    parser.add_argument("--until-broken", action="store_true", help="stop at the first seed that is broken")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        structlog.configure(processors=[_drop] if arguments.digest else [structlog.processors.KeyValueRenderer()])
        done = world.run(arguments.seed, nodes=arguments.nodes, verbose=not arguments.digest)
        if arguments.digest:
            print(done.trace.hexdigest())
        return
    structlog.configure(processors=[_drop])
    deadline = time.monotonic() + arguments.seconds
    seed, broken = arguments.first, 0
    figures: Counter[str] = Counter()
    while time.monotonic() < deadline and not (broken and arguments.until_broken):
        try:
            figures += world.run(seed, nodes=arguments.nodes).figures
        except Exception as error:
            broken += 1
            print(f"seed {seed}: {world.reasons(error)}")
        seed += 1
    print(f"{seed - arguments.first} seeds from {arguments.first}, {broken} broken:", dict(figures.most_common()))
    sys.exit(1 if broken else 0)


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()
