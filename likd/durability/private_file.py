"""Small files that nobody else may read, written completely or not at all, whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

from likd.durability.disk import sync_directory
from likd.durability.filenames import TEMPORARY


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path`, readable by its owner alone; it is on disk when this returns. Raises OSError."""
    temporary = path.with_name(path.name + TEMPORARY)
    temporary.touch(mode=0o600)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)
