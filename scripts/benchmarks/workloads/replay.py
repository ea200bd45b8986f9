"""A start with a journal that a crash left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.contest import Bench, Case, Figures, Measure, Version, contender
from benchmarks.daemon import FULL_SPEED, applied, check, likd
from benchmarks.loads import SITE
from likd.durability import frames, journal
from likd.durability.filenames import JOURNAL

REPLAYED = "replayed, MB/s"
SEGMENT_BYTES = 64 << 20
SINGLE_BYTES = 64 << 20
BULK_BYTES = 512 << 20
URLS = 2000


def write(directory: Path, size: int, urls_a_group: int) -> Counter[str]:
    """Write a journal of about `size` bytes whose groups like that many URLs each. Returns its likes."""
    directory.mkdir()
    likes: Counter[str] = Counter()
    written = table = 0
    while written < size:
        table += 1
        groups = [
            {f"{SITE}{table}/{n}": 1 for n in range(at, at + urls_a_group)} for at in range(0, URLS, urls_a_group)
        ]
        each = [
            (frames.frame(msgspec.msgpack.encode(journal.Entry(0, 0, 1, [], {"like": urls}))), urls) for urls in groups
        ]
        with (directory / JOURNAL.name(table)).open("wb") as file:
            segment = number = 0
            while segment < SEGMENT_BYTES and written < size:
                frame, urls = each[number % len(each)]
                segment += file.write(frame)
                written += len(frame)
                number += 1
        for at, (_, urls) in enumerate(each):
            times = number // len(each) + (at < number % len(each))
            likes.update({url: times for url in urls if times})
    return likes


def _bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


@contextlib.contextmanager
def replayed(version: Version, journals: Path, likes: Counter[str]) -> Iterator[Measure]:
    """A start with a copy of `journals`, minus the time of a start without them."""

    def measure() -> Figures:
        with likd(version) as daemon:
            empty, spent = daemon.start_seconds, daemon.processor().total
            daemon.end()
        with tempfile.TemporaryDirectory(prefix="likd-bench-") as parent:
            directory = Path(parent) / "data"
            shutil.copytree(journals, directory)
            os.sync()
            size = _bytes(directory)
            with likd(version, *FULL_SPEED, directory=directory) as daemon:
                seconds = daemon.start_seconds - empty
                spent = daemon.processor().total - spent
                daemon.wait(applied)
                _, counted = daemon.stop()
        check(version.name, likes, counted)
        return {REPLAYED: size / seconds / 1e6, "processor, ms/MB": spent / size * 1e9}

    yield measure


@contextlib.contextmanager
def checksum(journals: Path) -> Iterator[Measure]:
    """The floor: a CRC-32 of all bytes."""

    def measure() -> Figures:
        seconds = spent = 0.0
        for file in journals.iterdir():
            data = file.read_bytes()
            began, had = time.perf_counter(), time.process_time()
            zlib.crc32(data)
            seconds, spent = seconds + time.perf_counter() - began, spent + time.process_time() - had
        return {REPLAYED: _bytes(journals) / seconds / 1e6, "processor, ms/MB": spent / _bytes(journals) * 1e9}

    yield measure


def replay(bench: Bench) -> Iterator[Case]:
    """A start with a journal that a crash left behind"""
    for name, size, urls in (("single likes", SINGLE_BYTES, 1), ("groups of 2,000 URLs", BULK_BYTES, URLS)):
        directory = bench.scratch / f"journals-{urls}"
        likes = write(directory, bench.scaled(size), urls)
        who = [*bench.likd(replayed, directory, likes), contender("CRC-32 alone", checksum, directory)]
        yield Case(f"{_bytes(directory) / 1e6:,.0f} MB of {name}", who)
        shutil.rmtree(directory)
