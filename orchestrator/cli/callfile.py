"""The columns of a file of calls. orchestrator.cli.rowfile reads it, orchestrator.cli.callrow says what a line asks for."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.rowfile import Columns, RowFile

OTHER_NAMES = {
    "to": (
        "phone",
        "phone_number",
        "number",
        "phonenumber",
        "telephone",
        "tel",
        "mobile",
        "callee",
        "to_number",
        "destination",
    ),
    "caller_id": ("from", "from_number", "callerid", "cli"),
    "agent": ("agent_name",),
    "run_at": ("scheduled_at", "schedule", "start_at", "at"),
    "expires_at": ("expiry", "expires", "expire_at"),
    "key": ("id", "idempotency_key", "external_id"),
    "ring_timeout_s": ("ring_timeout",),
    "max_duration_s": ("max_duration",),
    "display_name": ("name",),
    "headers": ("header",),
    "calling_hours": ("hours", "calling_window", "window"),
    "max_attempts": ("attempts", "tries"),
    "detection": ("amd", "voicemail", "voicemail_detection", "machine_detection"),
}

CALL_COLUMNS = Columns(
    names=(
        *("to", "account", "agent", "metadata", "caller_id", "display_name", "headers", "dtmf", "ring_timeout_s"),
        *("max_duration_s", "priority", "run_at", "expires_at", "key", "trunk", "calling_hours"),
        *("max_attempts", "redial", "detection"),
    ),
    needed="to",
    needed_holds="the number to call",
    rows="calls",
    example="to,metadata.name",
    hint="name it 'metadata.{name}' to give it to the agent",
    prefixes=("metadata.", "header."),
    other_names=OTHER_NAMES,
)


class CallFile(RowFile):
    """An open file of calls."""

    def __init__(self, *, path: Path) -> None:
        super().__init__(path=path, columns=CALL_COLUMNS)
