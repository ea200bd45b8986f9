"""Finds a log that was rotated: moved, copied and truncated, or compressed, in the same directory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from likd.cli.sending.content import Content
from likd.cli.sending.records import digest

HEAD_BYTES = 4096
SETTLED_SECONDS = 5.0
"""The writer of a file that was moved may go on for a moment: after this long without anything new, it has stopped."""

_ROTATED = r"(?:[.-][\d._T-]+)(?:\.(?:gz|bz2|xz|zst))?"


@attrs.frozen
class Head:
    """What identifies a file wherever it is: the digest of its first `size` bytes."""

    size: int
    digest: str

    def fits(self, content: Content) -> bool:
        """Whether `content` begins like this. The head of an empty file fits every file. Raises OSError."""
        return digest(content.read(self.size, 0) if self.size else b"") == self.digest


def head_of(content: Content) -> Head:
    """The head of `content`. Raises OSError."""
    head = content.read(HEAD_BYTES, 0)
    return Head(len(head), digest(head))


def find(path: Path, head: Head, at_least: int, inode: int | None = None) -> Content | None:
    """The file that was at `path`, opened: of the files beside it, the one with `inode`, else the one with `head`.

    It has `at_least` that many bytes. The caller closes it.
    """

    def is_it(content: Content) -> bool:
        return head.fits(content) and (content.compressed or content.status.st_size >= at_least)

    by_inode = next(_open(path, lambda content: content.status.st_ino == inode and is_it(content)), None)
    if by_inode is not None or not head.size:
        return by_inode
    return next(_open(path, is_it), None)


def since(path: Path, time: float, known: list[Head]) -> list[Content]:
    """The files that were at `path` after `time` (seconds since 1970), except those `known`, oldest first.

    The caller closes them.
    """

    def is_new(content: Content) -> bool:
        head = head_of(content)
        if content.status.st_mtime <= time or not head.size or any(one.size and one.fits(content) for one in known):
            return False
        known.append(head)
        return True

    return sorted(_open(path, is_new), key=lambda content: content.status.st_mtime)


def at_rest(content: Content, now: float) -> bool:
    """Whether nothing more will be written to `content`, which was rotated away."""
    return content.compressed or now - content.status.st_mtime > SETTLED_SECONDS


def _open(path: Path, is_it: Callable[[Content], bool]) -> Iterator[Content]:
    """The files beside `path` whose name is its own with a number or a date, and that `is_it` accepts."""
    stem = re.escape(path.stem)
    suffix = re.escape(path.suffix)
    name = re.compile(rf"{stem}{suffix}{_ROTATED}|{stem}[.-][\d._T-]*\d{suffix}(?:\.(?:gz|bz2|xz|zst))?")
    for entry in sorted(os.scandir(path.resolve().parent), key=lambda entry: entry.name):
        if not name.fullmatch(entry.name) or not entry.is_file():
            continue
        # A file that is just being compressed or removed may not be there yet, or no longer.
        with suppress(OSError):
            content = Content(Path(entry.path))
            try:
                found = is_it(content)
            except BaseException:
                content.close()
                raise
            if found:
                yield content
            else:
                content.close()
