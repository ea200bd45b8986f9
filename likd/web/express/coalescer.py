"""Coalescer: makes one submission of single events that are ready at the same moment."""

from __future__ import annotations

from collections.abc import Callable

from likd.model import Accepted, Events, Outcome, Submission
from likd.web.answers import Responses
from likd.web.api.events import Posting
from likd.web.express.exchange import Exchange


class Coalescer:
    """Requests of one event each that are submitted and answered together.

    `send` is called with each of them and its answer.
    """

    def __init__(self, posting: Posting, responses: Responses, send: Callable[[Exchange, bytes], object]) -> None:
        self._posting = posting
        self._responses = responses
        self._send = send
        self._events: Events = {}
        self._exchanges: list[Exchange] = []

    def add(self, exchange: Exchange, event: tuple[str, str]) -> None:
        """Let a request that is one event go with the others."""
        kind, url = event
        urls = self._events.setdefault(kind, {})
        urls[url] = urls.get(url, 0) + 1
        self._exchanges.append(exchange)

    def submit(self) -> None:
        """Submit the gathered events, if any."""
        if not self._exchanges:
            return
        exchanges, self._exchanges = self._exchanges, []
        events, self._events = self._events, {}

        def settled(outcome: Outcome) -> None:
            answer = self._posting.answer(Accepted(1) if isinstance(outcome, Accepted) else outcome)
            response = self._responses.make(answer, keep_alive=True)
            for exchange in exchanges:
                if exchange.keep_alive and not exchange.headers:
                    self._send(exchange, response)
                else:
                    alone = self._responses.make(answer, keep_alive=exchange.keep_alive, extra=exchange.headers)
                    self._send(exchange, alone)

        answering = self._posting.submit_nowait(Submission(events, len(exchanges), requests=len(exchanges)))
        assert answering is not None, "events without actors need no look into the store"
        answering.on_settled(settled)
