"""Logs: one line for each event that matters, for people on a terminal, as JSON elsewhere."""

from __future__ import annotations

import logging
import sys

import structlog

from likd.runtime.recent import FAULTS


def configure_logs(log_format: str, *, quiet: bool = False) -> None:
    """Set up structlog to write to standard error: "console", "json", or "auto", which asks for a terminal.

    `quiet` suppresses everything, for commands that report it themselves.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        # Tracebacks without local variables, which may hold clients' data.
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            FAULTS,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL if quiet else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
