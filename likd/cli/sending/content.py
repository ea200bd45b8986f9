"""What files hold, compressed or not, by position."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from likd.cli.sending.line_ranges import last_header

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 256 << 10

_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, OSError)
_MAGIC: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": zstd.open,
}


class Content:
    """The bytes of the file at `path`, uncompressed if it is compressed, whatever its name is. Close it in the end.

    It is the file's as it is now: what is moved or removed can still be read. Its methods block and raise OSError,
    also for what is damaged or cut short, and are for one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        head = os.pread(self._file.fileno(), 6, 0)
        opens = next((opens for magic, opens in _MAGIC.items() if head.startswith(magic)), None)
        self._reader: Any = None if opens is None else opens(self._file)

    @property
    def compressed(self) -> bool:
        """Whether it is: then it is all there, and won't grow."""
        return self._reader is not None

    @property
    def status(self) -> os.stat_result:
        """Of the file itself."""
        return os.fstat(self._file.fileno())

    @property
    def size(self) -> int | None:
        """How many bytes there are now; None if it is compressed, where nobody knows before the end."""
        return None if self.compressed else self.status.st_size

    def read(self, size: int, begin: int) -> bytes:
        """The bytes from `begin`, at most `size`, and less only at the end."""
        if self._reader is None:
            return os.pread(self._file.fileno(), size, begin)
        data = b""
        try:
            # Back is from the beginning again; forward, which it mostly is, goes on.
            self._reader.seek(begin)
            while len(data) < size and (piece := self._reader.read1(size - len(data))):
                data += piece
        except _DAMAGE as error:
            # What is good before the damage is read first.
            if not data:
                what = "cut short" if isinstance(error, EOFError) else f"damaged ({error})"
                raise OSError(errno.EIO, f"the compressed file is {what}", self._file.name) from None
        return data

    def header(self, begin: int) -> bytes:
        """The last line before `begin` that names fields, as logs have it that begin so."""
        header = tail = b""
        if begin and self.read(1, 0) == b"#":
            for data in self._until(begin):
                whole, newline, tail = (tail + data).rpartition(b"\n")
                header = last_header(whole + newline, header)
        return header

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()
        self._file.close()

    def _until(self, end: int) -> Iterator[bytes]:
        begin = 0
        while begin < end and (data := self.read(min(CHUNK_BYTES, end - begin), begin)):
            yield data
            begin += len(data)
