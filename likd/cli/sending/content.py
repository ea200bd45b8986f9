"""Reads files by position, compressed or not."""

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
    """The bytes of the file at `path`, decompressed if need be, whatever its name. Close it when done.

    It holds the file itself, which can still be read after it is moved or removed. The methods block, raise OSError
    (for damaged or truncated files, too), and are for one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        head = os.pread(self._file.fileno(), 6, 0)
        opens = next((opens for magic, opens in _MAGIC.items() if head.startswith(magic)), None)
        self._reader: Any = None if opens is None else opens(self._file)

    @property
    def compressed(self) -> bool:
        """Whether the file is compressed; then it is complete and won't grow."""
        return self._reader is not None

    @property
    def status(self) -> os.stat_result:
        """The status of the file itself."""
        return os.fstat(self._file.fileno())

    @property
    def size(self) -> int | None:
        """How many bytes there are now; None if it is compressed, because that is known only at its end."""
        return None if self.compressed else self.status.st_size

    def read(self, size: int, begin: int) -> bytes:
        """The bytes from `begin`, at most `size`, and fewer only at the end."""
        if self._reader is None:
            return os.pread(self._file.fileno(), size, begin)
        data = b""
        try:
            # Seeking back starts again from the beginning; seeking forward, the usual case, continues.
            self._reader.seek(begin)
            while len(data) < size and (piece := self._reader.read1(size - len(data))):
                data += piece
        except _DAMAGE as error:
            # Whatever is good before the damage is returned first.
            if not data:
                what = "cut short" if isinstance(error, EOFError) else f"damaged ({error})"
                raise OSError(errno.EIO, f"the compressed file is {what}", self._file.name) from None
        return data

    def header(self, begin: int) -> bytes:
        """The last line before `begin` that names fields, in logs that begin with such a line."""
        header = tail = b""
        if begin and self.read(1, 0) == b"#":
            for data in self._until(begin):
                whole, newline, tail = (tail + data).rpartition(b"\n")
                header = last_header(whole + newline, header)
        return header

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
        self._file.close()

    def _until(self, end: int) -> Iterator[bytes]:
        begin = 0
        while begin < end and (data := self.read(min(CHUNK_BYTES, end - begin), begin)):
            yield data
            begin += len(data)
