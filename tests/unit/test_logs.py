from __future__ import annotations

import asyncio
import enum
import io
import json
import logging
import re
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from orchestrator.ids import CallId
from orchestrator.logs import call_logger, configure
from orchestrator.settings import LogFormat, LogLevel
from tests.unit.cli.logging_state import logging_as_it_was

__all__ = ["logging_as_it_was"]

NUMBER = "+14155552671"
SECRET = "correct-horse"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJBUEl4In0.abc_def-123"


class Kind(enum.Enum):
    BUSY = "busy"


@dataclass
class Plan:
    to: str
    secret: SecretStr


class Written:
    """What was written to a configured log."""

    def __init__(self, *, style: LogFormat = LogFormat.JSON, level: LogLevel = "info", mask_numbers: bool = True) -> None:
        self._stream = io.StringIO()
        configure(format=style, level=level, mask_numbers=mask_numbers, stream=self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def log_a_busy_call() -> None:
    structlog.get_logger("orchestrator.test").info("call_ended", call_id=CallId(7), end_reason=Kind.BUSY, ring_ms=4210)


# -- form


def test_an_event_is_one_json_object_with_its_fields_and_a_utc_time() -> None:
    written = Written()
    log_a_busy_call()
    (line,) = written.lines
    time = line.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", time)
    assert line == {
        "event": "call_ended",
        "level": "info",
        "logger": "orchestrator.test",
        "call_id": 7,
        "end_reason": "busy",
        "ring_ms": 4210,
    }


def test_an_event_for_people_is_one_line_without_colours_where_there_is_no_terminal() -> None:
    written = Written(style=LogFormat.CONSOLE)
    log_a_busy_call()
    (line,) = written.text.splitlines()
    assert "call_ended" in line
    assert "end_reason=busy" in line
    assert "ring_ms=4210" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("style", list(LogFormat))
def test_the_standard_librarys_records_take_the_same_way(style: LogFormat) -> None:
    written = Written(style=style)
    logging.getLogger("aiohttp.server").warning(
        "cannot reach %s at %s", NUMBER, f"postgres://u:{SECRET}@h/d", extra={"to": NUMBER}
    )
    assert "aiohttp.server" in written.text
    assert "cannot reach ********2671 at postgres://**********@h/d" in written.text
    assert len(written.text.splitlines()) == 1


@pytest.mark.parametrize("get_logger", [structlog.get_logger, logging.getLogger])
def test_what_is_below_the_level_is_not_written(get_logger: Callable[[str], Any]) -> None:
    log = get_logger("x")
    written = Written(level="info")
    log.debug("unheard")
    assert written.text == ""
    written = Written(level="debug")
    log.debug("heard")
    assert "heard" in written.text


def test_configuring_again_replaces_and_does_not_double() -> None:
    first, second = Written(), Written()
    log_a_busy_call()
    assert first.text == ""
    assert len(second.lines) == 1


def test_warnings_of_python_are_log_lines() -> None:
    written = Written()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = written.lines
    assert line["logger"] == "py.warnings"


@pytest.mark.parametrize("style", list(LogFormat))
def test_an_exception_is_logged_with_its_trace_and_without_local_variables(style: LogFormat) -> None:
    written = Written(style=style)
    api_secret = SECRET

    def fail() -> None:
        raise RuntimeError(f"cannot dial {NUMBER} with {TOKEN}", len(api_secret))

    for log in (structlog.get_logger("x"), logging.getLogger("x")):
        try:
            fail()
        except RuntimeError:
            log.exception("conductor_failed")
    assert written.text.count("Traceback (most recent call last)") == 2
    assert written.text.count("RuntimeError") >= 2
    for hidden in (NUMBER, TOKEN, SECRET):
        assert hidden not in written.text


# -- masking


def test_phone_numbers_show_their_last_four_digits_wherever_they_stand() -> None:
    written = Written()
    structlog.get_logger("x").info(
        f"dialling {NUMBER}",
        to=NUMBER,
        caller_id="4155552671",
        caller_ids=["+442079460123", "+442079460124"],
        error=f"no route to {NUMBER}, nor to {NUMBER}!",
        evidence={"text": f"sip:{NUMBER}@h", "to": NUMBER, "nested": [{"number": NUMBER}]},
        plan=Plan(to=NUMBER, secret=SecretStr(SECRET)),
    )
    (line,) = written.lines
    assert NUMBER not in written.text
    assert NUMBER[1:] not in written.text
    assert line["to"] == "********2671"
    assert line["caller_id"] == "******2671"
    assert line["caller_ids"] == ["*********0123", "*********0124"]
    assert line["error"] == "no route to ********2671, nor to ********2671!"
    assert line["evidence"]["nested"] == [{"number": "********2671"}]


def test_phone_numbers_stand_in_full_where_the_setting_says_so_and_secrets_still_do_not() -> None:
    written = Written(mask_numbers=False)
    structlog.get_logger("x").info("call_dialing", to=NUMBER, text=f"to {NUMBER}", api_secret=SECRET)
    (line,) = written.lines
    assert line["to"] == NUMBER
    assert line["text"] == f"to {NUMBER}"
    assert line["api_secret"] != SECRET


def test_what_only_looks_like_a_number_is_left_alone() -> None:
    written = Written()
    room = f"oc-{uuid.uuid4().hex[:8]}-12345678901-1"
    structlog.get_logger("x").info(
        "e", room=room, call_id=12345678901, text="1+1=2, +12, 2026-11-21T05:00:00+00:00", number=None
    )
    (line,) = written.lines
    assert (line["room"], line["call_id"], line["number"]) == (room, 12345678901, None)
    assert line["text"] == "1+1=2, +12, 2026-11-21T05:00:00+00:00"


@pytest.mark.parametrize("mask_numbers", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        {"api_secret": SECRET},
        {"password": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"token": SECRET},
        {"headers": {"Authorization": SECRET}},
        {"url": f"postgresql://user:{SECRET}@host/db"},
        {"error": f"connect postgresql://user:p@{SECRET}@host failed"},
        {"error": f"bad dsn: host=h password={SECRET} user=u"},
        {"secret": SecretStr(SECRET)},
        {"value": SecretStr(SECRET)},
        {"text": f"token {TOKEN}"},
    ],
)
def test_secrets_are_never_written(fields: dict[str, Any], mask_numbers: bool) -> None:
    written = Written(mask_numbers=mask_numbers)
    structlog.get_logger("x").error("e", **fields)
    assert len(written.lines) == 1
    assert SECRET not in written.text
    assert TOKEN not in written.text


def test_ids_and_counts_are_no_secrets() -> None:
    written = Written()
    structlog.get_logger("x").info("e", tokens_used=3, sip_call_id="abc@host", token="", worker="a1b2")
    (line,) = written.lines
    assert (line["tokens_used"], line["sip_call_id"], line["token"], line["worker"]) == (3, "abc@host", "", "a1b2")


# -- the call's id


def test_every_line_of_a_call_carries_its_id() -> None:
    written = Written()
    log = call_logger(call_id=CallId(7), account="acme", attempt=2)
    log.info("call_ringing")
    log.bind(trunk="t").warning("call_requeued")
    assert [(line["call_id"], line["account"], line["attempt"]) for line in written.lines] == [(7, "acme", 2)] * 2


async def test_what_a_task_binds_is_on_its_lines_and_on_no_others() -> None:
    written = Written()

    async def conduct(call_id: int) -> None:
        structlog.contextvars.bind_contextvars(call_id=call_id)
        await asyncio.sleep(0)
        logging.getLogger("livekit").info("library speaks")
        structlog.get_logger("x").info("we speak")

    await asyncio.gather(asyncio.create_task(conduct(1)), asyncio.create_task(conduct(2)))
    log_a_busy_call()
    assert sorted(line["call_id"] for line in written.lines) == [1, 1, 2, 2, 7]
