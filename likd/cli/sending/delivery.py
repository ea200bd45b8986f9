"""Delivery: sends ranges of lines to the daemon, each once, whatever it answers and however often it fails."""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Protocol

import httpx
import trio

from likd.cli.client import ClientError, client_backoff
from likd.cli.sending.batches import Batch, read
from likd.cli.sending.delivery_log import DeliveryLog
from likd.cli.sending.line_ranges import LineRange, Source
from likd.cli.sending.line_stats import LineStats
from likd.cli.sending.response_status import NOTHING_COUNTED, RETRIED, Wrong, read_response

GZIP_LEVEL = 6
EVENTS_REFUSED_MAX = 100
REFUSED_SHOWN = 20
"""How many refused lines of logs are reported one by one."""


class Observer(Protocol):
    """Is told how a delivery progresses."""

    def settled(self, line_range: LineRange, line_stats: LineStats) -> None:
        """Nothing is left to do for the lines of `line_range`; `line_stats` is their outcome."""

    def refused(self, source: Source, line: int, detail: str) -> None:
        """A line was refused."""

    def unparsable(self, source: Source, line: int, detail: str) -> None:
        """A line of an access log could not be read."""

    def trouble(self, detail: str, seconds: float) -> None:
        """Sending failed and will be retried in `seconds`."""


class Delivery:
    """Sends ranges of lines. A line that is refused is set aside, and the others of its batch are sent without it.

    It stops by itself when more than `refused_max` lines were refused, when nothing was settled for `give_up_seconds`
    although there was something to send, or when the daemon gives an answer that concerns every batch. `fault` then
    says why. Without `refused_max`, 100 lines of events may be refused, and any number of log lines: anybody can send a
    web server requests with invalid URLs.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        url: str,
        delivery_log: DeliveryLog,
        observer: Observer,
        compress: bool = False,
        give_up_seconds: float = 300.0,
        refused_max: int | None = None,
    ) -> None:
        self.client = client
        self._url = url
        self.delivery_log = delivery_log
        self._observer = observer
        self._compress = compress
        self._give_up = give_up_seconds
        self._refused_max = refused_max
        self._progress_at = float("-inf")
        self._doubtful: dict[str, int] = {}
        self._limited = 0
        self._shown = 0
        self.line_stats = LineStats()
        self.fault: str | None = None
        self.stopped = trio.Event()

    @property
    def doubtful(self) -> int:
        """Events that were sent but not answered: the daemon may or may not have counted them."""
        return sum(self._doubtful.values())

    def stop(self, fault: str) -> None:
        """Start nothing more; requests in flight are completed. The first fault is kept."""
        if not self.stopped.is_set():
            self.fault = fault
            self.stopped.set()

    async def run(self, line_ranges: trio.MemoryReceiveChannel[LineRange], connections: int) -> None:
        """Deliver all of `line_ranges` with that many requests in flight, or stop."""
        async with line_ranges, trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(self._work, line_ranges.clone())

    async def _work(self, line_ranges: trio.MemoryReceiveChannel[LineRange]) -> None:
        async with line_ranges:
            async for line_range in line_ranges:
                try:
                    await self._deliver(line_range)
                except ClientError as error:
                    self.stop(str(error))
                if self.stopped.is_set():
                    return

    async def _deliver(self, line_range: LineRange) -> None:
        pending = [line_range]
        while pending and not self.stopped.is_set():
            batch = read(pending.pop())
            if batch.events:
                pending += reversed(await self._send(batch))
            elif batch.line_stats.lines:
                await self.delivery_log.set_aside(batch.line_range, batch.line_stats)
                self._settle(batch.line_range, batch.line_stats, batch.refused, batch.unparsable)

    async def _send(self, batch: Batch) -> list[LineRange]:
        """Send `batch`. Returns what is left of it to send."""
        line_range = batch.line_range
        key = (
            f"{self.delivery_log.run}-{line_range.source.id}-{line_range.byte_range.begin}-{line_range.byte_range.end}"
        )
        await self.delivery_log.sending(batch, key)
        response = await self._post(batch, key)
        if response is None:
            return []
        response_status = read_response(response, batch)
        self._doubtful.pop(key, None)
        if not isinstance(response_status, Wrong):
            batch.line_stats.events = batch.events
            await self.delivery_log.accepted(key, batch.line_stats)
            self._settle(line_range, batch.line_stats, batch.refused, batch.unparsable)
            return []
        await self.delivery_log.refused(key)
        if response_status.line is None:
            return list(line_range.split(batch.lines[batch.events // 2]))
        before, rest = line_range.split(response_status.line)
        wrong, after = rest.split(response_status.line + 1)
        line_stats = LineStats(lines=1, refused=1)
        await self.delivery_log.set_aside(wrong, line_stats)
        self._settle(wrong, line_stats, [(response_status.line, response_status.detail)], [])
        return [before, after]

    async def _post(self, batch: Batch, key: str) -> httpx.Response | None:
        """Post `batch` until the answer is not a failure; None if the delivery stops first."""
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        body = batch.body
        if self._compress:
            headers["Content-Encoding"] = "gzip"
            # Without a timestamp, the same lines always compress to the same bytes.
            body = await trio.to_thread.run_sync(partial(gzip.compress, body, GZIP_LEVEL, mtime=0))
        began = trio.current_time()
        unknown = False
        backoff = client_backoff()
        while True:
            wait = 0.0
            self._doubtful[key] = batch.events
            try:
                response = await self.client.post(self._url, content=body, headers=headers)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                trouble = f"can't connect: {error or type(error).__name__}"
            except httpx.RequestError as error:
                trouble = f"connection lost: {error or type(error).__name__}"
                unknown = True
            else:
                if response.status_code not in RETRIED:
                    if response.is_error and not unknown:
                        del self._doubtful[key]
                    return response
                trouble = f"answer {response.status_code}"
                wait = _retry_after(response)
                unknown |= response.status_code not in NOTHING_COUNTED
            if not unknown:
                del self._doubtful[key]
            left = max(began, self._progress_at) + self._give_up - trio.current_time()
            if left <= 0:
                raise ClientError(f"gave up after {self._give_up:g} seconds without progress; {trouble}")
            wait = min(left, wait + backoff.next())
            self._observer.trouble(trouble, wait)
            with trio.move_on_after(wait):
                await self.stopped.wait()
                return None

    def _settle(
        self,
        line_range: LineRange,
        line_stats: LineStats,
        refused: Sequence[tuple[int, str]],
        unparsable: Sequence[tuple[int, str]],
    ) -> None:
        self._progress_at = trio.current_time()
        self.line_stats.add(line_stats)
        self._observer.settled(line_range, line_stats)
        limit = self._refused_max
        if limit is None and not line_range.source.format.from_log:
            limit = EVENTS_REFUSED_MAX
        room = REFUSED_SHOWN if limit is None else limit + 1
        for line, detail in refused[: max(0, room - self._shown)]:
            self._shown += 1
            self._observer.refused(line_range.source, line, detail)
        for line, detail in unparsable:
            self._observer.unparsable(line_range.source, line, detail)
        self._limited += line_stats.refused if limit is not None else 0
        if limit is not None and self._limited > limit:
            self.stop(f"more than {limit} lines were refused")


def _retry_after(response: httpx.Response) -> float:
    """How many seconds the answer asks to wait; 0 if it does not say."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
