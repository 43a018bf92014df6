"""The states of a call and the transitions between them (OUTCOMES.md, States).

    scheduled -> ready -> claimed -> dialing -> ringing -> active -> ended
                                        \\__________________/  \\
                                         answered without 18x   (anything before active) -> not_connected | canceled

A call whose attempt has ended goes back to `scheduled` for the next one, after a machine's answer too (redial class `later`).
Should it expire before that one, it ends as the attempt did.
The list is closed: a transition that is not on it is an error of the program, never a log line.
"""

from __future__ import annotations

import enum

from orchestrator.errors import ForbiddenTransition


class State(enum.Enum):
    """Where a call is in its life."""

    SCHEDULED = "scheduled"
    READY = "ready"
    CLAIMED = "claimed"
    DIALING = "dialing"
    RINGING = "ringing"
    ACTIVE = "active"
    ENDED = "ended"
    NOT_CONNECTED = "not_connected"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """No transition leads out of it."""
        return not TRANSITIONS[self]

    @property
    def holds_a_slot(self) -> bool:
        """An account slot and a trunk channel are held in this state (I5)."""
        return self in HOLDING


TRANSITIONS: dict[State, frozenset[State]] = {
    State.SCHEDULED: frozenset({State.READY, State.ENDED, State.NOT_CONNECTED, State.CANCELED}),
    State.READY: frozenset({State.CLAIMED, State.SCHEDULED, State.ENDED, State.NOT_CONNECTED, State.CANCELED}),
    State.CLAIMED: frozenset({State.DIALING, State.READY, State.SCHEDULED, State.NOT_CONNECTED, State.CANCELED}),
    State.DIALING: frozenset({State.RINGING, State.ACTIVE, State.SCHEDULED, State.NOT_CONNECTED, State.CANCELED}),
    State.RINGING: frozenset({State.ACTIVE, State.SCHEDULED, State.NOT_CONNECTED, State.CANCELED}),
    State.ACTIVE: frozenset({State.ENDED, State.SCHEDULED}),
    State.ENDED: frozenset(),
    State.NOT_CONNECTED: frozenset(),
    State.CANCELED: frozenset(),
}

HOLDING = frozenset({State.CLAIMED, State.DIALING, State.RINGING, State.ACTIVE})


def check_transition(before: State, after: State) -> None:
    """Raise ForbiddenTransition unless the list allows it."""
    if after not in TRANSITIONS[before]:
        raise ForbiddenTransition(before.value, after.value)
