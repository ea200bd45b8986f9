"""The identity of a data directory: made once, durable, and never replaced in silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from likd.durability import data_dir
from likd.durability.data_dir import IdentityError


@pytest.mark.parametrize("read", [data_dir.source, data_dir.secret])
def test_it_is_made_once(tmp_path: Path, read: Callable[[Path], object]) -> None:
    assert read(tmp_path) == read(tmp_path)


@pytest.mark.parametrize("read", [data_dir.source, data_dir.secret])
def test_it_is_on_disk_with_its_name_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
    )
    read(tmp_path)
    assert synced == ["file", "directory"]


@pytest.mark.parametrize("text", ["", "\n", "0" * 31, "no such thing", "é" * 32])
@pytest.mark.parametrize("name", ["source", "secret"])
def test_one_that_is_damaged_is_an_error_and_stays_as_it_is(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(IdentityError, match=f"{name} is (empty|damaged)"):
        getattr(data_dir, name)(tmp_path)
    assert (tmp_path / name).read_text() == text


def test_others_may_not_read_the_secret(tmp_path: Path) -> None:
    data_dir.secret(tmp_path)
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
