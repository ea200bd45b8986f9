"""nchan, nginx's publish and subscribe by websockets, as Debian packages it."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import Wrong

CONFIGURATION = """
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {directory}/pid;
events {{ worker_connections 30000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/bodies;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port};
    location = /publish {{ nchan_publisher; nchan_channel_id hot; nchan_message_buffer_length 1; }}
    location = /v1/live {{ nchan_subscriber websocket; nchan_channel_id hot; nchan_subscriber_first_message -1; }}
  }}
}}
"""


def module() -> Path | None:
    """nginx's module, where it is."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        return None
    found = re.search(r"--modules-path=(\S+)", subprocess.run([nginx, "-V"], capture_output=True, text=True).stderr)
    place = Path(found[1] if found else "/usr/lib/nginx/modules") / "ngx_nchan_module.so"
    return place if place.exists() else None


def lacks() -> str:
    return "" if module() else "nginx with Debian's libnginx-mod-nchan: no figures of nchan"


@contextlib.contextmanager
def server() -> Iterator[tuple[int, int]]:
    """An nginx of its own with one channel: its process and port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="likd-bench-nchan-") as directory:
        Path(directory).chmod(0o755)
        file = Path(directory) / "nginx.conf"
        file.write_text(CONFIGURATION.format(module=module(), directory=directory, port=port))
        command = [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(file), "-e", f"{directory}/errors"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except ConnectionRefusedError:
                    if time.monotonic() > deadline:
                        raise Wrong("nginx did not start") from None
                    time.sleep(0.02)
            yield process.pid, port
        finally:
            process.terminate()
            process.wait(30)
