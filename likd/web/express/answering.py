"""Sends answers as bytes, and answers for requests that fail inside likd."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import structlog

from likd.web.answers import Answer, Responses, answer_problem
from likd.web.express.exchange import Exchange
from likd.web.problems import Problem

Send: TypeAlias = Callable[[Exchange, bytes], None]

log = structlog.get_logger(__name__)


class Answering:
    """Answers exchanges by calling `send` with the bytes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.responses = Responses()
        self.faults = 0
        """Requests that could not be answered because of a fault in likd."""

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Send `answer`, with the headers that the exchange adds to each."""
        response = self.responses.make(
            answer, keep_alive=exchange.keep_alive, extra=exchange.headers, head_only=exchange.head.head_only
        )
        self._send(exchange, response)

    def fail(self, exchange: Exchange, error: Exception) -> None:
        """Log and answer a failure: one request's fault must reach nobody else."""
        self.faults += 1
        log.error("request failed", fault=f"{type(error).__name__}: {error}", exc_info=error)
        self.answer(exchange, answer_problem(Problem(500, "the request could not be answered")))
