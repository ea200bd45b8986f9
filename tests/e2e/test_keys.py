"""A client that gets no answer tries again with the same Idempotency-Key, and is counted once."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.daemon import Client, Daemon

URL = "https://example.com/"
BODY = b'{"kind":"like","url":"https://example.com/"}'


def total(client: Client) -> int:
    n: int = client.request("GET", f"/v1/counts?url={URL}").json["counts"][0]["likes"]
    return n


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("flush_interval", ["60", "0.01"])
def test_a_key_is_counted_once_over_a_restart(tmp_path: Path, number: int, flush_interval: str) -> None:
    with (
        Daemon(tmp_path / "data", "--flush-interval", flush_interval) as daemon,
        Client(daemon.address) as client,
    ):
        for _ in range(3):
            assert client.request("POST", "/v1/events", BODY, Idempotency_Key="k1").json == {"accepted": 1}
        assert total(client) == 1
        daemon.stop(number)

    with Daemon(tmp_path / "data") as daemon, Client(daemon.address) as client:
        assert client.request("POST", "/v1/events", BODY, Idempotency_Key="k1").json == {"accepted": 1}
        assert total(client) == 1
        response = client.request("POST", "/v1/events", BODY + b"\n" + BODY, Idempotency_Key="k1")
        assert (response.status, response.json["field"]) == (422, "Idempotency-Key")
        assert client.request("POST", "/v1/events", BODY, Idempotency_Key="k2").status == 202
        assert total(client) == 2


def test_requests_with_one_key_in_flight_together_are_counted_once(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as daemon:
        statuses: list[int] = []

        def post() -> None:
            with Client(daemon.address) as client:
                statuses.append(client.request("POST", "/v1/events", BODY, Idempotency_Key="same").status)

        threads = [threading.Thread(target=post) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert statuses == [202] * 20
        with Client(daemon.address) as client:
            assert total(client) == 1
