"""Idempotency keys: which requests were already accepted within a window of time, in memory and on disk."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import attrs

from likd.durability import filenames, key_lines
from likd.durability.disk import AppendFile, Disk
from likd.durability.filenames import KEYS
from likd.durability.key_lines import LINE_KEYS, Line
from likd.durability.taken_keys import Record, Taken, fingerprint, pack
from likd.errors import LikdError
from likd.model import Accepted, IdempotencyKey, Outcome, Submission
from likd.runtime.cooperative import Steps, finish_in_turns

KEY = re.compile(r"[\x21-\x7e]{1,128}")
PUBLIC = "public"
"""The owner of the keys of all callers without a token."""
PUBLIC_SHARE = 4
"""By what factor all public callers together have fewer keys than a token."""

LOOK_UPS = 100
"""How many keys are looked up in one step of at most a millisecond."""


class KeyReused(LikdError):
    """The key came before, with another body."""


@attrs.frozen
class KeyWindowStatistics:
    """The keys in numbers."""

    keys: int
    """How many keys of accepted requests are remembered, for all owners."""


class KeyWindow:
    """The keys of requests in flight, and of those accepted within `window_seconds`.

    The newest `keys_max` of each owner are remembered; of all public callers together, a fraction of that. A key is
    written after its owner and a space, so nobody's keys collide with another's or push them out. Keys without an owner
    were recorded before there were owners, and answer for everyone except public callers. `settled` is the time by
    which they expire.
    """

    def __init__(
        self,
        *,
        window_seconds: float,
        keys_max: int,
        wall_clock: Callable[[], float] = time.time,
        settled: Callable[[], float] | None = None,
    ) -> None:
        self._window = window_seconds
        self._keys_max = keys_max
        self._wall_clock = wall_clock
        self._settled_clock = settled or wall_clock
        self._in_flight: dict[str, Submission] = {}
        self._owners: dict[str, Taken] = {}

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def statistics(self) -> KeyWindowStatistics:
        """The keys in numbers."""
        return KeyWindowStatistics(len(self))

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
        taken = self._taken(key.key)
        if taken is not None and self._settled_clock() - taken.at < self._window:
            if taken.digest != key.digest.ljust(len(taken.digest), b"\0"):
                raise KeyReused
            submission.settle(Accepted(taken.events))
            return submission
        self._in_flight[key.key] = submission
        submission.on_settled(lambda outcome: self._settled(key, outcome))
        return submission

    def events_of(self, key: str) -> int | None:
        """How many events the accepted request with `key` had, None if none is remembered."""
        taken = self._taken(key)
        return None if taken is None else taken.events

    def remember(self, key: str, digest: bytes, size: int, at: float) -> None:
        """A request with `key` was accepted at `at` (seconds since 1970)."""
        owner, _, name = key.rpartition(" ")
        self.remember_all(owner, pack(fingerprint(name), digest, size, at))

    def remember_all(self, owner: str, records: bytes) -> None:
        """Requests of `owner` were accepted; `records` has their records, one after another."""
        taken = self._owners.get(owner)
        if taken is None:
            share = 1 / PUBLIC_SHARE if owner == PUBLIC else 1
            taken = self._owners[owner] = Taken(max(1, int(self._keys_max * share)))
        taken.add(records)

    def holds(self, owner: str, key_hash: bytes) -> bool:
        """Whether the key with this `key_hash` is among those remembered for `owner`."""
        taken = self._owners.get(owner)
        return taken is not None and taken.get(key_hash) is not None

    def _taken(self, key: str) -> Record | None:
        owner, _, name = key.rpartition(" ")
        key_hash = fingerprint(name)
        for each in (owner,) if owner == PUBLIC else (owner, ""):
            taken = self._owners.get(each)
            record = taken.get(key_hash) if taken is not None else None
            if record is not None:
                return record
        return None

    def _settled(self, key: IdempotencyKey, outcome: Outcome) -> None:
        del self._in_flight[key.key]
        if isinstance(outcome, Accepted):
            self.remember(key.key, key.digest, outcome.events, self._wall_clock())


@attrs.define
class _LogFile:
    """A file, whether this object created it, and what is known to be readable in it."""

    name: str
    newest: float
    keys: int
    made: bool = False


class KeyLog:
    """The accepted keys on disk, in files `keys_<id of the first table_id>` that are dropped as their keys expire.

    The files have at least what the window has, and not much more: keys that are no longer remembered are left out when
    a file is rewritten. A table's keys are written here before its journal segment, which has them, too, is dropped.
    `settled` is the time by which files are dropped.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        window_seconds: float,
        keys_max: int,
        wall_clock: Callable[[], float] = time.time,
        settled: Callable[[], float] | None = None,
    ) -> None:
        self._disk = disk
        self._window = window_seconds
        self._keys_max = keys_max
        self._file_keys_max = max(1, keys_max // 8)
        self._wall_clock = wall_clock
        self._settled = settled or wall_clock
        self._files: list[_LogFile] = []
        self._open: AppendFile | None = None
        self._remembered = KeyWindow(window_seconds=window_seconds, keys_max=keys_max)
        self.damage: list[str] = []
        """What could not be read in the loaded files."""

    async def load(self, names: Iterable[str], window: KeyWindow) -> None:
        """Read the files among `names` into `window`. Raises OSError."""
        self._remembered = window
        lines: list[Line] = []
        for name in sorted(KEYS.among(names)):
            found = await self._read(name)
            newest = max((line.at for line in found), default=0.0)
            self._files.append(_LogFile(name, newest, sum(line.size for line in found)))
            lines += found
        await finish_in_turns(_remember(lines, window))

    async def append(self, table_id: int, keys: Sequence[tuple[IdempotencyKey, int]]) -> None:
        """Make the keys that came with `table_id` durable. Raises OSError; the call may be repeated."""
        if not keys:
            return
        now = self._wall_clock()
        await self._rotate(table_id, now)
        assert self._open is not None
        lines = await finish_in_turns(_encode(keys, now))
        try:
            await self._open.append(lines, sync=True)
        except OSError:
            # What a failed append left is unknown: nothing more is written after it.
            file, self._open = self._open, None
            await file.close()
            raise
        self._files[-1].newest = now
        self._files[-1].keys += len(keys)

    async def _rotate(self, table_id: int, now: float) -> None:
        if self._open is not None and self._files[-1].keys < self._file_keys_max:
            return
        if self._open is not None:
            file, self._open = self._open, None
            await file.close()
        if self._files and self._files[-1].made and not self._files[-1].keys:
            # An append to it failed, and whatever that left is worthless.
            await self._disk.remove(self._files[-1].name)
            self._files.pop()
        # Never the name of an existing file: it has keys of other tables, too.
        newest = filenames.newest_id(file.name for file in self._files[-1:])
        name = KEYS.name(max(table_id, newest + 1))
        self._open = await self._disk.create(name)
        self._files.append(_LogFile(name, now, 0, made=True))
        # Once around at most: then everything that is left is remembered.
        for _ in range(len(self._files) - 1):
            if self._files[0].newest < self._settled() - self._window:
                await self._disk.remove(self._files[0].name)
                self._files.pop(0)
            elif sum(file.keys for file in self._files[1:]) >= self._allowed:
                await self._renew(self._files[0])
            else:
                break

    @property
    def _allowed(self) -> int:
        """How many keys the files may hold, without the oldest file.

        One owner's keys become superfluous in order, file by file. If there are other owners, as many superfluous keys
        may be between theirs, so that each key is rewritten at most twice.
        """
        others = max(0, len(self._remembered) - self._keys_max)
        return self._keys_max + 2 * others

    async def _renew(self, oldest: _LogFile) -> None:
        """Drop from the oldest file the keys that are no longer remembered; what is left goes after the others."""
        kept = await finish_in_turns(self._kept(await self._read(oldest.name)))
        size = sum(line.size for line in kept)
        data = b"".join(line.encode() for line in kept)
        newest = self._files[-2]
        if size and (newest is oldest or newest.keys + size > self._file_keys_max):
            if size < oldest.keys:
                await self._disk.write(oldest.name, data)
                oldest.keys = size
            self._files.insert(-1, self._files.pop(0))
            return
        if size:
            await self._disk.write(newest.name, await self._disk.read(newest.name) + data)
            newest.newest = max(newest.newest, oldest.newest)
            newest.keys += size
        await self._disk.remove(oldest.name)
        self._files.pop(0)

    async def _read(self, name: str) -> list[Line]:
        expired = self._settled() - self._window
        return await finish_in_turns(key_lines.read(await self._disk.read(name), name, self.damage, expired=expired))

    def _kept(self, lines: Sequence[Line]) -> Steps[list[Line]]:
        kept: list[Line] = []
        seen: set[tuple[str, bytes]] = set()
        looked_up = 0
        for line in reversed(lines):
            owned: dict[str, list[bytes]] = {}
            for owner, records in line.owned.items():
                for key_hash, record in key_lines.records(records):
                    looked_up += 1
                    if looked_up % LOOK_UPS == 0:
                        yield
                    if (owner, key_hash) not in seen and self._remembered.holds(owner, key_hash):
                        seen.add((owner, key_hash))
                        owned.setdefault(owner, []).append(record)
            if owned:
                kept.append(Line.of(line.at, owned))
        return kept[::-1]


def _encode(keys: Sequence[tuple[IdempotencyKey, int]], at: float) -> Steps[bytes]:
    lines: list[bytes] = []
    for begin in range(0, len(keys), LINE_KEYS):
        lines.append(key_lines.make(keys[begin : begin + LINE_KEYS], at).encode())
        yield
    return b"".join(lines)


def _remember(lines: list[Line], window: KeyWindow) -> Steps[None]:
    # Rewritten keys are among newer ones, and the oldest are the first to be forgotten.
    lines.sort(key=attrgetter("at"))
    lines.reverse()
    done = 0
    while lines:
        line = lines.pop()
        for owner, records in line.owned.items():
            window.remember_all(owner, records)
        done += line.size
        if done >= LINE_KEYS:
            done = 0
            yield
