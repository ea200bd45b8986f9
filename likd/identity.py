"""What belongs to one data directory alone: its identity and its secret."""

from __future__ import annotations

import os
import secrets
import uuid
from pathlib import Path

SECRET_BYTES = 32


def source(data_dir: Path) -> str:
    """The identity of the data directory, under which stores keep its applied mark. Made if need be."""
    return _read_or_make(data_dir / "source", uuid.uuid4().hex)


def secret(data_dir: Path) -> bytes:
    """The secret by which actors are hashed. Made if need be; without it nobody's likes can be taken back."""
    return bytes.fromhex(_read_or_make(data_dir / "secret", secrets.token_hex(SECRET_BYTES)))


def _read_or_make(path: Path, value: str) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        temporary = path.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        with temporary.open("w") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return value
