"""Idempotency keys: which requests were taken already, in memory and on disk, within a window."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import attrs
import msgspec
import structlog

from likd import framing
from likd.disk import AppendFile, Disk
from likd.events import Accepted, IdempotencyKey, Outcome, Submission

NAME = re.compile(r"keys_(\d{12})")
KEY = re.compile(r"[\x21-\x7e]{1,128}")

log = structlog.get_logger(__name__)


class KeyReused(Exception):
    """The key came with another body before."""


@attrs.frozen
class _Taken:
    digest: bytes
    size: int
    at: float


class KeyWindow:
    """The keys of requests in flight, and of those accepted within `window_seconds`, the newest `keys_max`."""

    def __init__(self, *, window_seconds: float, keys_max: int, wall_clock: Callable[[], float] = time.time) -> None:
        self._window = window_seconds
        self._keys_max = keys_max
        self._wall_clock = wall_clock
        self._in_flight: dict[str, Submission] = {}
        self._taken: OrderedDict[str, _Taken] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def claim(self, submission: Submission) -> Submission:
        """The submission that answers for the key of `submission`: an earlier one, or itself.

        If it is itself, it must be submitted or settled. Raises KeyReused.
        """
        key = submission.key
        assert key is not None
        earlier = self._in_flight.get(key.key)
        if earlier is not None:
            assert earlier.key is not None
            if earlier.key.digest != key.digest:
                raise KeyReused
            return earlier
        taken = self._taken.get(key.key)
        if taken is not None and self._wall_clock() - taken.at < self._window:
            if taken.digest != key.digest:
                raise KeyReused
            submission.settle(Accepted(taken.size))
            return submission
        self._in_flight[key.key] = submission
        submission.on_settled(lambda outcome: self._settled(key, outcome))
        return submission

    def remember(self, key: str, digest: bytes, size: int, at: float) -> None:
        """A request with `key` was accepted at `at` (seconds since 1970)."""
        self._taken[key] = _Taken(digest, size, at)
        self._taken.move_to_end(key)
        while len(self._taken) > self._keys_max:
            self._taken.popitem(last=False)

    def _settled(self, key: IdempotencyKey, outcome: Outcome) -> None:
        del self._in_flight[key.key]
        if isinstance(outcome, Accepted):
            self.remember(key.key, key.digest, outcome.events, self._wall_clock())


class _Line(msgspec.Struct, array_like=True, frozen=True):
    at: float
    keys: list[tuple[str, bytes, int]]


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Line)


@attrs.define
class _LogFile:
    name: str
    newest: float
    keys: int


class KeyLog:
    """The accepted keys on disk, in files `keys_<id of the first table>` that are dropped as their keys expire.

    It holds at least what the window holds, and at most a file more. Keys of a table are written here before
    its journal segment, which holds them, too, is dropped.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        window_seconds: float,
        keys_max: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._disk = disk
        self._window = window_seconds
        self._keys_max = keys_max
        self._file_keys_max = max(1, keys_max // 8)
        self._wall_clock = wall_clock
        self._files: list[_LogFile] = []
        self._open: AppendFile | None = None

    async def load(self, names: Iterable[str], window: KeyWindow) -> None:
        """Read the files among `names` into `window`. Raises OSError."""
        for name in sorted(filter(NAME.fullmatch, names)):
            data = await self._disk.read(name)
            file = _LogFile(name, 0.0, 0)
            for piece in framing.scan(data):
                line = _decode(piece)
                if line is None:
                    # A torn append is written again: its journal segment is still there.
                    log.warning("damage in key log", file=name, begin=piece.begin, end=piece.end)
                    continue
                for key, digest, size in line.keys:
                    window.remember(key, digest, size, line.at)
                file.newest = max(file.newest, line.at)
                file.keys += len(line.keys)
            self._files.append(file)

    async def append(self, table: int, keys: Sequence[tuple[IdempotencyKey, int]]) -> None:
        """Make the keys that came with `table` durable. Raises OSError; the call may be repeated."""
        if not keys:
            return
        now = self._wall_clock()
        await self._rotate(table, now)
        assert self._open is not None
        line = _Line(now, [(key.key, key.digest, size) for key, size in keys])
        try:
            await self._open.append(framing.frame(_encode(line)), sync=True)
        except OSError:
            # What an append that failed left behind is unknown: nothing more is written after it.
            file, self._open = self._open, None
            await file.close()
            raise
        self._files[-1].newest = now
        self._files[-1].keys += len(keys)

    async def _rotate(self, table: int, now: float) -> None:
        if self._open is not None and self._files[-1].keys < self._file_keys_max:
            return
        if self._open is not None:
            file, self._open = self._open, None
            await file.close()
        name = f"keys_{table:012d}"
        if self._files and self._files[-1].name == name:
            await self._disk.remove(name)
            self._files.pop()
        self._open = await self._disk.create(name)
        self._files.append(_LogFile(name, now, 0))
        while len(self._files) > 1 and (
            self._files[0].newest < now - self._window or sum(file.keys for file in self._files[1:]) >= self._keys_max
        ):
            await self._disk.remove(self._files[0].name)
            self._files.pop(0)


def _decode(piece: framing.Piece) -> _Line | None:
    if isinstance(piece, framing.Frame):
        try:
            return _decoder.decode(piece.payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return None
