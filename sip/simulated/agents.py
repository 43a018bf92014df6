"""Simulated agents: they come when asked, end the call when its script says so, and misbehave on request.

The request is part of the call's own metadata, which every agent is given:

    orchestrator enqueue +12125550130 --metadata '{"simulated_agent": "crashes"}'

`Behaviour` lists what can be asked for. Knows the room only by what it may do there: tell events, delete it.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping

from sip.errors import RoomRefused
from sip.events import AgentJoined, AgentLeft, EndSignal, Moment, OptOut, RoomEvent
from sip.simulated.agenda import Agenda

IDENTITY = "agent-simulated"
METADATA_KEY = "simulated_agent"
ENDS_AFTER_S = 5.0
ACTS_AFTER_S = 3.0
"""After the answer, in the middle of the conversation."""
AWAY_S = 4.0
"""Well within the grace that agents have for coming back (10 s by default)."""
VANISHES_AFTER_RING_S = 1.0
WAITS_S = 10.0
"""After its end signal for the room to be closed; then it leaves, as the documented helper for agents does."""

SPEAKS_S = 3.0
PLAN, SPEAK_NOW = "orchestrator.plan", "speak_now"
"""What agents are told when the beep is over."""

OPT_OUT_REASON = "asked not to be called again"

_CRASHED = "CONNECTION_TIMEOUT"
_LEFT = "CLIENT_INITIATED"


class Behaviour(enum.Enum):
    """What an agent does; the value is its name in the call's metadata."""

    STAYS = "stays"
    """The default: stays until the end, and ends the call by the end signal when the callee's script says so."""
    ENDS_AFTER_5_S = "ends_after_5_s"
    """Gives the end signal 5 s after the answer, and waits 10 s for the room to be closed before it leaves."""
    CRASHES = "crashes"
    """Is gone without a signal 3 s after the answer, and never comes back."""
    RETURNS = "returns"
    """Is gone without a signal 3 s after the answer, and back 4 s later; then as `stays`."""
    VANISHES_WHILE_RINGING = "vanishes_while_ringing"
    """Is gone without a signal 1 s after the first 18x, and never comes back."""
    LEAVES_ON_PURPOSE = "leaves_on_purpose"
    """Gives the end signal 3 s after the answer and leaves in the same moment: the leave is the first that is known of it."""
    LEAVES_QUIETLY = "leaves_quietly"
    """Leaves politely 3 s after the answer, without a signal."""
    OPTS_OUT = "opts_out"
    """Reports 3 s after the answer that the callee wants no more calls; else as `stays`."""
    SPEAKS_AFTER_BEEP = "speaks_after_beep"
    """Ends the call 3 s after it was told to leave its message, as if it had spoken it; else as `stays`."""
    DELETES_ROOM = "deletes_room"
    """Ends the call 3 s after the answer by deleting the room, as the agents library's own tool does."""


def behaviour_of(agent_metadata: str) -> Behaviour:
    """The behaviour that the job's metadata ask for. Raises RoomRefused for one that is not known."""
    try:
        job = json.loads(agent_metadata)
    except ValueError as error:
        raise RoomRefused(f"the agent's metadata are not JSON: {error}") from error
    call = job.get("metadata") if isinstance(job, dict) else None
    name = call.get(METADATA_KEY, Behaviour.STAYS.value) if isinstance(call, dict) else Behaviour.STAYS.value
    for behaviour in Behaviour:
        if behaviour.value == name:
            return behaviour
    known = ", ".join(behaviour.value for behaviour in Behaviour)
    raise RoomRefused(f"metadata: {METADATA_KEY} is {name!r}; the simulated agents know {known}")


class SimulatedAgent:
    """One agent of one room."""

    def __init__(
        self,
        *,
        behaviour: Behaviour,
        agenda: Agenda,
        tell: Callable[[RoomEvent], None],
        delete_room: Callable[[float], None],
    ) -> None:
        self.present = False
        self._behaviour = behaviour
        self._agenda = agenda
        self._tell = tell
        self._delete_room = delete_room
        self._signal = ""
        self._has_opted_out = False

    def join(self, at_s: float) -> None:
        """Come in, or back."""
        if not self.present:
            self.present = True
            self._tell(AgentJoined(IDENTITY, Moment(at_s)))

    def give_signal(self, at_s: float, reason: str) -> None:
        """Ask for the end of the call."""
        if self.present and not self._signal:
            self._signal = reason
            self._tell(EndSignal(IDENTITY, Moment(at_s), reason))
            self._agenda.at(at_s + WAITS_S, self.leave)

    def report_opt_out(self, at_s: float, reason: str = OPT_OUT_REASON) -> None:
        """Say that the callee wants no more calls."""
        if self.present and not self._has_opted_out:
            self._has_opted_out = True
            self._tell(OptOut(IDENTITY, Moment(at_s), reason))

    def leave(self, at_s: float, *, reason: str = _LEFT, signal: str = "") -> None:
        """Leave the room; `signal`: the end signal that it gives in the same moment."""
        if self.present:
            self.present = False
            signal = signal or self._signal
            self._tell(AgentLeft(IDENTITY, Moment(at_s), on_purpose=bool(signal), reason=signal or reason))

    def hear_ringing(self, at_s: float) -> None:
        """The callee's phone rings."""
        if self._behaviour is Behaviour.VANISHES_WHILE_RINGING:
            self._agenda.at(at_s + VANISHES_AFTER_RING_S, self._crash)

    def hear_answer(self, at_s: float, *, ends_after_s: float | None) -> None:
        """The callee has answered; `ends_after_s`: when the callee's script would have the agent end the call."""
        acts_at_s = at_s + ACTS_AFTER_S
        match self._behaviour:
            case Behaviour.STAYS:
                self._plan_end(at_s, ends_after_s)
            case Behaviour.ENDS_AFTER_5_S:
                self._plan_end(at_s, ENDS_AFTER_S)
            case Behaviour.CRASHES:
                self._agenda.at(acts_at_s, self._crash)
            case Behaviour.RETURNS:
                self._agenda.at(acts_at_s, self._crash)
                self._agenda.at(acts_at_s + AWAY_S, self.join)
                self._plan_end(at_s, None if ends_after_s is None else max(ends_after_s, ACTS_AFTER_S + AWAY_S))
            case Behaviour.VANISHES_WHILE_RINGING:
                pass
            case Behaviour.LEAVES_ON_PURPOSE:
                self._agenda.at(acts_at_s, lambda left_at_s: self.leave(left_at_s, signal="done"))
            case Behaviour.LEAVES_QUIETLY:
                self._agenda.at(acts_at_s, self.leave)
            case Behaviour.SPEAKS_AFTER_BEEP:
                self._plan_end(at_s, ends_after_s)
            case Behaviour.OPTS_OUT:
                self._agenda.at(acts_at_s, self.report_opt_out)
                self._plan_end(at_s, ends_after_s)
            case Behaviour.DELETES_ROOM:
                self._agenda.at(acts_at_s, self._delete_room)

    def hear_facts(self, at_s: float, facts: Mapping[str, str]) -> None:
        """The orchestrator says what it knows of the callee and what it is about to do."""
        if self._behaviour is Behaviour.SPEAKS_AFTER_BEEP and facts.get(PLAN) == SPEAK_NOW:
            self._agenda.at(at_s + SPEAKS_S, lambda spoken_at_s: self.give_signal(spoken_at_s, "message left"))

    def _plan_end(self, answered_at_s: float, ends_after_s: float | None) -> None:
        if ends_after_s is not None:
            self._agenda.at(answered_at_s + ends_after_s, lambda at_s: self.give_signal(at_s, "done"))

    def _crash(self, at_s: float) -> None:
        self.leave(at_s, reason=_CRASHED)
