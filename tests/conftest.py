"""Hypothesis profiles, and the data directory that tests of files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from likd.durability.disk import RealDisk

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def disk(tmp_path: Path) -> RealDisk:
    """An empty data directory."""
    path = tmp_path / "data"
    path.mkdir()
    return RealDisk(path)
