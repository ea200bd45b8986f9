"""A case and its contenders, who take turns: what is common to all workloads."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

Figures = dict[str, float]
"""The figures of one contender's turn, by name; the name has the unit."""

Measure = Callable[[], Figures]
"""Does the work once and measures it."""

ACKNOWLEDGED = "acknowledged, 1/s"
STORED = "in the store, 1/s"
PROCESSOR = "processor, µs"
MAIN = "of it main thread, µs"
OTHERS = "of it others, µs"
P99 = "p99, ms"

Open = Callable[[], AbstractContextManager[Measure]]


P = ParamSpec("P")
T = TypeVar("T")


class Wrong(SystemExit):
    """A sum differs or a server fails; then there are no figures."""


@dataclass(frozen=True)
class Version:
    """A version of likd: its name in tables, and where its source is."""

    name: str
    tree: Path


@dataclass(frozen=True)
class Contender:
    """A contender for the work. What `open` opens checks every sum when it is closed."""

    name: str
    open: Open


def contender(
    name: str, opens: Callable[P, AbstractContextManager[Measure]], *args: P.args, **more: P.kwargs
) -> Contender:
    """A contender that `opens` opens with these arguments."""
    return Contender(name, partial(opens, *args, **more))


@dataclass(frozen=True)
class Case:
    """Work that all `contenders` do, the first of them being this version of likd.

    If it has a `curve`, its processor time is a point of that curve in the plot, at `at`.
    """

    name: str
    contenders: list[Contender]
    curve: str = ""
    at: int = 0


@dataclass(frozen=True)
class Outcome:
    """A contender's figures for a case, in each of its turns."""

    workload: str
    case: Case
    contender: str
    turns: list[Figures]

    def of(self, figure: str) -> list[float]:
        """`figure` of all turns that have it."""
        return [turn[figure] for turn in self.turns if figure in turn]

    def median(self, figure: str) -> float:
        return statistics.median(self.of(figure))

    @property
    def figures(self) -> list[str]:
        return list(self.turns[0])


@dataclass
class Bench:
    """What all workloads of a run share: the amount of work, the versions, and the outcomes."""

    versions: list[Version]
    scratch: Path
    runs: int = 5
    scale: float = 1.0
    quick: bool = False
    soak_seconds: float = 0.0
    processes: int = 2
    """How many fronts there are, where they are measured."""
    outcomes: list[Outcome] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def scaled(self, n: int) -> int:
        """The share of `n` that is to be done."""
        return max(1, int(n * self.scale))

    @property
    def seconds(self) -> int:
        """How long a turn takes, if the time is given and not the work."""
        return max(1, int(5 * self.scale))

    def some(self, *sizes: T) -> tuple[T, ...]:
        """`sizes`; in a quick run, only the first."""
        return sizes[:1] if self.quick else sizes

    def likd(
        self,
        opens: Callable[Concatenate[Version, P], AbstractContextManager[Measure]],
        *args: P.args,
        **more: P.kwargs,
    ) -> list[Contender]:
        """Each version as a contender."""
        return [Contender(version.name, partial(opens, version, *args, **more)) for version in self.versions]

    def without(self, lacks: str) -> bool:
        """Whether something is missing, which is reported once."""
        if lacks and lacks not in self.missing:
            self.missing.append(lacks)
            print(f"missing: {lacks}", flush=True)
        return bool(lacks)

    def peers(self, lacks: str, *contenders: Contender) -> list[Contender]:
        """`contenders`, or none of them if something is missing."""
        return [] if self.without(lacks) else list(contenders)

    def measure(self, workload: str, case: Case) -> None:
        """Let all contenders do `case` in turn, after a turn each to warm up; record nothing if a sum differs."""
        turns: dict[str, list[Figures]] = {contender.name: [] for contender in case.contenders}
        print(f"{workload}: {case.name}", flush=True)
        with contextlib.ExitStack() as stack:
            measures = {each.name: stack.enter_context(each.open()) for each in case.contenders}
            for run in range(self.runs + 1):
                for name, measure in measures.items():
                    figures = measure()
                    if run:
                        turns[name].append(figures)
        for name, taken in turns.items():
            outcome = Outcome(workload, case, name, taken)
            self.outcomes.append(outcome)
            said = ", ".join(f"{figure} {outcome.median(figure):,.4g}" for figure in outcome.figures)
            print(f"  {name:<44} {said}", flush=True)


Workload = Callable[[Bench], Iterator[Case]]
