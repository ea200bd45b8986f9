"""Sends the clients of the live lane what is new: to all when the hub has news, to some when they are due."""

from __future__ import annotations

from collections.abc import Callable

import trio

from likd.runtime.notice import Notice
from likd.web.api.live_socket import LiveSessions
from likd.web.clients import CLIENTS_AT_ONCE, Clients
from likd.web.live.client import Client
from likd.web.live.connection import text_frame

TIMED_SECONDS = 0.1
"""The precision of the time at which a client is sent something without news from the hub."""


class Teller:
    """Goes through all `clients` whenever `news` is given, and calls `send` with the bytes for each."""

    def __init__(self, sessions: LiveSessions, clients: Clients[Client], send: Callable[[Client, bytes], None]) -> None:
        self.news = Notice()
        self._sessions = sessions
        self._clients = clients
        self._send = send
        self._message = self._frame = b""
        self._timed: dict[Client, float] = {}
        """When clients are due to be sent something although there is no news."""
        self._timed_first = Notice()

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_timed)
            while True:
                await self.news.wait()
                await self._broadcast()

    def tell(self, client: Client) -> None:
        """Send the client everything that it has not been sent yet, unless it has to take earlier output first."""
        if client.output or client.session is None:
            return
        for message in self._sessions.messages(client.session):
            if message is not self._message:
                self._message, self._frame = message, text_frame(message)
            self._send(client, self._frame)

    def tell_in_time(self, client: Client) -> None:
        """Send the client what is new, and remember when to do so again if there is no news."""
        self._timed.pop(client, None)
        self.tell(client)
        if client.session is not None:
            pause = self._sessions.pause(client.session)
            if pause != float("inf"):
                self._timed[client] = trio.current_time() + pause
                self._timed_first.give()

    def forget(self, client: Client) -> None:
        """Forget the client: it is sent nothing more."""
        self._timed.pop(client, None)

    async def _broadcast(self) -> None:
        clients = list(self._clients.by_descriptor.values())
        for begin in range(0, len(clients), CLIENTS_AT_ONCE):
            for client in clients[begin : begin + CLIENTS_AT_ONCE]:
                try:
                    self.tell(client)
                except Exception as error:
                    self._clients.failed(client, error)
            await trio.lowlevel.checkpoint()

    async def _tell_timed(self) -> None:
        while True:
            if not self._timed:
                await self._timed_first.wait()
            await trio.sleep(TIMED_SECONDS)
            now = trio.current_time()
            due = [client for client, at in self._timed.items() if at <= now]
            await self._clients.each(due, self.tell_in_time)
