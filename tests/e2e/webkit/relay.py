"""A proxy through which a browser of the tests reaches all: it adds scripts to pages, answers itself, or goes away.

WebDriver has none of that, so it is done on the way.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import http.server
import re
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs

SCRIPT = "/-/before-all-others.js"
"""Where every origin has the script that a page begins with."""

OF_THE_WAY = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "content-length"}
PATIENCE_SECONDS = 60.0


@attrs.define
class Route:
    """A request that the tests may answer in the server's place; nothing of it arrives there."""

    answer: tuple[int, dict[str, str], bytes] | None = None

    def fulfill(self, *, status: int, headers: dict[str, str], body: str) -> None:
        """Answer with this."""
        self.answer = status, headers, body.encode()

    def abort(self) -> None:
        """End the connection without an answer, as it is done with a route that is left alone."""


class Relay:
    """The proxy, on a port of its own. It is told what to do by its attributes."""

    def __init__(self) -> None:
        self.script = ""
        """What every page that is loaded begins with."""
        self.offline = False
        self.routes: dict[str, Callable[[Any], None]] = {}
        """Who answers the URLs of a pattern."""
        self._tunnels: set[socket.socket] = set()
        handler = type("BoundHandler", (Handler,), {"relay": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all."""
        self.cut()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def cut(self) -> None:
        """End the websockets that are open."""
        for sock in list(self._tunnels):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def tunnel(self, near: socket.socket, far: socket.socket) -> None:
        """Pass all on, both ways, until both ends have."""
        self._tunnels |= {near, far}
        up = threading.Thread(target=_pump, args=(near, far), daemon=True)
        up.start()
        _pump(far, near)
        up.join()
        self._tunnels -= {near, far}


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class Handler(http.server.BaseHTTPRequestHandler):
    """One request: passed on, answered here, or left without an answer."""

    relay: Relay
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass
        raise AttributeError(name)

    def _pass(self) -> None:
        # A connection is for one request: one that is kept open and then cut would be tried again unseen.
        self.close_connection = True
        if self.relay.offline:
            return
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.command == "CONNECT":
                self._connect()
            elif "upgrade" in self.headers.get("Connection", "").lower():
                self._upgrade()
            else:
                self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if url.path == SCRIPT:
            self._send(200, [("Content-Type", "text/javascript"), ("Cache-Control", "no-store")], self._script())
            return
        for pattern, handle in list(self.relay.routes.items()):
            if self.command != "OPTIONS" and fnmatch.fnmatch(self.path, pattern):
                route = Route()
                handle(route)
                if route.answer:
                    status, headers, answer = route.answer
                    self._send(status, list(headers.items()), answer)
                return
        self._ask(url.netloc, self.path.removeprefix(f"{url.scheme}://{url.netloc}"), body)

    def _script(self) -> bytes:
        return self.relay.script.encode()

    def _ask(self, netloc: str, target: str, body: bytes) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_THE_WAY}
        is_page = "text/html" in headers.get("Accept", "")
        if is_page:
            # In full and as it is, so that a script can be put into it.
            headers = {name: value for name, value in headers.items() if not name.lower().startswith("if-")}
            headers["Accept-Encoding"] = "identity"
        connection = http.client.HTTPConnection(*_endpoint(netloc), timeout=PATIENCE_SECONDS)
        try:
            connection.request(self.command, target or "/", body or None, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if is_page and response.headers.get_content_type() == "text/html":
            first = re.search(rb"(?i)<head>", answer) or re.search(rb"(?i)<!doctype html>", answer)
            if first:
                answer = answer[: first.end()] + f'<script src="{SCRIPT}"></script>'.encode() + answer[first.end() :]
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in OF_THE_WAY]
        self._send(response.status, kept, answer)

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _connect(self) -> None:
        with socket.create_connection(_endpoint(self.path)) as far:
            self.send_response_only(200)
            self.end_headers()
            self.relay.tunnel(self.connection, far)

    def _upgrade(self) -> None:
        url = urlsplit(self.path)
        target = self.path.removeprefix(f"{url.scheme}://{url.netloc}")
        lines = [f"{self.command} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        with socket.create_connection(_endpoint(url.netloc)) as far:
            far.sendall("\r\n".join([*lines, "", ""]).encode())
            self.relay.tunnel(self.connection, far)


def _endpoint(netloc: str) -> tuple[str, int]:
    host, _, port = netloc.rpartition(":") if ":" in netloc else (netloc, "", "80")
    # Browsers know that all of .localhost is this machine; resolvers need not.
    return "127.0.0.1" if host.endswith("localhost") else host, int(port)
