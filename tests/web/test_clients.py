"""The clients of a lane: each is let go of once, whatever ends it, and the last one to go is noticed."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator

import pytest
import trio

from likd.web.clients import CLIENTS_AT_ONCE, Clients


class Client:
    def __init__(self, sock: socket.socket, leave: Callable[[], None]) -> None:
        self.socket = sock
        self.leave = leave
        self.interest: int = select.EPOLLIN
        self.output = b"not sent yet"


class Lane:
    """A lane's clients, with what became of them."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.closed: list[Client] = []
        self.clients: Clients[Client] = Clients(self.closed.append)
        self._others: list[socket.socket] = []

    def come(self) -> Client:
        mine, other = socket.socketpair()
        self._others.append(other)
        client = Client(mine, lambda: self.left.append(len(self.left)))
        self.clients.add(client)
        return client

    def end(self) -> None:
        self.clients.close_all()
        for other in self._others:
            other.close()


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane()
    yield lane
    lane.end()


def test_a_client_is_closed_once_and_gives_its_seat_back(lane: Lane) -> None:
    client = lane.come()
    lane.clients.close(client)
    lane.clients.close(client)
    assert (lane.closed, len(lane.left), client.output, list(lane.clients)) == ([client], 1, b"", [])


def test_a_client_that_is_forgotten_stays_connected_and_keeps_its_seat(lane: Lane) -> None:
    client = lane.come()
    assert lane.clients.forget(client)
    assert not lane.clients.forget(client)
    with client.socket:
        assert client.socket.send(b"x") == 1
    assert (lane.closed, lane.left) == ([], [])


def test_a_descriptor_that_another_client_has_now_is_not_the_old_ones(lane: Lane) -> None:
    old = lane.come()
    lane.clients.close(old)
    new = lane.come()
    lane.clients.close(old)
    assert list(lane.clients) == [new]


def test_one_clients_fault_ends_it_alone(lane: Lane) -> None:
    bad, good = lane.come(), lane.come()

    def act(client: Client) -> None:
        if client is bad:
            raise RuntimeError("a fault")

    for client in (bad, good):
        lane.clients.guard(act, client)

    assert (lane.closed, list(lane.clients), lane.clients.faults) == ([bad], [good], 1)


async def test_others_get_their_turns_while_something_is_done_for_each(lane: Lane) -> None:
    for _ in range(4 * CLIENTS_AT_ONCE):
        lane.come()
    done: list[Client] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.clients.each, lane.clients, done.append)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert 0 < len(done) < 4 * CLIENTS_AT_ONCE
    assert len(done) == 4 * CLIENTS_AT_ONCE


async def test_the_last_one_to_go_is_noticed_after_a_stop(lane: Lane) -> None:
    first, last = lane.come(), lane.come()
    lane.clients.close(first)
    lane.clients.stop()
    lane.clients.close(last)
    with trio.fail_after(1):
        await lane.clients.wait_stopped()


async def test_where_nobody_is_there_a_stop_is_at_once(lane: Lane) -> None:
    lane.clients.stop()
    with trio.fail_after(1):
        await lane.clients.wait_stopped()
