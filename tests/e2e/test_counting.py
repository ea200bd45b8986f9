"""A site counts its likes: over HTTP, through the daemon, into the database."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.daemon import Client, Daemon, wait_until


def likes(urls: list[str]) -> bytes:
    return b"".join(json.dumps({"kind": "like", "url": url}).encode() + b"\n" for url in urls)


def totals(daemon: Daemon, urls: list[str]) -> dict[str, int]:
    with Client(daemon.address) as client:
        rows = []
        for begin in range(0, len(urls), 100):
            query = "&".join(f"url={url}" for url in urls[begin : begin + 100])
            rows += client.request("GET", f"/v1/counts?{query}").json["counts"]
    return {row["url"]: row["likes"] for row in rows}


class Load:
    """Clients that like URLs, each request after the answer to the one before, and remember what was acknowledged."""

    def __init__(self, daemon: Daemon, acknowledged: Counter[str], unanswered: Counter[str]) -> None:
        self.acknowledged = acknowledged
        self.unanswered = unanswered
        self._daemon = daemon
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=self._like, args=(number,)) for number in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def requests(self) -> int:
        return self.acknowledged.total()

    def _like(self, number: int) -> None:
        n = number
        url = ""
        try:
            with Client(self._daemon.address) as client:
                while not self.stopping.is_set():
                    n += 7
                    url = f"https://example.com/{n % 300}"
                    status = client.request("POST", "/v1/events", likes([url])).status
                    assert status in (202, 503)
                    with self._lock:
                        self.acknowledged[url] += status == 202
        except (AssertionError, OSError):
            # The daemon went away: this one was acknowledged to nobody, and may be counted or not.
            with self._lock:
                self.unanswered[url] += 1

    def check(self, counted: dict[str, int]) -> None:
        for url in self.acknowledged.keys() | counted.keys():
            low = self.acknowledged[url]
            assert low <= counted.get(url, 0) <= low + self.unanswered[url], url


def test_counts_are_exact_at_once_and_in_the_database_after_sigterm(tmp_path: Path) -> None:
    urls = [f"https://example.com/{n}" for n in range(250)]
    with Daemon(tmp_path / "data", "--table-limit", "20", "--tables-waiting-max", "2000") as daemon:
        with Client(daemon.address) as client:
            for _ in range(20):
                assert client.request("POST", "/v1/events", likes(urls)).json == {"accepted": 250}
            client.request("POST", "/v1/events", b'{"kind":"unlike","url":"https://example.com/0"}')
            client.request("POST", "/v1/events", b'{"kind":"impression","url":"https://example.com/0"}')
        assert set(totals(daemon, urls).values()) == {20}
        assert daemon.stop() == 0

        stored = daemon.stored()
        assert {url: stored[url]["likes"] for url in urls} == dict.fromkeys(urls, 20)
        assert (stored[urls[0]]["unlikes"], stored[urls[0]]["impressions"]) == (1, 1)


def test_the_top_list_and_status_follow(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon, Client(daemon.address) as client:
        client.request("POST", "/v1/events", likes(["https://a.example/"] * 3 + ["https://b.example/"]))

        top = client.request("GET", "/v1/top?by=likes&limit=1").json
        status = client.request("GET", "/v1/status").json
        tree = client.request("GET", "/v1/tree").json

        assert [(row["url"], row["likes"]) for row in top["top"]] == [("https://a.example/", 3)]
        assert status["totals"]["events_accepted"] == 4
        # Daemons may have fronts, too.
        states = {child["name"]: child["state"] for child in tree["children"] if child["name"] != "fronts"}
        assert states == dict.fromkeys(
            ["pool manager", "drainer", "batcher", "event manager", "monitor", "live hub", "web", "watchdog"], "running"
        )
        assert client.request("GET", "/readyz").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_shutdown_under_load_brings_everything_acknowledged_into_the_store(tmp_path: Path, number: int) -> None:
    with (
        Daemon(tmp_path / "data", "--table-limit", "50", "--flush-interval", "0.1") as daemon,
        Load(daemon, Counter(), Counter()) as load,
    ):
        wait_until(lambda: load.requests > 500)
        assert daemon.stop(number) == 0
        load.stopping.set()
        counted = {url: row["likes"] for url, row in daemon.stored().items()}
    load.check(counted)


def test_kill_9_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged: Counter[str] = Counter()
    unanswered: Counter[str] = Counter()
    urls = [f"https://example.com/{n}" for n in range(300)]
    for _ in range(3):
        with (
            Daemon(tmp_path / "data", "--table-limit", "50", "--flush-interval", "0.1") as daemon,
            Load(daemon, acknowledged, unanswered) as load,
        ):
            begun = load.requests
            wait_until(lambda load=load, begun=begun: load.requests > begun + 300)
            assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        with Daemon(tmp_path / "data") as daemon:
            load.check(totals(daemon, urls))
            assert daemon.stop() == 0


def test_a_second_signal_ends_at_once_and_the_next_start_goes_on(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path / "data", "--shutdown-timeout", "60") as daemon,
        Client(daemon.address) as client,
        Client(daemon.address) as slow,
    ):
        client.request("POST", "/v1/events", likes([f"https://example.com/{n}" for n in range(200)]))
        # The first signal waits for the rest of this request.
        slow.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n{")
        client.request("GET", "/healthz")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: b"shutting down" in daemon.log.read_bytes())
        assert daemon.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    with Daemon(tmp_path / "data") as daemon:
        assert set(totals(daemon, [f"https://example.com/{n}" for n in range(200)]).values()) == {1}


def test_reads_never_go_back_through_hundreds_of_swaps_drains_and_restarts(tmp_path: Path) -> None:
    url = "https://example.com/exact"
    seen = 0
    sent = 0
    for _ in range(3):
        flags = ("--table-limit", "3", "--flush-interval", "0.05", "--tables-waiting-max", "2000")
        with (
            Daemon(tmp_path / "data", *flags) as daemon,
            Client(daemon.address) as reader,
            Client(daemon.address) as writer,
        ):
            for n in range(60):
                others = [f"https://example.com/{n}/{k}" for k in range(4)]
                writer.request("POST", "/v1/events", likes([*others, url]))
                sent += 1
                total = reader.request("GET", f"/v1/counts?url={url}").json["counts"][0]["likes"]
                assert seen <= total == sent
                seen = total
            assert daemon.stop(signal.SIGKILL if sent < 100 else signal.SIGTERM) in (-9, 0)


def test_a_request_is_refused_while_a_bound_is_reached(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--disk-free-min", str(1 << 50)) as daemon, Client(daemon.address) as client:
        response = client.request("POST", "/v1/events", likes(["https://example.com/"]))

        assert (response.status, response.json["detail"]) == (503, "the disk is full")
        assert int(response.headers["retry-after"]) > 0
        assert client.request("GET", "/readyz").status == 503
        assert client.request("GET", "/v1/counts?url=https://example.com/").json["counts"][0]["likes"] == 0


def test_data_files_are_kept_from_others(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon, Client(daemon.address) as client:
        client.request("POST", "/v1/events", likes(["https://example.com/"]))
        modes = [(daemon.data_dir / name).stat().st_mode & 0o007 for name in ("lock", "journal_000000000001")]

        assert daemon.data_dir.stat().st_mode & 0o007 == 0
        assert modes == [0, 0]
