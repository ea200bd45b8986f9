"""A PgBouncer in transaction mode before a PostgreSQL of the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import postgres

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
START_SECONDS = 10.0


@contextmanager
def before(server: postgres.Server, directory: Path, *, connections: int = 1) -> Iterator[int]:
    """Run one with so many connections to `server` for each database; its port."""
    assert PROGRAM is not None
    port = postgres.free_port()
    (directory / "users").write_text('"likd" ""\n')
    (directory / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host=127.0.0.1 port={server.port}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = trust
        auth_file = {directory / "users"}
        pool_mode = transaction
        default_pool_size = {connections}
        """
    )
    if postgres.as_nobody():
        for path in (directory, *directory.iterdir()):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    command = [*postgres.as_nobody(), PROGRAM, "-q", str(directory / "pgbouncer.ini")]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port):
                assert process.poll() is None, (directory / "log").read_text()
                assert time.monotonic() < deadline, "PgBouncer does not answer"
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
