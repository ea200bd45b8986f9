"""The fast path: one event, sent whole on a resting connection, with a head and a body that came before.

Nearly all requests to a busy daemon are like this, and going through everything a request could be took longer than
reading and answering it. Here a request is recognised because the same bytes were parsed before. Everything else goes
the usual way, as if it had not been looked at: connection, gate and coalescer are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from likd.web.access.gate import Gate
from likd.web.express.connection import Connection
from likd.web.express.exchange import Exchange
from likd.web.express.http1 import Heads

Recall: TypeAlias = Callable[[bytes], tuple[str, str] | None]
"""The kind and URL of a body that is one event, if the same bytes came before."""


@attrs.frozen
class FastPath:
    """Begins requests whose `recall`ed event everyone may post, by giving them to the coalescer at once."""

    heads: Heads
    gate: Gate
    recall: Recall
    gather: Callable[[Exchange, tuple[str, str]], None]

    def begin(self, client: object, http: Connection, data: bytes, now: float) -> bool:
        """Begin the request that a resting `client` sent in `data`, if it is such a one. Returns whether it was."""
        end = data.find(b"\r\n\r\n") + 4
        head = self.heads.recall(data[:end])
        if head is None or not head.frequent or head.length != len(data) - end:
            return False
        body = data[end:]
        event = self.recall(body)
        if event is None or not self.gate.lets_everyone(head.credentials):
            return False
        exchange = http.begin(head, body, now)
        exchange.client = client
        self.gather(exchange, event)
        return True
