"""TLS by the daemon itself, and what the settings of access say at the start."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from tests import warm
from tests.daemon import PATIENCE_SECONDS, PROCESSES, Client, Daemon

pytestmark = pytest.mark.skipif(
    subprocess.run(["which", "openssl"], capture_output=True).returncode != 0, reason="no openssl to make a certificate"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    path = tmp_path_factory.mktemp("tls")
    chain, key = path / "chain.pem", path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return chain, key


@pytest.fixture(params=["one process", "fronts"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is the same whether the daemon speaks it or its fronts do."""
    if request.param == "fronts":
        monkeypatch.setenv(PROCESSES, "2")


@contextmanager
def encrypted(path: Path, certificate: tuple[Path, Path]) -> Iterator[str]:
    chain, key = certificate
    with Daemon(path, "--tls-cert", str(chain), "--tls-key", str(key)) as daemon:
        yield daemon.url
        assert daemon.stop() == 0


@pytest.mark.usefixtures("processes")
def test_events_and_pages_over_https(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    trusted = ssl.create_default_context(cafile=certificate[0])
    with encrypted(tmp_path / "data", certificate) as url, httpx.Client(verify=trusted) as client:
        event = {"kind": "like", "url": "https://example.com/"}
        assert client.post(url + "/v1/events", json=event).json() == {"accepted": 1}
        counted = client.get(url + "/v1/counts", params={"url": "https://example.com/"})
        assert counted.json()["counts"][0]["likes"] == 1
        page = client.get(url + "/")
        assert page.status_code == 200
        assert page.headers["strict-transport-security"] == "max-age=31536000"
        with pytest.raises(httpx.HTTPError):
            client.get(url.replace("https", "http") + "/healthz")


@pytest.mark.usefixtures("processes")
def test_http1_alone_is_offered_and_answers_come_whole(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    trusted = ssl.create_default_context(cafile=certificate[0])
    trusted.set_alpn_protocols(["h2", "http/1.1"])
    body = b'{"kind":"like","url":"https://example.com/"}'
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with encrypted(tmp_path / "data", certificate) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with trusted.wrap_socket(socket.create_connection(address), server_hostname="localhost") as client:
            assert client.selected_alpn_protocol() == "http/1.1"
            client.sendall(head % len(body) + body)
            client.sendall(b"stray")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 202")
            assert answer.endswith(b'{"accepted":1}')


def test_fronts_that_speak_tls_are_shut_down_with_all_that_rests_and_their_websockets(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    trusted = ssl.create_default_context(cafile=certificate[0])
    chain, key = certificate
    flags = ["--tls-cert", str(chain), "--tls-key", str(key), "--shutdown-timeout", "60", "--processes", "2"]
    with Daemon(tmp_path / "data", *flags) as daemon, ExitStack() as stack:

        def connect() -> ssl.SSLSocket:
            plain = stack.enter_context(socket.create_connection(daemon.address, PATIENCE_SECONDS))
            return stack.enter_context(trusted.wrap_socket(plain, server_hostname="localhost"))

        def ask(client: ssl.SSLSocket, target: str, *fields: str) -> bytes:
            client.sendall("\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode())
            return client.recv(65536)

        hot, cold, watching = connect(), connect(), connect()
        assert ask(hot, "/healthz").startswith(b"HTTP/1.1 200 ")
        assert ask(cold, "/v1/status").startswith(b"HTTP/1.1 200 ")
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        key_field = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        assert ask(watching, "/v1/live", *upgrade, key_field).startswith(b"HTTP/1.1 101 ")
        # This one does not even begin with TLS.
        stack.enter_context(socket.create_connection(daemon.address, PATIENCE_SECONDS))

        daemon.process.send_signal(signal.SIGTERM)
        said = [b"".join(iter(partial(client.recv, 1000), b"")) for client in (watching, hot, cold)]
        watching.close()
        assert said[0].endswith(b"the daemon is shutting down")
        assert daemon.process.wait(PATIENCE_SECONDS) == 0


def test_a_certificate_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    for flags in (["--tls-cert", "no.pem"], ["--tls-cert", "no.pem", "--tls-key", "no.key"]):
        done = warm.command("serve", "--bind", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), *flags)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "tls" in done.stderr or "no.pem" in done.stderr
        assert not (tmp_path / "data").exists()


def test_an_address_others_reach_needs_an_admin_token(tmp_path: Path) -> None:
    done = warm.command("serve", "--bind", "0.0.0.0:0", "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert "there is no admin token" in done.stderr


def heard(daemon: Daemon, origin: str, *wishes: dict[str, object]) -> int | str:
    """What a websocket from a page hears first, or the code with which it is closed."""

    async def connect() -> int | str:
        headers = [(b"Origin", origin.encode())] if origin else []
        async with await trio.open_tcp_stream(*daemon.address) as stream, trio.open_nursery() as nursery:
            websocket = await wrap_client_stream(nursery, stream, "test", "/v1/live", extra_headers=headers)
            try:
                for wish in wishes:
                    await websocket.send_message(json.dumps(wish))
                with trio.fail_after(PATIENCE_SECONDS):
                    return str(json.loads(await websocket.get_message())["type"])
            except ConnectionClosed as error:
                return error.reason.code if error.reason else 0
            finally:
                nursery.cancel_scope.cancel()

    return trio.run(connect)


def test_a_websocket_is_let_in_as_a_request_is(tmp_path: Path) -> None:
    secrets = {**os.environ, "LIKD_ADMIN_TOKEN": "an-admin-token-for-this"}
    watch: dict[str, object] = {"op": "watch", "urls": ["https://example.com/a"]}
    with Daemon(tmp_path / "data", "--public-sites", "example.com", environment=secrets) as daemon:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        with Client(daemon.address) as client:
            key = {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
            assert client.request("GET", "/v1/live", Origin="https://evil.test", **upgrade, **key).status == 403
        assert heard(daemon, "https://example.com", watch) == "snapshot"
        assert heard(daemon, "", {"op": "watch", "urls": ["https://elsewhere.test/"]}) == 1008
        for op in ("watch_top", "watch_hot", "watch_status"):
            assert heard(daemon, "https://example.com", {"op": op}) == 1008
