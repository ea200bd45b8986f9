"""The queue of clients for whom there is something to do soon, each of them once."""

from __future__ import annotations

from likd.runtime.notice import Notice
from likd.web.express.client import Client


class Line:
    """A client that was answered queues here: continuing within the acknowledgement would make the others wait."""

    def __init__(self) -> None:
        self._clients: list[Client] = []
        self._notice = Notice()

    def add(self, client: Client) -> None:
        """Continue with the client soon."""
        if not client.queued:
            client.queued = True
            if not self._clients:
                self._notice.give()
            self._clients.append(client)

    async def take(self) -> list[Client]:
        """Wait until somebody is in the queue, and take everybody in it."""
        await self._notice.wait()
        clients, self._clients = self._clients, []
        for client in clients:
            client.queued = False
        return clients
