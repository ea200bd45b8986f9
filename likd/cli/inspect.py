"""`likd inspect`: shows what is in batch files, journal segments and data directories, and whether it is sound."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from likd.cli.client import printable
from likd.durability import batch_file, dead_letters, filenames, journal
from likd.durability.batch_file import Batch, DamagedBatch
from likd.durability.filenames import BATCH, JOURNAL
from likd.durability.journal import Entry, SegmentDamage
from likd.model import Counts, Events, add_events


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR...", type=click.Path(path_type=Path))
@click.option(
    "--rows", metavar="N", type=click.IntRange(0), default=10, show_default=True, help="How many URLs to show of each."
)
def inspect(paths: tuple[Path, ...], rows: int) -> None:
    """Show the contents of batch files (tab_<id>), journal segments (journal_<id>) and data directories.

    Verifies every checksum and changes nothing. Can be run while the daemon runs.

    \b
    Exit status: 0 if everything is sound, 1 if something is damaged, 2 if something can't be read.
    """
    status = 0
    for path in paths:
        try:
            for file in _files(path):
                status = max(status, _inspect(file, rows))
        except OSError as error:
            click.echo(f"likd inspect: {error.filename or path}: {error.strerror}", err=True)
            status = 2
    sys.exit(status)


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if _kind(file))
    if not files:
        click.echo(f"{path}: no batch files or journal segments are waiting here")
    return files


def _kind(path: Path) -> str | None:
    if any(filenames.dead_letters([path.name])):
        return "dead letters"
    for name, kind in (("batch", BATCH), ("journal", JOURNAL)):
        if kind.id_of(path.name) is not None:
            return name
    return None


def _inspect(path: Path, rows: int) -> int:
    data = path.read_bytes()
    kind = _kind(path)
    if kind == "journal" or (kind is None and not data.startswith(b"likd-batch ")):
        return _inspect_journal(path, data, rows)
    if kind == "dead letters":
        try:
            kept = dead_letters.decode(data)
        except msgspec.DecodeError as error:
            click.echo(f"{path}: DAMAGED: {error}")
            return 1
        click.echo(f"{path}: {sum(event.times for event in kept.events):,} events that a handler could not count")
        return 0
    try:
        batch = batch_file.decode(data)
    except DamagedBatch as error:
        click.echo(f"{path}: DAMAGED: {error}")
        return 1
    _show_batch(path, batch, rows)
    return 0


def _show_batch(path: Path, batch: Batch, rows: int) -> None:
    closed = datetime.fromtimestamp(batch.closed, UTC).isoformat(" ", "seconds")
    click.echo(
        f"{path}: table {batch.table_id}, sound: {len(batch.rows):,} URLs, {_sums(batch.sums)},"
        f" open for {batch.closed - batch.opened:.1f} s until {closed}"
    )
    hottest = sorted(batch.rows.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    for url, counts in hottest[:rows]:
        click.echo(f"  {_sums(counts)}  {printable(url)}")
    if batch.merge is not None:
        done = "erased" if batch.merge.erases else f"merged into {printable(batch.merge.new)}"
        click.echo(f"  then {printable(batch.merge.old)} is {done}")


def _inspect_journal(path: Path, data: bytes, rows: int) -> int:
    events: Events = {}
    frames = keys = 0
    damages: list[SegmentDamage] = []
    known = False
    for record in journal.read(data):
        if isinstance(record, SegmentDamage):
            damages.append(record)
            continue
        known = True
        if isinstance(entry := record[1], Entry):
            frames += 1
            keys += len(entry.keys)
            add_events(events, entry.events)
    if not known and _kind(path) is None:
        click.echo(f"{path}: neither a batch file nor a journal segment")
        return 2
    sums = {f"{kind}s": sum(urls.values()) for kind, urls in events.items()}
    torn = [damage for damage in damages if damage.torn]
    state = "sound" if not damages else "ends in a torn frame (never acknowledged)" if damages == torn else "DAMAGED"
    click.echo(f"{path}: {state}: {frames:,} frames, {len(data):,} bytes, {keys:,} keys, {_sums(sums)}")
    for damage in damages:
        click.echo(f"  bytes {damage.begin} to {damage.end} can't be read")
    hottest = sorted(
        ((n, kind, url) for kind, urls in events.items() for url, n in urls.items()),
        key=lambda item: (-item[0], item[1:]),
    )
    for n, kind, url in hottest[:rows]:
        click.echo(f"  {n:,} {kind}s  {printable(url)}")
    return 1 if len(torn) < len(damages) else 0


def _sums(counts: Counts) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "nothing"
