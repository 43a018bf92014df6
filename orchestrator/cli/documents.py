"""Values as programs read them: what `--json` prints. Names and meanings are those of orchestrator.store.views and OUTCOMES.md."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.outcomes import OUTCOMES, call_status, visible_status
from orchestrator.store.policy import TrunkStatus
from orchestrator.store.views import CallRow, CallView
from sip.leg import E164

from orchestrator.cli.words import shown_number

Document = dict[str, object]


def document(value: object) -> object:
    """Any row of the store as JSON: fields by name, enums as their values, times as RFC 3339 in UTC."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case enum.Enum():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case UUID():
            return str(value)
        case Mapping():
            return {str(document(key)): document(member) for key, member in value.items()}
        case frozenset() | set():
            return sorted((document(member) for member in value), key=str)
        case list() | tuple():
            return [document(member) for member in value]
        case _ if dataclasses.is_dataclass(value):
            return {field.name: document(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def text_of(value: object) -> str:
    """The JSON of a document, on one line."""
    return json.dumps(document(value), ensure_ascii=False)


def call_document(call: CallRow, *, numbers_in_full: bool) -> Document:
    """A call, with its public status and all that is known of its end."""
    outcome = call.outcome
    members = {field.name: document(getattr(call, field.name)) for field in dataclasses.fields(call) if field.name != "outcome"}
    members["to"] = shown_number(call.to, in_full=numbers_in_full)
    members["caller_id"] = shown_number(call.caller_id, in_full=numbers_in_full) or None
    members["metadata"] = json.loads(call.metadata)
    members["visible_status"] = visible_status(call.state).value
    members["call_status"] = call_status(call.state, call.end_reason).value
    members["ended_by"] = OUTCOMES[call.end_reason].by.value if call.end_reason else None
    if outcome is not None:
        known = ("state", "reason")
        members |= {field.name: document(getattr(outcome, field.name)) for field in dataclasses.fields(outcome) if field.name not in known}
    return members


def view_document(view: CallView) -> Document:
    """A call with its attempts, dials and events."""
    return {
        **call_document(view.call, numbers_in_full=True),
        "attempts": call_parts(view.attempts),
        "dials": call_parts(view.dials),
        "events": call_parts(view.events),
    }


def call_parts(rows: tuple[object, ...]) -> list[object]:
    """Rows that belong to a call, one document each."""
    return [document(row) for row in rows]


def trunk_document(status: TrunkStatus) -> Document:
    """A trunk with its limits, flat."""
    members = {field.name: document(getattr(status, field.name)) for field in dataclasses.fields(status) if field.name != "trunk"}
    trunk = {field.name: document(getattr(status.trunk, field.name)) for field in dataclasses.fields(status.trunk)}
    return {**trunk, **members}


__all__ = ["E164", "Document", "call_document", "document", "text_of", "trunk_document", "view_document"]
