"""The figures as Markdown: a table for each workload, and likd's ratios to its peers."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from benchmarks.contest import ACKNOWLEDGED, P99, PROCESSOR, STORED, Bench, Outcome
from benchmarks.suite import WORKLOADS

BEGIN, END = "<!-- figures: scripts/bench -->\n", "<!-- end of figures -->"


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} × {model[1] if model else platform.machine()}, {memory:.0f} GiB, {python}"


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 999.5:
        digits = len(str(round(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _cell(outcome: Outcome, figure: str) -> str:
    turns = outcome.of(figure)
    if not turns:
        return ""
    low, median, high = number(min(turns)), number(outcome.median(figure)), number(max(turns))
    return median if low == high else f"{median} ({low} to {high})"


def _table(outcomes: list[Outcome]) -> Iterator[str]:
    figures = list(dict.fromkeys(figure for outcome in outcomes for figure in outcome.figures))
    yield f"| | {' | '.join(figures)} |"
    yield f"|---|{'---:|' * len(figures)}"
    for case, some in groupby(outcomes, lambda outcome: outcome.case.name):
        yield f"| **{case}** |{' |' * len(figures)}"
        for outcome in some:
            yield f"| {outcome.contender} | {' | '.join(_cell(outcome, figure) for figure in figures)} |"


def ratios(outcomes: list[Outcome]) -> Iterator[tuple[str, str, str, float, float]]:
    """Case, contender, figure, likd's median, the contender's: wherever both have the figure."""
    for _, some in groupby(outcomes, lambda outcome: (outcome.workload, outcome.case.name)):
        mine, *others = some
        for other in others:
            for figure in mine.figures:
                if figure in other.figures and not figure.startswith("of it"):
                    yield mine.case.name, other.contender, figure, mine.median(figure), other.median(figure)


def _ratio_table(outcomes: list[Outcome]) -> Iterator[str]:
    rows = [row for row in ratios(outcomes) if row[2] in (ACKNOWLEDGED, STORED, PROCESSOR, P99) or "likd " in row[1]]
    if not rows:
        return
    yield "| | beside | figure | likd | it | likd : it |"
    yield "|---|---|---|---:|---:|---:|"
    for case, who, figure, mine, other in rows:
        ratio = number(mine / other) if other else ""
        yield f"| {case} | {who} | {figure} | {number(mine)} | {number(other)} | {ratio} |"


def markdown(bench: Bench, how: str, plot: str = "") -> str:
    """All figures; `how` is the command that made them, `plot` the place of its plot."""
    lines = [f"`{how}`", "", f"on {machine()}; client and server on the same machine. Medians of {bench.runs} turns"]
    lines += ["(lowest to highest); all that stand in a case took turns."]
    if plot:
        lines += ["", f"![Processor time against what it depends on]({plot})"]
    headings = {workload.__name__: workload.__doc__ or "" for workload in WORKLOADS}
    for workload, some in groupby(bench.outcomes, lambda outcome: outcome.workload):
        outcomes = list(some)
        lines += ["", f"### {headings[workload]}", "", f"`--only {workload}`", "", *_table(outcomes)]
        table = list(_ratio_table(outcomes))
        if table:
            lines += ["", *table]
    if bench.missing:
        lines += ["", *(f"- missing: {what}" for what in bench.missing)]
    return "\n".join(lines) + "\n"


def has_place(file: Path) -> bool:
    """Whether `file` has a marked place for figures."""
    return file.exists() and bool(file.read_text().partition(BEGIN)[2].partition(END)[1])


def replace(file: Path, figures: str) -> None:
    """Put `figures` into `file`, between the lines that mark their place."""
    before, _, rest = file.read_text().partition(BEGIN)
    file.write_text(before + BEGIN + "\n" + figures + "\n" + END + rest.partition(END)[2])
