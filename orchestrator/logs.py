"""Log lines: events with fields, for people or as JSON, with what must not stand in them masked.

structlog's events and the standard library's records (aiohttp, asyncpg, livekit) take the same way: merged with what is bound
to the task, stamped in UTC, masked, written. Masking comes last before writing, so that nothing gets past it: secrets always,
phone numbers unless a setting says otherwise, also inside nested values, objects and exceptions.

Must not know who logs, nor what the events mean.
"""

from __future__ import annotations

import enum
import logging
import re
import sys
from collections.abc import Mapping
from typing import TextIO, cast

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from orchestrator.ids import CallId
from orchestrator.numbers import mask
from orchestrator.settings import LogFormat, LogLevel
from orchestrator.settings_text import MASK

NUMBER_FIELDS = frozenset({"to", "caller_id", "caller_ids", "number", "numbers", "callee"})
"""Fields whose whole value is a phone number, or a list of them, however it is written."""
_SECRET_FIELD = re.compile(r"secret|password|authorization|(^|_)token$", re.IGNORECASE)
_NUMBER = re.compile(r"\+[0-9]{7,15}(?![0-9])")
_SECRETS = (
    (re.compile(r"(://)[^\s/]*@"), rf"\1{MASK}@"),  # user and password in a URL
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), MASK),  # a JSON web token
    (re.compile(r"(?i)\b(password|secret|token)(\s*[=:]\s*)[^\s,;&]+"), rf"\1\2{MASK}"),
)


class Masking:
    """Takes secrets and phone numbers out of an event, and turns its values into plain ones."""

    def __init__(self, *, mask_numbers: bool) -> None:
        self._mask_numbers = mask_numbers

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """One event, as structlog hands it over."""
        return {key: self._field(key, value) for key, value in event.items()}

    def _field(self, key: str, value: object) -> object:
        if value and _SECRET_FIELD.search(key):
            return MASK
        if self._mask_numbers and key in NUMBER_FIELDS:
            return (
                [mask(str(item)) for item in value]
                if isinstance(value, (list, tuple, set, frozenset))
                else value and mask(str(value))
            )
        return self._value(value)

    def _value(self, value: object) -> object:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self._text(value)
            case enum.Enum():
                return self._value(value.value)
            case Mapping():
                return {str(key): self._field(str(key), item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._value(item) for item in value]
            case _:
                return self._text(str(value))

    def _text(self, text: str) -> str:
        if self._mask_numbers and "+" in text:
            text = _NUMBER.sub(lambda number: mask(number[0]), text)
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
        return text


def configure(
    *,
    format: LogFormat,  # noqa: A002  the setting's own name
    level: LogLevel,
    mask_numbers: bool,
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the whole process; may be called again. `stream` None: standard error."""
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor
    match format:
        case LogFormat.JSON:
            renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
        case LogFormat.CONSOLE:
            # Plain traces: pretty ones show local variables, secrets among them.
            plain = structlog.dev.plain_traceback
            renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                Masking(mask_numbers=mask_numbers),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def call_logger(
    name: str = "orchestrator.calls", *, call_id: CallId, account: str, **fields: object
) -> structlog.stdlib.BoundLogger:
    """The logger `name`, whose every line carries the call's id, its account and `fields` (attempt, epoch ...)."""
    logger = structlog.get_logger(name).bind(call_id=call_id, account=account, **fields)
    return cast("structlog.stdlib.BoundLogger", logger)
