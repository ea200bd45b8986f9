"""The fast path: one event, sent whole on a connection that rests, under a head and in a body that came before.

Of a busy daemon's requests nearly all are this, and to go through all that a request could be took longer than to read
and to answer it. Here it is told by what others of the same bytes were found to be. Whatever is otherwise goes
the usual way, as if it had not been looked at: the connection, the gate and the gathering are the same for both.
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
"""The kind and URL of a body that is one event and came in these bytes before."""


@attrs.frozen
class FastPath:
    """Begins requests whose `recall`ed event everyone may post: they are gathered at once."""

    heads: Heads
    gate: Gate
    recall: Recall
    gather: Callable[[Exchange, tuple[str, str]], None]

    def begin(self, client: object, http: Connection, data: bytes, now: float) -> bool:
        """Begin the request that `client` sent in `data` when it rested, if it is one of those; whether it was."""
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
