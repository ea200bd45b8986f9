"""Front processes: limits and counts are of the whole; one that dies or hangs is started again, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import warm
from tests.daemon import PATIENCE_SECONDS, Client, Daemon, wait_until

PAGE = "https://example.com/"
LIKE = json.dumps({"kind": "like", "url": PAGE}).encode()
CONNECTIONS_MAX = 40


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    flags = ["--processes", "2", "--hung-timeout", "0.5", "--connections-max", str(CONNECTIONS_MAX)]
    with Daemon(tmp_path_factory.mktemp("fronts") / "data", *flags) as daemon:
        yield daemon
        assert daemon.stop() == 0


def fronts(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """What the status says of the fronts that are there, by name."""
    with Client(daemon.address) as client:
        processes = client.request("GET", "/v1/status").json["processes"]
    return {each["name"]: each for each in processes if each["name"] != "engine"}


def restarts(daemon: Daemon) -> int:
    with Client(daemon.address) as client:
        tree = client.request("GET", "/v1/tree").json["children"]
    (found,) = [child for child in tree if child["name"] == "fronts"]
    return sum(child["restarts"] for child in found["children"])


def likes(client: Client, url: str = PAGE) -> int:
    count: int = client.request("GET", f"/v1/counts?url={url}").json["counts"][0]["likes"]
    return count


def whole(daemon: Daemon) -> bool:
    """Whether both fronts are there."""
    with suppress(AssertionError, OSError, KeyError):
        return len(fronts(daemon)) == 2
    return False


def test_what_any_front_acknowledged_is_in_every_read_by_whichever(daemon: Daemon) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(daemon.address)) for _ in range(16)]
        wait_until(lambda: all(each["connections"] for each in fronts(daemon).values()))
        before = likes(clients[0])
        for posted, client in enumerate(clients, start=1):
            assert client.request("POST", "/v1/events", LIKE).status == 202
            assert likes(clients[-posted]) == before + posted


def test_a_key_counts_once_whichever_front_it_comes_by(daemon: Daemon) -> None:
    body = json.dumps({"kind": "like", "url": f"{PAGE}key"}).encode()
    for _ in range(8):
        with Client(daemon.address) as client:
            assert client.request("POST", "/v1/events", body, Idempotency_Key="one").json == {"accepted": 1}
    with Client(daemon.address) as client:
        assert likes(client, f"{PAGE}key") == 1


def test_an_actor_likes_once_whichever_front_he_comes_by(daemon: Daemon) -> None:
    body = json.dumps({"kind": "like", "url": f"{PAGE}actor", "actor": "me"}).encode()
    for _ in range(8):
        with Client(daemon.address) as client:
            assert client.request("POST", "/v1/events", body).status == 202
    with Client(daemon.address) as client:
        assert likes(client, f"{PAGE}actor") == 1


def test_a_merge_that_is_answered_holds_whichever_front_is_asked(daemon: Daemon) -> None:
    old, new = f"{PAGE}old", f"{PAGE}new"
    like = json.dumps({"kind": "like", "url": old}).encode()
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(daemon.address)) for _ in range(12)]
        for client in clients:
            assert client.request("POST", "/v1/events", like).status == 202
        with Client(daemon.address) as admin:
            merge = json.dumps({"old": old, "new": new, "wait": 20}).encode()
            answer = admin.request("POST", "/v1/merge", merge, Content_Type="application/json")
            assert answer.status == 200, answer.body
        for posted, client in enumerate(clients, start=1):
            assert (likes(client, old), likes(client, new)) == (11 + posted, 11 + posted)
            assert client.request("POST", "/v1/events", like).status == 202


def test_there_are_no_more_connections_than_with_one_process(daemon: Daemon) -> None:
    with ExitStack() as stack:
        served = 0
        for _ in range(CONNECTIONS_MAX * 2):
            client = stack.enter_context(Client(daemon.address))
            with suppress(AssertionError, OSError):
                served += client.request("GET", f"/v1/counts?url={PAGE}").status == 200
        assert served == CONNECTIONS_MAX
    wait_until(lambda: whole(daemon))


def test_limits_of_an_address_and_of_a_token_are_of_the_whole(tmp_path: Path) -> None:
    token = "a-token-of-the-tests"
    flags = ["--processes", "2", "--public-sites", "example.com", "--public-actors", "free"]
    flags += ["--address-rate", "0.001", "--address-burst", "5", "--token-rate", "0.001", "--token-burst", "7"]
    environment = {**os.environ, "LIKD_WRITE_TOKENS": token, "LIKD_ADMIN_TOKEN": "an-admin-token-of-tests"}
    with Daemon(tmp_path / "data", *flags, environment=environment) as daemon, ExitStack() as stack:
        clients = [stack.enter_context(Client(daemon.address)) for _ in range(12)]
        for burst, headers in ((5, {}), (7, {"Authorization": f"Bearer {token}"})):
            answers = [client.request("POST", "/v1/events", LIKE, **headers) for client in clients]
            assert [answer.status for answer in answers] == [202] * burst + [429] * (12 - burst)
            left = [answer.headers["ratelimit"].partition(";t")[0] for answer in answers]
            assert left[: burst + 1] == [f'"events";r={n}' for n in [*reversed(range(burst)), 0]]
        admin = {"Authorization": "Bearer an-admin-token-of-tests"}
        assert clients[0].request("GET", f"/v1/counts?url={PAGE}", **admin).json["counts"][0]["likes"] == 12


def test_status_and_metrics_are_of_the_whole(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        status = client.request("GET", "/v1/status").json
        metrics = client.request("GET", "/metrics").body.decode()
    assert [each["name"] for each in status["processes"]] == ["engine", "front 1", "front 2"]
    assert status["processes"][0]["pid"] == daemon.process.pid
    for each in status["processes"]:
        assert each["cpu_seconds"] > 0
        assert each["memory_bytes"] > 1 << 20
        assert f'likd_process_memory_bytes{{process="{each["name"]}"}}' in metrics
        assert f'likd_process_cpu_seconds_total{{process="{each["name"]}"}}' in metrics
    with Client(daemon.address) as client:
        page = re.sub(r"<[^>]*>", "", client.request("GET", "/engine").body.decode())
    shown = warm.command("top", "--once", "--url", daemon.url)
    assert shown.returncode == 0, shown.stderr
    for each in status["processes"]:
        assert re.search(rf"process {each['pid']} · [^·]+ of processor time · [\d.]+ MiB", page)
        assert re.search(rf"{each['name']} \(process {each['pid']}\): [\d.]+ s of processor time", shown.stdout)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_front_that_dies_or_hangs_is_started_again_and_loses_nothing(daemon: Daemon, number: signal.Signals) -> None:
    url = f"{PAGE}{number.name}"
    body = json.dumps({"kind": "like", "url": url}).encode()
    before, had = fronts(daemon), restarts(daemon)
    victim = before["front 1"]["pid"]
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(daemon.address)) for _ in range(12)]
        for client in clients:
            assert client.request("POST", "/v1/events", body).status == 202
        os.kill(victim, number)
        # New connections wait for the front that comes next, and are served by it.
        later = [stack.enter_context(Client(daemon.address)) for _ in range(8)]
        for client in later:
            client.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        answered = 0
        for client in later:
            with suppress(AssertionError, OSError):
                answered += client.response().status == 202
        assert answered >= 1 if number is signal.SIGSTOP else answered == 8
        wait_until(lambda: whole(daemon))
        with Client(daemon.address) as client:
            assert likes(client, url) == 12 + answered
    assert fronts(daemon)["front 1"]["pid"] != victim
    assert fronts(daemon)["front 2"]["pid"] == before["front 2"]["pid"]
    assert restarts(daemon) == had + 1


def test_signals_to_all_processes_end_them_as_one_service(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--processes", "2") as daemon:
        with Client(daemon.address) as client:
            assert client.request("POST", "/v1/events", LIKE).status == 202
        pids = [each["pid"] for each in fronts(daemon).values()]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert daemon.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert daemon.stored() == {PAGE: {**daemon.stored()[PAGE], "likes": 1}}


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--processes", "2", "--shutdown-timeout", "60") as daemon, ExitStack() as stack:
        pids = [each["pid"] for each in fronts(daemon).values()]
        for _ in range(8):
            # Their answers are waited for in a shutdown.
            client = stack.enter_context(Client(daemon.address))
            client.send(b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n[")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "shutting down" in daemon.log.read_text())
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
        wait_until(lambda: not any(_runs(pid) for pid in pids))
        assert time.monotonic() - began < 10


def test_an_engine_that_dies_takes_its_fronts_along(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    with Daemon(tmp_path / "data", "--processes", "2", "--bind", f"127.0.0.1:0,unix:{path}") as daemon:
        by_socket = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost")
        with by_socket:
            assert by_socket.post("/v1/events", content=LIKE).json() == {"accepted": 1}
        pids = [each["pid"] for each in fronts(daemon).values()]
        daemon.process.kill()
        wait_until(lambda: not any(_runs(pid) for pid in pids))
        with socket.socket() as sock:
            assert sock.connect_ex(daemon.address) != 0
    with Daemon(tmp_path / "data") as daemon, Client(daemon.address) as client:
        assert likes(client) == 1


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
