"""How a listener process logs: warnings and worse, as JSON lines on stderr, which the daemon's service manager keeps."""

from __future__ import annotations

import logging
import sys

import structlog


def log_to_stderr() -> None:
    """Set up structlog and the standard library's logging, which the client library uses."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    # It reports every room that closes as an error of its data channels.
    logging.getLogger("livekit").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
