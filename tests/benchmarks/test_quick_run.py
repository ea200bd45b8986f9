"""A short run of scripts/bench, beside the version that was committed last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="there is no other version outside of a repository")
def test_a_quick_run_measures_two_versions_and_leaves_nothing_behind(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text("<!-- figures: scripts/bench -->\n<!-- end of figures -->\n")
    trees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = [sys.executable, "scripts/bench.py", "--quick", "--only", "long_tail"]
    command += ["--against", "HEAD", "--json", str(figures), "--markdown", str(page)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    who = [(each["workload"], each["contender"]) for each in json.loads(figures.read_text())["outcomes"]]
    assert who == [("long_tail", "likd"), ("long_tail", "likd HEAD")]
    assert "likd HEAD" in page.read_text()
    after = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "likd-bench-version" not in after.replace(trees, "")


def test_a_workload_that_is_not_there_is_one_line_and_status_2() -> None:
    command = [sys.executable, "scripts/bench.py", "--only", "nothing"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "--only nothing: workloads are start, replay, bulk" in done.stderr
