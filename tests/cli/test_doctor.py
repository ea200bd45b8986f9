"""What `likd doctor` says of a store."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from likd.cli import doctor as doctor_module
from likd.cli.doctor import doctor
from likd.stores.sqlite.store import SqliteStore


@pytest.mark.parametrize("reads_on", [False, True])
async def test_a_log_that_an_outside_reader_keeps_growing_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads_on: bool
) -> None:
    store = SqliteStore(tmp_path / "likd.db", "here")
    await store.open(("likes",))
    if reads_on:
        monkeypatch.setattr(doctor_module, "WAL_BYTES", 1000)
    said = await trio.to_thread.run_sync(
        lambda: CliRunner().invoke(doctor, ["--data-dir", str(tmp_path), "--bind", "127.0.0.1:0"]).output
    )
    assert ("warn  store's log: " in said) == reads_on
    assert "ok    store: " in said
    await store.aclose()
