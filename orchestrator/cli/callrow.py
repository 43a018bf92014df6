"""What one line of a file of calls asks for: its values, and the command line's where it has none, as a NewCallRequest.

Only reads types; whether the call may be placed is orchestrator.enqueue's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestrator.detection import read_detection_text
from orchestrator.enqueue import NewCallRequest
from orchestrator.errors import BadInput


def request_from(values: Mapping[str, object], *, defaults: Mapping[str, object], batch: str | None) -> NewCallRequest:
    """The request of a line. `defaults`: by column name, for what the line leaves out. Raises BadInput."""
    given = {**defaults, **values}
    return NewCallRequest(
        account=_required(given, "account", remedy="add a column 'account', or say --account"),
        to=_required(given, "to", remedy="it holds the number to call"),
        agent=_text(given, "agent"),
        metadata=_metadata(given),
        caller_id=_text(given, "caller_id"),
        display_name=_text(given, "display_name"),
        headers=_headers(given),
        dtmf=_text(given, "dtmf") or "",
        ring_timeout_s=_number(given, "ring_timeout_s"),
        max_duration_s=_number(given, "max_duration_s"),
        priority=_whole(given, "priority") or 0,
        run_at=_moment(given, "run_at"),
        expires_at=_moment(given, "expires_at"),
        key=_text(given, "key"),
        batch=batch,
        trunk=_text(given, "trunk"),
        calling_hours=_hours(given),
        redial=_redial(given),
        detection=_detection(given),
    )


def read_moment(text: str, *, name: str) -> datetime:
    """A time as ISO 8601 with its zone. Raises BadInput."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{name} {text!r} is no time: write it like 2026-11-21T09:00:00Z") from error
    if moment.tzinfo is None:
        raise BadInput(f"{name} {text!r} has no zone: write it like {moment.isoformat()}Z for UTC, or with +01:00 and so on")
    return moment


def read_json(text: str, *, name: str) -> object:
    """A JSON value. Raises BadInput."""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{name} is not JSON: {error}") from error
    except RecursionError as error:
        raise BadInput(f"{name} is nested too deeply") from error
    return value


def _required(given: Mapping[str, object], name: str, *, remedy: str) -> str:
    text = _text(given, name)
    if not text:
        raise BadInput(f"{name!r} is missing: {remedy}")
    return text


def _text(given: Mapping[str, object], name: str) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadInput(f"{name!r} must be a text: put {json.dumps(value)[:40]} in quotation marks")


def _number(given: Mapping[str, object], name: str) -> float | None:
    value = given.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    raise BadInput(f"{name!r} must be a number, not {_short(value)}")


def _whole(given: Mapping[str, object], name: str) -> int | None:
    value = _number(given, name)
    if value is None:
        return None
    if math.isfinite(value) and value == int(value):
        return int(value)
    raise BadInput(f"{name!r} must be a whole number, not {_short(given[name])}")


def _moment(given: Mapping[str, object], name: str) -> datetime | None:
    text = _text(given, name)
    return read_moment(text, name=name) if text else None


def _metadata(given: Mapping[str, object]) -> object:
    whole = given.get("metadata", {})
    if isinstance(whole, str):
        whole = read_json(whole, name="'metadata'")
    members = _members(given, "metadata.")
    if not members:
        return whole
    if not isinstance(whole, Mapping):
        raise BadInput("'metadata' must be a JSON object where columns like 'metadata.name' add to it")
    for name in members:
        if name in whole:
            raise BadInput(f"metadata has {name!r} twice: in 'metadata' and as 'metadata.{name}'")
    return {**whole, **members}


def _headers(given: Mapping[str, object]) -> Mapping[str, str]:
    whole = given.get("headers", {})
    if isinstance(whole, str):
        whole = read_json(whole, name="'headers'")
    if not isinstance(whole, Mapping):
        raise BadInput('\'headers\' must be a JSON object like {"X-Campaign": "7"}')
    headers = {**whole, **_members(given, "header.")}
    for name, value in headers.items():
        if not isinstance(value, str):
            raise BadInput(f"the header {name!r} must be a text, not {_short(value)}")
    return headers


def _hours(given: Mapping[str, object]) -> Sequence[str] | None:
    """Rules as an array of texts, or as one text with semicolons between them."""
    value = given.get("calling_hours")
    if value is None:
        return None
    rules = value.split(";") if isinstance(value, str) else value
    if not isinstance(rules, list | tuple) or not all(isinstance(rule, str) for rule in rules):
        raise BadInput(f"'calling_hours' must be rules like 'mon-fri 09:00-17:30; sun closed', not {_short(value)}")
    return [rule.strip() for rule in rules]


def _redial(given: Mapping[str, object]) -> object:
    """`redial`, a JSON object, with `max_attempts` in it if that is given beside it."""
    whole = given.get("redial")
    if isinstance(whole, str):
        whole = read_json(whole, name="'redial'")
    attempts = _whole(given, "max_attempts")
    if attempts is None:
        return whole
    if whole is not None and not isinstance(whole, Mapping):
        raise BadInput(f"'redial' must be a JSON object, not {_short(whole)}")
    if whole is not None and "max_attempts" in whole:
        raise BadInput("max_attempts stands there twice: in 'redial' and beside it")
    return {**(whole or {}), "max_attempts": attempts}


def _detection(given: Mapping[str, object]) -> object:
    """A JSON object, or the words on and off."""
    value = given.get("detection")
    return read_detection_text(value) if isinstance(value, str) else value


def _members(given: Mapping[str, object], prefix: str) -> dict[str, object]:
    return {name[len(prefix) :]: value for name, value in given.items() if "." in name and name.startswith(prefix)}


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "..."
