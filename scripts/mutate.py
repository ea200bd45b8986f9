"""Mutate: breaks likd's mechanisms one by one, each in a copy of its own, and reports which tests caught which.

A mutation is a small patch in scripts/mutations.toml: in `file`, `old` (which occurs once) becomes `new`. It names the
tests that should notice; "simulation" stands for simulated lives until one breaks, and "simulation of nodes" for those
of three nodes on one store.

    scripts/mutate
    scripts/mutate "acknowledge before the flush" --markdown
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent
TABLE = Path(__file__).with_name("mutations.toml")
PATIENCE_SECONDS = 300
SIMULATIONS = {"simulation": "1", "simulation of nodes": "3"}
"""How many nodes each has."""
DID_NOT_END = "did not end"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Mutation:
    """One way to break likd."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = attrs.field(converter=tuple)

    def apply(self, root: Path) -> None:
        """Break the copy at `root`. Raises ValueError unless the place occurs exactly once."""
        path = root / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} has {text.count(self.old)} times {self.old!r}, not once")
        path.write_text(text.replace(self.old, self.new))


def load() -> list[Mutation]:
    """The table."""
    with TABLE.open("rb") as file:
        return [Mutation(**entry) for entry in tomllib.load(file)["mutation"]]


def caught_by(mutation: Mutation, *, simulation_seconds: float) -> list[str]:
    """The tests that fail with `mutation`."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "likd"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "data"))
        mutation.apply(copy)
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        caught: list[str] = []
        named = [test for test in mutation.tests if test not in SIMULATIONS]
        if named:
            command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", *named]
            found = _run(command, copy, environment)
            caught += named if found == DID_NOT_END else _FAILED.findall(found)
        for name in [test for test in mutation.tests if test in SIMULATIONS]:
            command = [sys.executable, "-m", "tests.sim", "--seconds", str(simulation_seconds), "--until-broken"]
            found = _run([*command, "--nodes", SIMULATIONS[name]], copy, environment)
            broken = re.search(r"^seed (\d+):", found, re.MULTILINE)
            if found == DID_NOT_END:
                caught.append(f"{name}, a life that does not end")
            caught += [f"{name}, seed {broken[1]}"] if broken else []
    return list(dict.fromkeys(caught))


def _run(command: list[str], copy: Path, environment: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return DID_NOT_END
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these mutations")
    parser.add_argument("--seconds", type=float, default=60.0, help="simulated time for each, at most (60)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/reliability.md")
    arguments = parser.parse_args()
    mutations = [each for each in load() if not arguments.names or each.name in arguments.names]
    line = "| {} | {} |" if arguments.markdown else "{:60} {}"
    print(line.format("broken on purpose", "caught by") + ("\n|---|---|" if arguments.markdown else ""), flush=True)
    missed = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = pool.map(partial(caught_by, simulation_seconds=arguments.seconds), mutations)
        for mutation, caught in zip(mutations, found, strict=True):
            missed += not caught
            print(line.format(mutation.name, _told(caught)), flush=True)
    print(f"{len(mutations)} mutations, {missed} not caught")
    sys.exit(1 if missed else 0)


def _told(caught: list[str]) -> str:
    if not caught:
        return "NOTHING"
    first = caught[0].removeprefix("tests/").replace("::", ": ")
    return first + (f" and {len(caught) - 1} more" if len(caught) > 1 else "")


if __name__ == "__main__":
    main()
