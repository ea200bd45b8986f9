"""Listening sockets: a file that is left is replaced, one that is in use is nobody's to remove."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from likd.config.parsers import Bind, UnixBind
from likd.web.listeners import BindError, address, check_free, open_listeners


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


async def test_addresses_and_sockets_are_listened_on_together(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    listeners = await open_listeners([Bind("127.0.0.1", 0), UnixBind(path)], socket_mode=0o600)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert connects(path)
        tcp, unix = listeners.sockets
        assert address(tcp, "http", "/likes").endswith(f":{tcp.getsockname()[1]}/likes")
        assert address(unix, "http", "/likes") == f"unix:{path}"
    finally:
        listeners.close()
    assert not path.exists()


async def test_a_file_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
        crashed.listen()
    assert not connects(path)

    listeners = await open_listeners([UnixBind(path)])
    assert connects(path)
    listeners.close()


@pytest.mark.parametrize("backlog", [8, 0])
async def test_a_socket_in_use_is_left_alone_however_busy_it_is(tmp_path: Path, backlog: int) -> None:
    path = tmp_path / "likd.sock"
    with socket.socket(socket.AF_UNIX) as theirs, socket.socket(socket.AF_UNIX) as waiting:
        theirs.bind(str(path))
        theirs.listen(backlog)
        waiting.connect(str(path))
        made = path.stat().st_ino
        with pytest.raises(BindError, match=f"can't listen on unix:{path}: the address is in use"):
            await open_listeners([UnixBind(path)])
        assert path.stat().st_ino == made


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    path.write_text("notes")
    with pytest.raises(BindError, match="there is a file that is not a socket"):
        await open_listeners([UnixBind(path)])
    assert path.read_text() == "notes"


async def test_a_socket_of_datagrams_is_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        theirs.bind(str(path))
        with pytest.raises(BindError):
            await open_listeners([UnixBind(path)])
        assert path.exists()


async def test_a_file_that_has_become_anothers_stays(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    ours = await open_listeners([UnixBind(path)])
    path.unlink()
    theirs = await open_listeners([UnixBind(path)])
    ours.close()
    assert connects(path)
    theirs.close()


async def test_where_one_can_not_be_listened_on_none_is(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    with pytest.raises(BindError, match="unix:/nowhere/at/all: No such file"):
        await open_listeners([UnixBind(path), UnixBind(Path("/nowhere/at/all"))])
    assert not path.exists()


async def test_to_look_whether_an_address_is_free_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "likd.sock"
    await check_free([UnixBind(path)])
    assert not path.exists()
