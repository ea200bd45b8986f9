"""The line of clients for whom there is something to do soon, each of them once."""

from __future__ import annotations

from likd.runtime.notice import Notice
from likd.web.express.client import Client


class Line:
    """Whoever is answered stands in line here: to go on within the acknowledgement would make the others wait."""

    def __init__(self) -> None:
        self._clients: list[Client] = []
        self._notice = Notice()

    def add(self, client: Client) -> None:
        """Go on with the client soon."""
        if not client.queued:
            client.queued = True
            if not self._clients:
                self._notice.give()
            self._clients.append(client)

    async def take(self) -> list[Client]:
        """All who stand in line, as soon as somebody does."""
        await self._notice.wait()
        clients, self._clients = self._clients, []
        for client in clients:
            client.queued = False
        return clients
