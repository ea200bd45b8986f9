"""What `likd send` shows: progress, bad lines, and the report at the end."""

from __future__ import annotations

from types import TracebackType

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from likd.cli.sending.batches import Batch
from likd.cli.sending.line_ranges import LineRange, Source
from likd.cli.sending.line_stats import LineStats

UNPARSABLE_SHOWN = 5


class Report:
    """Watches a delivery. Bad lines and failures go to standard error, with a progress bar if that is a terminal.

    `total_bytes` is the size of all inputs, None if it is unknown; `done_bytes` of them are done already.
    """

    def __init__(self, *, quiet: bool, total_bytes: int | None, done_bytes: int = 0) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._tally = LineStats()
        self._unparsable = 0
        self._in_trouble = False
        if self._console.is_terminal and not quiet:
            self._progress = Progress(
                SpinnerColumn(),
                BarColumn(),
                DownloadColumn(),
                TextColumn("{task.fields[counts]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[trouble]}", style="yellow"),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("", total=total_bytes, completed=done_bytes, counts="", trouble="")

    def __enter__(self) -> Report:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def settled(self, line_range: LineRange, line_stats: LineStats) -> None:
        """Count the lines of `line_range` as done."""
        self._tally.add(line_stats)
        self._in_trouble = False
        if self._progress:
            counts = f"{self._tally.events:,} events"
            if not self._tally.clean:
                counts += f", {self._tally.refused + self._tally.unparsable:,} bad lines"
            size = line_range.byte_range.end - line_range.byte_range.begin
            self._progress.update(self._task, advance=size, counts=counts, trouble="")

    def read(self, batch: Batch) -> None:
        """Report the bad lines of a log that is being loaded."""
        self.settled(batch.line_range, batch.line_stats)
        for line, detail in [*batch.refused, *batch.unparsable]:
            self.unparsable(batch.line_range.source, line, detail)

    def refused(self, source: Source, line: int, detail: str) -> None:
        """Report a refused line, and why."""
        self._say(f"{source.name}:{line}: {detail}")

    def unparsable(self, source: Source, line: int, detail: str) -> None:
        """Report a line that could not be read, the first few times."""
        self._unparsable += 1
        if self._unparsable <= UNPARSABLE_SHOWN:
            self._say(f"{source.name}:{line}: {detail}")
        if self._unparsable == UNPARSABLE_SHOWN:
            self._say("(more such lines are only counted)")

    def trouble(self, detail: str, seconds: float) -> None:
        """Report that sending fails: in the progress bar, or once until it works again."""
        if self._progress:
            self._progress.update(self._task, trouble=f"{detail}; retrying in {seconds:.0f} s")
        elif not self._in_trouble and not self._quiet:
            self._say(f"likd send: {detail}; retrying")
        self._in_trouble = True

    def _say(self, text: str) -> None:
        if self._progress:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)
