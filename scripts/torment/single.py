"""Chaos around one daemon with its embedded store."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import trio

from torment.daemon import KINDS, PATIENCE_SECONDS, Counted, Daemon, Wrong, ask

URLS = [f"https://example.com/{n}" for n in range(400)]
CHILDREN = ["pool manager", "drainer", "batcher", "event manager", "monitor", "live hub", "web", "watchdog"]


class Chaos:
    """One run."""

    def __init__(self, daemon: Daemon, data: Path, rng: random.Random, *, small_disk: bool) -> None:
        self.daemon = daemon
        self.data = data
        self.rng = rng
        self.small_disk = small_disk
        self.sent: Counted = Counter()
        self.acknowledged: Counted = Counter()
        self.figures: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.stopping = trio.Event()

    async def run(self, seconds: float, clients: int) -> None:
        """Load and chaos for that long; then peace, and the sums."""
        await self.daemon.start()
        async with trio.open_nursery() as nursery:
            done = [trio.Event() for _ in range(clients)]
            for number in range(clients):
                nursery.start_soon(self._client, number, done[number])
            nursery.start_soon(self._reader)
            with trio.move_on_after(seconds):
                await self._torment()
            self._clear_disk()
            self.daemon.signal(signal.SIGCONT)
            if self.daemon.process is None or self.daemon.process.poll() is not None:
                await self.daemon.start()
            self.stopping.set()
            with trio.fail_after(PATIENCE_SECONDS):
                for event in done:
                    await event.wait()
            nursery.cancel_scope.cancel()
        self.daemon.signal(signal.SIGTERM)
        await self.daemon.wait()
        await self.daemon.start(faults=False)
        self._compare("over HTTP", await self._totals(URLS))
        self.daemon.signal(signal.SIGTERM)
        if await self.daemon.wait() != 0:
            raise Wrong("the last shutdown was not clean")
        self._compare("in the database", self._stored())

    # Load

    async def _client(self, number: int, done: trio.Event) -> None:
        rng = random.Random(self.rng.random())
        for n in itertools.count():
            if self.stopping.is_set():
                break
            events = Counter(
                (rng.choice(list(KINDS)), URLS[min(int(rng.paretovariate(0.5)), len(URLS)) - 1])
                for _ in range(rng.choice([1, 1, 10, 300]))
            )
            lines = [json.dumps({"kind": kind, "url": url}) for kind, url in events.elements()]
            counted = Counter({(url, KINDS[kind]): n for (kind, url), n in events.items()})
            self.sent += counted
            await self._send("\n".join(lines).encode(), f"{os.getpid()}-{number}-{n}")
            self.acknowledged += counted
            self.figures["requests acknowledged"] += 1
            self.figures["events acknowledged"] += counted.total()
        done.set()

    async def _send(self, body: bytes, key: str) -> None:
        while True:
            try:
                status, answer = await ask(self.daemon.port, "POST", "/v1/events", body, key)
            except OSError:
                status, answer = 0, None
            if status == 202:
                return
            if status not in (0, 500, 503):
                raise Wrong(f"{status}: {answer}")
            self.figures["tries that failed"] += 1
            await trio.sleep(0.02 + self.rng.random() * 0.2)

    async def _reader(self) -> None:
        last: Counted = Counter()
        while True:
            urls = self.rng.sample(URLS[:50], 10)
            low = self.acknowledged.copy()
            try:
                now = await self._totals(urls)
            except OSError:
                await trio.sleep(0.1)
                continue
            self.figures["reads"] += 1
            for url, name in itertools.product(urls, KINDS.values()):
                place = (url, name)
                if not max(low[place], last[place]) <= now[place] <= self.sent[place]:
                    raise Wrong(f"{place}: read {now[place]} after {last[place]}, {low[place]} acknowledged")
                last[place] = now[place]
            await trio.sleep(0.02)

    async def _totals(self, urls: list[str]) -> Counted:
        status, answer = await ask(self.daemon.port, "GET", "/v1/counts?" + "&".join(f"url={url}" for url in urls))
        if status != 200:
            raise OSError(f"{status}: {answer}")
        return Counter({(row["url"], name): row[name] for row in answer["counts"] for name in KINDS.values()})

    # Faults

    async def _torment(self) -> None:
        actions = [
            *[self._kill] * 3,
            self._terminate,
            self._pause,
            *[self._crash_child] * 3,
            self._hang,
            self._store_away,
            self._disk_errors,
            self._block,
            *([self._fill_disk] if self.small_disk else []),
            *([self._harm_front] * 3 if self.daemon.fronts() else []),
        ]
        while True:
            await trio.sleep(self.rng.uniform(0.2, 2.0))
            if self.daemon.process is None or self.daemon.process.poll() is not None:
                self.faults["gave up, restarted"] += 1
                await self.daemon.start()
            with suppress(OSError):
                await self.rng.choice(actions)()

    async def _kill(self) -> None:
        self.daemon.signal(signal.SIGKILL)
        await self.daemon.wait()
        self.faults["kill -9"] += 1
        if self.rng.random() < 0.5:
            self._tear_journal()
        await self.daemon.start()

    def _tear_journal(self) -> None:
        """What a crash may leave after what was acknowledged: a frame cut short or flipped, or plain noise."""
        segments = sorted(self.data.glob("journal_*"))
        if not segments:
            return
        data = segments[-1].read_bytes()
        last = data[data.rfind(data[:4]) :] if len(data) > 8 else b""
        kind = self.rng.choice(["cut", "flipped", "noise"])
        if kind == "cut":
            tail = last[: self.rng.randrange(len(last))] if last else b""
        elif kind == "flipped" and len(last) > 12:
            at = self.rng.randrange(12, len(last))
            tail = last[:at] + bytes([last[at] ^ (1 << self.rng.randrange(8))]) + last[at + 1 :]
        else:
            tail = self.rng.randbytes(self.rng.randint(1, 500))
        with suppress(OSError), segments[-1].open("ab") as file:
            file.write(tail)
        self.faults[f"journal tail: {kind}"] += 1

    async def _terminate(self) -> None:
        self.daemon.signal(signal.SIGTERM)
        await self.daemon.wait()
        self.faults["SIGTERM"] += 1
        await self.daemon.start()

    async def _pause(self) -> None:
        self.daemon.signal(signal.SIGSTOP)
        self.faults["SIGSTOP, SIGCONT"] += 1
        await trio.sleep(self.rng.uniform(0.1, 2.0))
        self.daemon.signal(signal.SIGCONT)

    async def _harm_front(self) -> None:
        """One of the fronts dies, hangs for good, or is stopped for a while."""
        front = self.rng.choice(self.daemon.fronts())
        number = self.rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
        self.faults[f"front {number.name}"] += 1
        with suppress(ProcessLookupError):
            os.kill(front, number)
            if number is signal.SIGSTOP and self.rng.random() < 0.5:
                await trio.sleep(self.rng.uniform(0.05, 0.4))
                os.kill(front, signal.SIGCONT)

    async def _order(self, name: str, **order: object) -> None:
        # Counted before it is sent: a crash of the web would lose the answer.
        self.faults[name] += 1
        status, answer = await ask(self.daemon.port, "POST", "/v1/fault", json.dumps(order).encode())
        if status != 202:
            raise Wrong(f"{order}: {status} {answer}")

    async def _crash_child(self) -> None:
        child = self.rng.choice(CHILDREN)
        await self._order(f"crash {child}", fault="crash", child=child)

    async def _hang(self) -> None:
        await self._order("hung counters", fault="hang", counters=self.rng.randint(1, 5))

    async def _store_away(self) -> None:
        await self._order("store away", fault="store", seconds=self.rng.uniform(0.5, 5))

    async def _disk_errors(self) -> None:
        error = self.rng.choice(["EIO", "ENOSPC", "EMFILE"])
        await self._order(f"disk {error}", fault="disk", error=error, times=self.rng.randint(1, 6))

    async def _block(self) -> None:
        await self._order("blocked loop", fault="block", seconds=self.rng.uniform(0.3, 1.5))

    async def _fill_disk(self) -> None:
        self.faults["disk full"] += 1
        try:
            with suppress(OSError), (self.data / "filler").open("wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    pass
            await trio.sleep(self.rng.uniform(0.5, 4.0))
        finally:
            self._clear_disk()

    def _clear_disk(self) -> None:
        (self.data / "filler").unlink(missing_ok=True)

    # Sums

    def _stored(self) -> Counted:
        with closing(sqlite3.connect(self.data / "likd.db")) as db:
            db.row_factory = sqlite3.Row
            rows = db.execute("SELECT * FROM counts").fetchall()
        return Counter({(row["url"], name): row[name] for row in rows for name in KINDS.values()})

    def _compare(self, where: str, counted: Counted) -> None:
        lost, doubled = self.acknowledged - counted, counted - self.acknowledged
        self.figures[f"lost, {where}"] = lost.total()
        self.figures[f"doubled, {where}"] = doubled.total()
        if lost or doubled:
            raise Wrong(
                f"{where}: {lost.total()} lost, {doubled.total()} doubled: {[*lost.items(), *doubled.items()][:5]}"
            )
