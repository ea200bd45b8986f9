"""Logs: one line for each event that matters, for people on a terminal, as JSON elsewhere."""

from __future__ import annotations

import sys

import structlog


def configure_logs(format: str) -> None:
    """Set up structlog to write to standard error: "console", "json", or "auto", which asks for a terminal."""
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        # Tracebacks without local variables: those hold clients' data.
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
