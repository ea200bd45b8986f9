"""Measure likd next to its peers and to another version of itself, in one run, with every sum checked.

    scripts/bench                          all workloads, five rounds each
    scripts/bench --quick                  checks that everything works, in a minute or two
    scripts/bench --only single --runs 3   workloads whose name begins with it
    scripts/bench --against v0.2.0         alternating with that version
    scripts/bench --store postgresql       only a store that several nodes share
    scripts/bench --markdown docs/benchmarks.md --plot docs/images/benchmarks.svg

Client and server share the machine. Peers that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.contest import Bench
from benchmarks.markdown import has_place, machine, markdown, number, ratios, replace
from benchmarks.plot import svg
from benchmarks.suite import WORKLOADS
from benchmarks.versions import NoSuchVersion, versions

QUICK_SCALE = 0.02


def parser() -> argparse.ArgumentParser:
    it = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    it.add_argument("--runs", type=int, default=5, help="rounds of each, after one to warm up (5)")
    it.add_argument("--scale", type=float, default=1.0, help="share of the full amount of work (1.0)")
    it.add_argument("--quick", action="store_true", help="one round with little work in few cases: no figures to quote")
    it.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only workloads whose name begins with NAME"
    )
    it.add_argument("--store", choices=["postgresql"], help="the same as --only shared")
    it.add_argument("--case", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    it.add_argument("--against", metavar="REV", help="another version, alternating with this one")
    it.add_argument(
        "--soak", type=float, default=0.0, metavar="SECONDS", help="also run at full load for this long (0)"
    )
    it.add_argument(
        "--processes", type=int, default=2, metavar="N", help="front processes, where those are measured (2)"
    )
    it.add_argument("--markdown", type=Path, metavar="FILE", help="replace the figures in FILE")
    it.add_argument("--plot", type=Path, metavar="FILE", help="write a plot of processor time, an SVG")
    it.add_argument("--json", type=Path, metavar="FILE", help="write the figures of all rounds")
    it.add_argument("--directory", type=Path, help="where databases are created (the directory for temporary files)")
    return it


def run(bench: Bench, only: list[str], text: str) -> None:
    """Measure the cases whose name has `text`, of all workloads or of those whose name begins with one of `only`."""
    print(machine(), flush=True)
    for workload in WORKLOADS:
        name = workload.__name__
        if not only or any(name.startswith(some) for some in only):
            for case in workload(bench):
                if text in case.name:
                    bench.measure(name, case)
    for case_name, who, figure, mine, other in ratios(bench.outcomes):
        ratio = f"{mine / other:.2f}" if other else "?"
        print(f"{case_name}: {figure}: likd {number(mine)}, {who} {number(other)}: {ratio}")


def write(bench: Bench, arguments: argparse.Namespace) -> None:
    """Write the figures as requested."""
    plot = svg(bench.outcomes) if arguments.plot is not None else ""
    if plot:
        arguments.plot.write_text(plot)
    if arguments.markdown is not None:
        how = shlex.join(["scripts/bench", *sys.argv[1:]])
        place = os.path.relpath(arguments.plot, arguments.markdown.parent) if plot else ""
        replace(arguments.markdown, markdown(bench, how, place))
    if arguments.json is not None:
        outcomes = [
            {"workload": each.workload, "case": each.case.name, "contender": each.contender, "turns": each.turns}
            for each in bench.outcomes
        ]
        arguments.json.write_text(json.dumps({"missing": bench.missing, "outcomes": outcomes}, indent=1) + "\n")


def main() -> None:
    arguments = parser().parse_args()
    # Then servers and worktrees end with it, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    runs, scale = (1, QUICK_SCALE) if arguments.quick else (arguments.runs, arguments.scale)
    if arguments.store is not None:
        arguments.only.append("shared")
    names = [workload.__name__ for workload in WORKLOADS]
    if unknown := [some for some in arguments.only if not any(name.startswith(some) for name in names)]:
        parser().error(f"--only {unknown[0]}: workloads are {', '.join(names)}")
    if arguments.markdown is not None and not has_place(arguments.markdown):
        parser().error(f"--markdown {arguments.markdown}: it has no marked place for figures")
    try:
        with (
            versions(arguments.against) as those,
            tempfile.TemporaryDirectory(prefix="likd-bench-", dir=arguments.directory) as scratch,
        ):
            bench = Bench(those, Path(scratch), runs, scale, arguments.quick, arguments.soak, arguments.processes)
            run(bench, arguments.only, arguments.case)
            write(bench, arguments)
    except NoSuchVersion as error:
        parser().error(f"--against {arguments.against}: {error}")


if __name__ == "__main__":
    main()
