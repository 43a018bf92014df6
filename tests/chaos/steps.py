"""The named steps of a call at which a worker can be killed or stopped: before and after each thing that others can see."""

from __future__ import annotations

STATEMENTS = (
    "claim_calls",
    "describe_claims",
    "begin_dial",
    "record_ringing",
    "record_answer",
    "record_order",
    "withdraw_order",
    "record_opt_out",
    "finish_calls",
    "requeue_call",
    "requeue_stranded",
    "stage_calls",
    "adopt_call",
)
"""Statements by the names of their files."""
REQUESTS = ("open_room", "dial", "hang_up", "close_room", "adopt", "room_names")
"""What is asked of the carrier."""
SELDOM = (
    "record_order",
    "withdraw_order",
    "record_opt_out",
    "requeue_call",
    "requeue_stranded",
    "adopt_call",
    "hang_up",
    "adopt",
)
"""What few calls come to."""

STEPS = tuple(f"{when} {what}" for what in (*STATEMENTS, *REQUESTS) for when in ("before", "after"))
"""`after` a statement: it is committed, and nothing has been done about it yet."""
RARE_STEPS = tuple(step for step in STEPS if step.split()[1] in SELDOM)
INTENT_TO_REQUEST = ("after begin_dial", "before dial")
"""Between the intent and the one request."""
