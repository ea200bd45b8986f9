"""Websockets that a front serves are let in, limited and told why not as those of one process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from likd.web.live.connection import PING
from tests.daemon import PROCESSES, Client, Daemon, wait_until
from tests.e2e.test_live import close_frame
from tests.web import test_lanes_app
from tests.web.full.test_websocket_frames import frame
from tests.web.test_lanes_access import ADMIN


@pytest.fixture(autouse=True, scope="module")
def fronts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PROCESSES, "2")
        yield


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, fronts: None) -> Iterator[Daemon]:
    """A daemon with tokens and nothing public."""
    environment = {**os.environ, "LIKD_ADMIN_TOKEN": ADMIN}
    with Daemon(tmp_path_factory.mktemp("closed") / "data", environment=environment) as daemon:
        yield daemon


test_a_websocket_that_is_not_let_in_is_told_why = test_lanes_app.test_a_websocket_that_is_not_let_in_is_told_why


def hear(client: Client) -> bytes:
    """The first frame that is no ping."""
    said = b""
    while len(said := said.removeprefix(PING)) < 4:
        said += client.socket.recv(1000)
    return said


def test_what_a_websocket_says_counts_against_the_limit_of_its_address_whichever_front_has_it(tmp_path: Path) -> None:
    flags = ["--public-sites", "example.com", "--address-rate", "0.001", "--address-burst", "16"]
    with Daemon(tmp_path / "data", *flags) as daemon, ExitStack() as stack:
        ping = frame(0x81, json.dumps({"op": "ping"}).encode())
        clients = [stack.enter_context(Client(daemon.address)) for _ in range(10)]
        for client in clients:
            assert test_lanes_app.handshake(client).status == 101
        said = []
        for client in clients:
            client.send(ping)
            said.append(hear(client))
        assert [b"pong" in frame for frame in said] == [True] * 6 + [False] * 4
        assert {int.from_bytes(frame[2:4], "big") for frame in said[6:]} == {1008}
        with Client(daemon.address) as late:
            assert test_lanes_app.handshake(late).status == 429
        assert "too many requests from this caller" in daemon.log.read_text()


def test_a_site_that_is_not_public_is_refused_by_the_front_and_told_in_the_log_of_the_whole(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--public-sites", "example.com") as daemon, Client(daemon.address) as client:
        assert test_lanes_app.handshake(client).status == 101
        client.send(frame(0x81, json.dumps({"op": "watch", "urls": ["https://told.test/"]}).encode()))
        assert close_frame(client) == 1008
        client.socket.close()
        # The front tells the engine, whose log it is.
        wait_until(lambda: "told.test" in daemon.log.read_text())
        lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if "told.test" in line]
        assert [line["setting"] for line in lines] == ["--public-sites"]
