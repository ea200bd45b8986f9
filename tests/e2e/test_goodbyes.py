"""Clients that leave at any moment cost nobody else an answer."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.daemon import Client, Daemon

MANY = 1000
AT_ONCE = 50
BODY = b'{"kind": "like", "url": "https://example.com/gone"}'
POST = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
LEAVING = {
    "HTTP/1.0, then the end": POST.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "the last request, then the end": POST.replace(b"Host: a", b"Host: a\r\nConnection: close"),
    "a cold request behind it, then the end": POST + b"GET /v1/tree HTTP/1.1\r\nHost: a\r\n\r\n",
    "a malformed head behind it, then the end": POST + b"malformed\r\n\r\n",
    "half a head behind it, then the end": POST + b"GET /v1/",
    "half a body behind it, then the end": POST
    + b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n{",
    "nothing but itself, then a reset": POST,
}


@pytest.mark.parametrize("how", LEAVING)
def test_a_thousand_goodbyes_of_each_kind_harm_nobody(tmp_path: Path, how: str) -> None:
    with Daemon(tmp_path / "data") as daemon:
        wrong: list[int] = []
        stop = threading.Event()

        def be_good() -> None:
            with Client(daemon.address) as good:
                while not stop.is_set():
                    status = good.request("POST", "/v1/events", BODY.replace(b"gone", b"good")).status
                    if status != 202:
                        wrong.append(status)
                        return

        good = threading.Thread(target=be_good)
        good.start()
        try:
            for _ in range(MANY // AT_ONCE):
                _leave_together(daemon, LEAVING[how], reset="reset" in how)
        finally:
            stop.set()
            good.join()

        assert not wrong
        with Client(daemon.address) as client:
            tree = client.request("GET", "/v1/tree").json
            assert {child["name"]: child["restarts"] for child in tree["children"] if child["restarts"]} == {}
            metrics = client.request("GET", "/metrics").body.decode()
            assert "likd_listener_faults_total 0.0" in metrics
            assert "likd_request_faults_total 0.0" in metrics
        assert b"failed" not in daemon.log.read_bytes()
        assert daemon.stop() == 0


def _leave_together(daemon: Daemon, data: bytes, *, reset: bool) -> None:
    leaving = [socket.create_connection(daemon.address) for _ in range(AT_ONCE)]
    for each in leaving:
        each.sendall(data)
    for each in leaving:
        if reset:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        each.close()
