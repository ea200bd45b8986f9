"""Below a path and on a Unix socket, behind the nginx file that is shipped: API, button, websocket, dashboard."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import pytest
import trio
from trio_websocket import wrap_client_stream

from tests.daemon import PATIENCE_SECONDS, Daemon, wait_until
from tests.warm import command

ROOT = Path(__file__).parent.parent.parent
TOKEN = "a-token-for-the-admin"
SITE = "likes.example.com"
PAGE = "https://www.example.com/page"
VISITOR = {"kind": "like", "url": PAGE, "actor": "somebody"}
DASHBOARD = "#location ~ "

pytestmark = pytest.mark.skipif(
    None in (shutil.which("nginx", path="/usr/sbin:/usr/bin"), shutil.which("openssl")),
    reason="no nginx, or no openssl to make a certificate",
)


@attrs.frozen
class Served:
    """A daemon below `base`, on `socket`, and the port of the nginx before it."""

    daemon: Daemon
    base: str
    socket: Path
    port: int

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", headers={"Host": SITE}, verify=False, timeout=20, trust_env=False
        )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def written(directory: Path, base: str, upstream: str, port: int) -> Path:
    """Nginx's configuration: the shipped file, changed as it says, with other ports and paths."""
    shipped = (ROOT / "docs" / "deploy" / "nginx.conf").read_text()
    begin = shipped.index(DASHBOARD)
    end = shipped.index("#}\n", begin) + 3
    shipped = shipped[:begin] + re.sub(r"^( *)#", r"\1", shipped[begin:end], flags=re.M) + shipped[end:]
    for old, new in (
        ("server 127.0.0.1:8080;", f"server {upstream};"),
        ("location = /", f"location = {base}/"),
        ("location ~ ^/", f"location ~ ^{base}/"),
        ("    listen 80;\n    listen [::]:80;\n", f"    listen unix:{directory}/plain.sock;\n"),
        ("    listen 443 ssl http2;\n    listen [::]:443 ssl http2;\n", f"    listen 127.0.0.1:{port} ssl http2;\n"),
        ("/etc/ssl/likd/", f"{directory}/"),
    ):
        assert old in shipped
        shipped = shipped.replace(old, new)
    temporary = "".join(
        f"    {name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = directory / "nginx.conf"
    path.write_text(
        f"daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{\n    access_log off;\n{temporary}{shipped}}}\n"
    )
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("nginx")
    path, base, port = directory / "likd.sock", "/likes", free_port()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(directory / "privkey.pem"), "-out", str(directory / "fullchain.pem")),
            *("-days", "2", "-subj", f"/CN={SITE}"),
        ],
        check=True,
        capture_output=True,
    )
    configuration = written(directory, base, f"unix:{path}", port)
    (directory / "token").write_text(TOKEN)
    flags = ["--bind", f"127.0.0.1:0,unix:{path}", "--base-path", base, "--trusted-proxies", "127.0.0.1"]
    flags += ["--public-sites", "www.example.com", "--admin-token-file", str(directory / "token")]
    with Daemon(directory / "data", *flags) as daemon:
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(configuration), "-p", str(directory)])
        try:
            wait_until(lambda: _listens(port))
            yield Served(daemon, base, path, port)
        finally:
            nginx.terminate()
            nginx.wait(PATIENCE_SECONDS)
        assert daemon.stop() == 0
        assert not path.exists()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_the_api_is_below_the_path_and_nowhere_else(served: Served) -> None:
    with (
        served.client() as client,
        httpx.Client(base_url=f"http://127.0.0.1:{served.daemon.address[1]}", trust_env=False) as direct,
    ):
        assert client.post(f"{served.base}/v1/events", json=VISITOR).json() == {"accepted": 1}
        answer = client.get(f"{served.base}/v1/counts", params={"url": PAGE})
        assert answer.json()["counts"][0]["likes"] == 1
        assert client.get(f"{served.base}/v1/history", params={"url": PAGE}).status_code == 200
        assert client.get(f"{served.base}/badge.svg", params={"url": PAGE}).headers["content-type"] == "image/svg+xml"
        # By both lanes, which take the path off each in its way.
        for path in ("/v1/counts?url=https://a.example/", "/healthz", "/readyz", "/x/likes/healthz", "//likes/healthz"):
            assert direct.get(path).status_code == 404, path
        for path in ("/healthz", "/readyz", "/likd.js"):
            assert direct.get(f"{served.base}{path}").status_code == 200, path
        assert direct.get("/likesome/readyz").status_code == 404
        assert direct.get(served.base).headers["location"] == f"{served.base}/"


def test_what_stays_inside_does_so_by_any_name(served: Served) -> None:
    with served.client() as client:
        for path in (
            "/v1/status",
            "/metrics",
            "/likes/v1/status",
            "/likes/metrics",
            "/likes//metrics",
            "/likes/v1/top",
        ):
            assert client.get(path).status_code == 404, path


def test_visitors_are_told_apart_behind_the_socket(served: Served) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(served.socket)), base_url="http://proxy") as proxy:

        def left(visitor: str, path: str) -> int:
            answer = proxy.get(f"{served.base}{path}", params={"url": PAGE}, headers={"X-Forwarded-For": visitor})
            found = re.search(r"r=(\d+)", answer.headers["ratelimit"])
            assert found
            return int(found[1])

        # By the express lane and by the full one.
        for path in ("/v1/counts", "/v1/counts?partial=false"):
            first = left(f"203.0.113.{len(path)}", path)
            assert left(f"203.0.113.{len(path)}", path) < first
            assert left(f"198.51.100.{len(path)}", path) == first


def test_the_description_says_where_the_api_is(served: Served) -> None:
    described = httpx.get(f"{served.daemon.url}/openapi.json", trust_env=False).json()
    assert described["servers"] == [{"url": "/likes"}]


def test_the_websocket_of_the_button_is_below_the_path(served: Served) -> None:
    async def watch() -> dict[str, object]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", served.port, ssl_context=context)
        async with trio.open_nursery() as nursery:
            websocket = await wrap_client_stream(nursery, stream, SITE, f"{served.base}/v1/live")
            await websocket.send_message(json.dumps({"op": "watch", "urls": [PAGE]}))
            with trio.fail_after(PATIENCE_SECONDS):
                told: dict[str, object] = json.loads(await websocket.get_message())
            await websocket.aclose()
            nursery.cancel_scope.cancel()
        return told

    assert trio.run(watch)["type"] == "snapshot"


def test_a_person_logs_in_and_out_below_the_path(served: Served) -> None:
    with served.client() as client:
        sent = client.get(f"{served.base}/", headers={"Accept": "text/html"})
        assert (sent.status_code, sent.headers["location"].partition("?")[0]) == (303, f"{served.base}/login")
        page = client.get(f"{served.base}/login").text
        assert f'action="{served.base}/login"' in page
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
        assert links
        assert all(link.startswith(f"{served.base}/") for link in links)
        for link in links:
            if "/static/" in link:
                assert client.get(link.replace("&amp;", "&")).status_code == 200, link

        away = client.post(f"{served.base}/login", data={"token": TOKEN}, headers={"Origin": f"https://{SITE}"})
        assert (away.status_code, away.headers["location"]) == (303, f"{served.base}/")
        cookie = away.headers["set-cookie"]
        assert f"Path={served.base}/" in cookie
        assert "Secure" in cookie
        session = {"Cookie": cookie.partition(";")[0]}
        dashboard = client.get(f"{served.base}/", headers=session)
        assert dashboard.status_code == 200
        pages = dashboard.text
        for path in ("url", "site", "engine", "docs", "demo"):
            about = {"url": {"url": PAGE}, "site": {"site": "www.example.com"}}.get(path, {})
            shown = client.get(f"{served.base}/{path}", params=about, headers=session)
            assert shown.status_code == 200, path
            pages += shown.text
        assert not [
            link
            for link in re.findall(r'(?:href|src|action)="(/[^"]*)"', pages)
            if not link.startswith(f"{served.base}/")
        ]


def test_a_share_link_is_for_whoever_has_it(served: Served) -> None:
    made = httpx.post(
        f"{served.daemon.url}/v1/shares",
        json={"url": PAGE},
        headers={"Authorization": f"Bearer {TOKEN}"},
        trust_env=False,
    )
    path = made.json()["href"]
    assert path.startswith(f"{served.base}/s/")
    with served.client() as client:
        shared = client.get(path)
        assert shared.status_code == 200
        assert PAGE in shared.text


def test_the_commands_reach_the_daemon_by_its_socket_and_its_path(served: Served) -> None:
    for url in (f"unix:{served.socket}:{served.base}", served.daemon.url):
        events = json.dumps({"kind": "like", "url": "https://www.example.com/sent"}) + "\n"
        sent = command("send", "--url", url, "--token", TOKEN, "-", stdin=events.encode())
        assert sent.returncode == 0, sent.stderr
        exported = command("export", "--url", url, "--token", TOKEN)
        assert "https://www.example.com/sent" in exported.stdout, exported.stderr
        top = command("top", "--url", url, "--token", TOKEN, "--once")
        assert "https://www.example.com/" in top.stdout, top.stderr
    assert command("top", "--url", f"unix:{served.socket}", "--token", TOKEN, "--once").returncode == 1


@pytest.mark.parametrize("by_socket", [True, False])
def test_live_counts_come_by_the_socket_and_below_the_path(served: Served, by_socket: bool) -> None:
    from likd.cli.client import Daemon as Address
    from likd.cli.live import follow

    url = f"unix:{served.socket}:{served.base}" if by_socket else served.daemon.url

    async def first() -> str:
        told: list[str] = []
        with trio.move_on_after(PATIENCE_SECONDS) as scope:

            def show(message: dict[str, object]) -> None:
                told.append(str(message["type"]))
                scope.cancel()

            await follow(Address(url, TOKEN), [{"op": "watch", "urls": [PAGE]}], show=show, trouble=lambda fault: None)
        return told[0]

    assert trio.run(first) == "snapshot"
