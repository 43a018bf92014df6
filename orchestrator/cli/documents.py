"""Values as programs read them: what `--json` prints.

Names and meanings are those of orchestrator.store.views and OUTCOMES.md.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

from orchestrator.cli.words import shown_number
from orchestrator.outcomes import OUTCOMES, call_status, visible_status
from orchestrator.store.policy import TrunkStatus
from orchestrator.store.views import CallRow, CallView

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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
            return fields_of(cast("DataclassInstance", value))
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def text_of(value: object) -> str:
    """The JSON of a document, on one line."""
    return json.dumps(document(value), ensure_ascii=False)


def fields_of(row: DataclassInstance, *, but: frozenset[str] = frozenset()) -> Document:
    """The fields of a row by name, except those in `but`."""
    return {field.name: document(getattr(row, field.name)) for field in dataclasses.fields(row) if field.name not in but}


def call_document(call: CallRow, *, numbers_in_full: bool) -> Document:
    """A call, with its public status and all that is known of its end."""
    members = fields_of(call, but=frozenset({"outcome"}))
    to = shown_number(call.to, in_full=numbers_in_full)
    members["to"] = to
    members["caller_id"] = shown_number(call.caller_id, in_full=numbers_in_full) or None
    if call.idempotency_key is not None:
        members["idempotency_key"] = call.idempotency_key.replace(call.to, to)  # keys of files hold the number
    members["metadata"] = json.loads(call.metadata)
    members["visible_status"] = visible_status(call.state).value
    members["call_status"] = call_status(call.state, call.end_reason).value
    members["ended_by"] = OUTCOMES[call.end_reason].by.value if call.end_reason else None
    if call.outcome is not None:
        members |= fields_of(call.outcome, but=frozenset({"state", "reason"}))
    return members


def view_document(view: CallView) -> Document:
    """A call with its attempts, dials and events."""
    return {
        **call_document(view.call, numbers_in_full=True),
        "attempts": document(view.attempts),
        "dials": document(view.dials),
        "events": document(view.events),
    }


def trunk_document(status: TrunkStatus) -> Document:
    """A trunk with its limits, flat."""
    return {**fields_of(status.trunk), **fields_of(status, but=frozenset({"trunk"}))}
