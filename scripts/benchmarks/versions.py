"""The versions of likd to compare: this one, and another one from its repository."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import Version

ROOT = Path(__file__).resolve().parents[2]


class NoSuchVersion(ValueError):
    """The repository has no such revision, or there is no repository."""


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoSuchVersion(done.stderr.strip().splitlines()[-1] if done.stderr else f"git {words[0]} failed")
    return done.stdout.strip()


@contextlib.contextmanager
def versions(against: str | None) -> Iterator[list[Version]]:
    """The current version, and a worktree of the revision `against`, which is removed at the end.

    Raises NoSuchVersion before anything is created.
    """
    this = Version("likd", ROOT)
    if against is None:
        yield [this]
        return
    commit = _git("rev-parse", "--verify", "--quiet", f"{against}^{{commit}}")
    with tempfile.TemporaryDirectory(prefix="likd-bench-version-") as directory:
        tree = Path(directory) / "likd"
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            yield [this, Version(f"likd {against}", tree)]
        finally:
            _git("worktree", "remove", "--force", str(tree))
