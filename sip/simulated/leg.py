"""One callee's script, played: what the port tells of a leg. The port's `Leg`.

The callee's answers become the signals that a media server would show, and `sip.causes` reads them as it does those of a real
trunk. Knows nothing of rooms and agents.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sip.causes import HangupCause, Reading, Signal, cause_of_leave, hangup_cause
from sip.clock import Clock
from sip.early_media import with_early_media
from sip.errors import CarrierUnavailable
from sip.events import Answered, Dialled, Digit, EarlyMedia, Ended, Fact, Moment, Ringing, RoomEvent
from sip.leg import DialPlan, LegRecord
from sip.simulated import signals
from sip.simulated.agenda import Agenda
from sip.simulated.faults import Faults
from sip.simulated.messages import SimulatedPlayer
from sip.simulated.plans import check_digits
from sip.simulated.steps import (
    Answer,
    HangUp,
    LoseLeg,
    LoseMedia,
    NotTaken,
    PressDigit,
    Promise,
    Refuse,
    Ring,
    Script,
    StartEarlyMedia,
    Step,
)
from sip.voicemail.preconnect import EarlyMediaFinding

DURATION_BACKSTOP_S = 30.0
"""A carrier ends an answered call so long after our own maximum."""
SOURCE = "script"

NO_ROOM = Script(
    name="no_room",
    sentence="The room does not exist: no INVITE is sent.",
    steps=(NotTaken(0.02, signals.NO_ROOM_TEXT),),  # the time that it takes on a real server
    promise=Promise(
        cause=HangupCause.MEDIA_SERVER_UNAVAILABLE,
        end_reason="MEDIA_SERVER_UNAVAILABLE",
        dialled=Dialled.NO,
        only_on_expiry=True,
    ),
)


class LegState(enum.Enum):
    """How far a leg is, in the media server's words."""

    DIALING = "dialing"
    RINGING = "ringing"
    ACTIVE = "active"
    HANGUP = "hangup"


class SimulatedLeg:
    """One dialled leg."""

    def __init__(
        self,
        *,
        plan: DialPlan,
        script: Script,
        clock: Clock,
        agenda: Agenda,
        tell: Callable[[RoomEvent], None],
        faults: Faults,
        tell_agent: Callable[[float, Mapping[str, str]], None],
        early_finding: Callable[[float], EarlyMediaFinding | None],
    ) -> None:
        """`tell_agent` takes what the agent is told of the callee, and when; `early_finding` says what audio before the answer
        has told by some moment."""
        self.script = script
        self.state = LegState.DIALING
        self.digits_sent = ""
        """What the callee heard as DTMF."""
        self._plan = plan
        self._clock = clock
        self._agenda = agenda
        self._tell = tell
        self._faults = faults
        self._tell_agent = tell_agent
        self._early_finding = early_finding
        self._player = SimulatedPlayer(clock=clock, agenda=agenda, tell=tell)
        self._rang_at_s: float | None = None
        self._answered = False
        self._adopted = False

    def begin(self, dialled_at_s: float) -> None:
        """Send the INVITE."""
        self._agenda.at(dialled_at_s + self._plan.request_ring_s, self._give_up)
        for after_s, step in self.script.timeline():
            self._agenda.at(dialled_at_s + after_s, partial(self._play, step))

    @property
    def ended(self) -> bool:
        """Its end has been told."""
        return self.state is LegState.HANGUP

    async def hang_up(self) -> None:
        """End it. Raises CarrierUnavailable where `Faults` say so."""
        await self._faults.befall("hang_up", clock=self._clock)
        self.end_by_order()

    async def send_digits(self, digits: str) -> None:
        """Send DTMF; nobody hears it before the answer. Raises BadPlan for what is no digit."""
        check_digits(digits)
        if self.state is LegState.ACTIVE:
            self.digits_sent += digits

    async def leave_message(self, path: str) -> None:
        """Play a file, whose duration is all that matters. Raises CarrierUnavailable: it cannot be played, or one plays."""
        if self.ended:
            raise CarrierUnavailable("there is nobody to leave a message for")
        self._player.play(path)

    async def stop_message(self) -> None:
        """Play no further."""
        if not self.ended:
            self._player.stop()

    async def tell_agents(self, facts: Mapping[str, str]) -> None:
        """Let the agent know. Raises CarrierUnavailable."""
        if self.ended:
            raise CarrierUnavailable("the callee is gone")
        self._tell_agent(self._clock.now_s(), facts)

    def take_over(self, record: LegRecord) -> Sequence[Ringing | Answered]:
        """Somebody else's worker takes it over; returns what has happened that the record does not know of.

        Nobody watched, so that nobody knows when; and no request will tell the code of an end before the answer.
        """
        self._adopted = True
        now_s = self._clock.now_s()
        news: list[Ringing | Answered] = []
        rang = record.ringing
        if self._rang_at_s is not None and rang is None:
            rang = _between(record.dialled_at_s, now_s)
            news.append(Ringing(rang, SOURCE))
        if self._answered and record.answered is None:
            since_s = record.dialled_at_s if record.ringing is None else record.ringing.earliest_s
            news.append(Answered(_between(since_s, now_s), SOURCE, self._ids))
        return news

    def end_by_order(self) -> None:
        """We end it."""
        signal = signals.HUNG_UP_BY_US if self._answered else signals.TAKEN_AWAY
        self._end(self._clock.now_s(), signal, Reading(HangupCause.ORDERED, "ordered"))

    def end_with_its_room(self, at_s: float) -> None:
        """Somebody else deletes the room."""
        self._end(at_s, signals.ROOM_DELETED if self._answered else signals.ROOM_DELETED_BEFORE_THE_ANSWER)

    # What the far end does

    def _play(self, step: Step, at_s: float) -> None:
        match step:
            case Ring():
                self._ring(at_s)
            case StartEarlyMedia():
                self._ring(at_s)
                self._tell(EarlyMedia(Moment(at_s)))
            case Answer():
                self.state, self._answered = LegState.ACTIVE, True
                self.digits_sent += self._plan.dtmf
                self._agenda.at(
                    at_s + self._plan.max_duration_s + DURATION_BACKSTOP_S, lambda over_at_s: self._end(over_at_s, signals.BYE)
                )
                self._tell(Answered(Moment(at_s), SOURCE, self._ids))
            case PressDigit(digit=digit):
                self._tell(Digit(digit, Moment(at_s)))
            case LoseMedia(noticed_after_s=noticed_after_s):
                self._agenda.at(at_s + noticed_after_s, lambda noticed_at_s: self._end(noticed_at_s, signals.signal_of(step)))
            case NotTaken() | Refuse() | HangUp() | LoseLeg():
                self._end(at_s, signals.signal_of(step), dialled=Dialled.NO if isinstance(step, NotTaken) else Dialled.YES)

    def _ring(self, at_s: float) -> None:
        if self._rang_at_s is None:
            self.state, self._rang_at_s = LegState.RINGING, at_s
            self._tell(Ringing(Moment(at_s), SOURCE))

    def _give_up(self, at_s: float) -> None:
        if not self._answered:
            self._end(at_s, signals.RING_OUT)

    # Telling

    @property
    def _ids(self) -> Mapping[str, str]:
        dial_id = self._plan.dial_id
        return {"sip_call_id": f"simulated-{dial_id}", "livekit_sip_call_id": f"SCL_simulated{dial_id}"}

    def _end(self, at_s: float, signal: Signal, reading: Reading | None = None, *, dialled: Dialled | None = None) -> None:
        if self.ended:
            return
        self.state = LegState.HANGUP
        self._agenda.clear()
        rang = self._rang_at_s is not None or self._answered
        ring_s = None if self._rang_at_s is None else max(0.0, at_s - self._rang_at_s)
        if self._adopted and not self._answered:
            signal = Signal(disconnect_reason=signal.disconnect_reason)
            reading = reading or cause_of_leave(signal.disconnect_reason, rang=rang)
        if reading is None:
            reading = hangup_cause(
                signal,
                answered=self._answered,
                rang=rang,
                ring_s=ring_s,
                ring_timeout_s=self._plan.ring_timeout_s,
                rules=self._plan.trunk.rules,
            )
            if not self._answered:
                reading = with_early_media(reading, self._early_finding(at_s))
        evidence: dict[str, Fact] = {**reading.evidence, "rule": reading.rule, "source": SOURCE, "script": self.script.name}
        if ring_s is not None and not self._answered:
            evidence["ring_s"] = round(ring_s, 3)
        if dialled is None:
            # Where the media server says nothing more than that time is over, only an 18x or an answer proves a dial.
            dialled = Dialled.YES if rang else Dialled.UNKNOWN
        ids = self._ids if self._answered else {}
        self._tell(Ended(Moment(at_s), reading.cause, signal, dialled, rang, ids, evidence))


def _between(low_s: float, high_s: float) -> Moment:
    return Moment((low_s + high_s) / 2, abs(high_s - low_s) / 2)
