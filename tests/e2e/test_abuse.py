"""A short run of scripts/abuse: while strangers do their worst, others are served, and memory stays bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[2]


def test_others_are_served_under_abuse() -> None:
    command = [sys.executable, "scripts/abuse.py", "--seconds", "1", "--many", "100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 14
