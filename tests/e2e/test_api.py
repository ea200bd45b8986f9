"""The API is as its OpenAPI description says: Schemathesis tries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import Daemon

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

ROOT = Path(__file__).resolve().parents[2]
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]


def test_answers_conform_to_the_description_and_none_is_a_server_error(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--flush-interval", "0.1") as daemon:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{daemon.url}/openapi.json"]
        options = ["--max-examples", "3", "--seed", "1", "--checks", ",".join(CHECKS), "--generation-database", "none"]
        done = subprocess.run(
            [*command, *options],
            # It keeps notes of its own where it runs.
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.e2e.api_hooks", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines())
        assert "24 selected / 24 total" in done.stdout
        assert daemon.stop() == 0
    assert '"level": "error"' not in daemon.log.read_text()
