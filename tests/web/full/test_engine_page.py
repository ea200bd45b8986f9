"""The engine's page: what it refused, what failed, how long it takes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.daemon import Client, Daemon, wait_until


def test_it_tells_what_was_refused_what_failed_and_how_long_it_takes(tmp_path: Path) -> None:
    environment = {**os.environ, "LIKD_TEST_FAULTS": "1"}
    with Daemon(tmp_path / "data", environment=environment) as daemon, Client(daemon.address) as client:

        def page() -> str:
            return re.sub(r"<[^>]*>", "", client.request("GET", "/engine").body.decode())

        assert "None in the last 24 hours." in page()
        assert "None since the start." in page()
        assert "50 are acknowledged within –" in page()
        for _ in range(2):
            assert client.request("GET", "/v1/counts?url=https://a.test/", Origin="https://evil.test").status == 403
        assert client.request("GET", "/v1/counts?url=https://a.test/", Host="evil.test").status == 403
        assert client.request("POST", "/v1/events", b'{"kind": "like", "url": "https://a.test/"}').status == 202
        assert client.request("POST", "/v1/fault", b'{"fault": "crash", "child": "monitor"}').status in (200, 202, 204)
        wait_until(lambda: "restarting" in daemon.log.read_text())

        told = page()
        refused = [
            told.index(f"{reason}") for reason in ("pages of this origin are not allowed", "the Host header is not")
        ]
        assert refused == sorted(refused)
        assert re.search(r"monitor \d+ [A-Z][a-z][a-z] \d\d:\d\d:\d\drestarting", told)
        assert re.search(
            r"50 are acknowledged within [\d.]+ ms, 99 within [\d.]+ ms; the journal takes [\d.]+ ms", told
        )
