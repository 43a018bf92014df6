"""What is heard of who answered becomes, through the conductor, orders, lines of the timeline, and the truth about the call.

The callee is the simulated carrier's; what listeners tell of it is told here, event by event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.calls import acts, conversation
from orchestrator.calls.plans import ListeningTimes
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.policy import AccountChange
from orchestrator.store.pool import Database
from orchestrator.store.records import Outcome
from orchestrator.store.views import CallView
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import Fact, ListeningLost, ListeningStarted, Moment, Quiet, RoomEvent
from sip.leg import Room, RoomPlan
from sip.simulated import callees
from sip.simulated.carrier import SimulatedCarrier
from sip.simulated.leg import SimulatedLeg
from sip.simulated.room import SimulatedRoom
from sip.simulated.steps import HangUp
from sip.voicemail.events import Kind, Stage
from tests.calls.test_recovery import Company, dead, survivor
from tests.fixtures.heard import Line
from tests.fixtures.orchestra import TIMES, Orchestra, a_queue, furnish, playing

__all__ = ["dead", "survivor"]

FILE = "/srv/bye.wav"


class Told:
    """What the legs of a test were asked to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.facts: list[Mapping[str, str]] = []
        self.played: list[str] = []
        self.stopped = 0
        self.broken = False

        async def tell_agents(_leg: SimulatedLeg, facts: Mapping[str, str]) -> None:
            self.facts.append(facts)

        async def leave_message(_leg: SimulatedLeg, path: str) -> None:
            if self.broken:
                raise CarrierUnavailable("nobody could play it")
            self.played.append(path)

        async def stop_message(_leg: SimulatedLeg) -> None:
            self.stopped += 1

        for order in (tell_agents, leave_message, stop_message):
            monkeypatch.setattr(SimulatedLeg, order.__name__, order, raising=False)

    async def until(self, name: str, value: str) -> None:
        """Until the agents have been told so; the patience only bounds a failing test."""
        async with asyncio.timeout(20):
            while not any(facts.get(name) == value for facts in self.facts):
                await asyncio.sleep(0.01)


class DeafCarrier(SimulatedCarrier):
    """Notes what is to be listened for, and hears nothing by itself."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.plans: list[RoomPlan] = []

    async def open_room(self, plan: RoomPlan) -> Room:
        self.plans.append(plan)
        return await super().open_room(replace(plan, listening=None))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


@pytest.fixture
def carrier(clock: Clock, told: Told) -> DeafCarrier:
    return DeafCarrier(clock=clock, deployment_id=uuid4(), seed=1)


@pytest.fixture
async def listening(database: Database, carrier: DeafCarrier, clock: Clock) -> AsyncIterator[Orchestra]:
    await furnish(database)
    times = replace(TIMES, listening=ListeningTimes(media_lost_s=15.0))
    orchestra = Orchestra(database=database, carrier=carrier, clock=clock, queue=await a_queue(database), times=times)
    async with playing(orchestra):
        yield orchestra


class Talk:
    """One call that has been answered and stays on the line until somebody ends it."""

    def __init__(self, orchestra: Orchestra, call_id: CallId) -> None:
        self.orchestra = orchestra
        self.call_id = call_id
        self.line = Line(answer_s=orchestra.clock.now_s())

    @classmethod
    async def begun(cls, orchestra: Orchestra, *, to: str = callees.TALKS_ON, **policy: object) -> Talk:
        # Limits that a slow machine does not reach while a test looks away.
        policy = {"on": True, "longest_message_s": 3600, "beep_wait_s": 600, **policy}
        call_id = await orchestra.enqueue(to=to, detection=policy, max_duration_s=3600.0)
        await orchestra.wait_until(call_id, "active")
        return cls(orchestra, call_id)

    @property
    def room(self) -> SimulatedRoom:
        (room,) = self.orchestra.carrier._rooms.values()
        return room

    def hear(self, *events: RoomEvent) -> None:
        """As if it were so far since the answer as the events say: what they follow from is not waited for."""
        for event in events:
            self.room._tell(event)

    def now_s(self) -> float:
        """Since the answer, on this line."""
        return self.orchestra.clock.now_s() - self.line.answer_s

    async def noted(self, kind: str) -> Mapping[str, Fact]:
        """The first line of the timeline of this kind, once it is there."""
        view = await self.orchestra.wait_until_it(self.call_id, lambda view: kind in kinds_of(view))
        return next(event.detail for event in view.events if event.kind == kind)

    async def ended(self) -> Outcome:
        outcome = (await self.orchestra.wait_until_ended(self.call_id)).call.outcome
        assert outcome is not None
        return outcome

    async def goes_on(self) -> None:
        """It is still active a while later."""
        await self.orchestra.clock.sleep(4.0)
        assert (await self.orchestra.row(self.call_id)).state is State.ACTIVE


def kinds_of(view: CallView) -> list[str]:
    return [event.kind for event in view.events]


# -- what is listened for ------------------------------------------------------------------------------------------------------


async def test_a_room_is_listened_to_as_its_accounts_and_its_calls_policy_say(listening: Orchestra, carrier: DeafCarrier):
    await listening.accounts.update(
        "acme", AccountChange(detection={"on": None, "silence_s": 30, "pace": "fast", "hold_first_words": True})
    )
    call = await listening.enqueue(to=callees.HANGS_UP_AT_ONCE, detection={"silence_s": 20, "silence_warning_s": 10})
    await listening.wait_until_ended(call)
    (plan,) = carrier.plans
    assert plan.listening is not None
    times = (plan.listening.silence_warning_s, plan.listening.silence_s, plan.listening.idle_s, plan.listening.media_lost_s)
    assert times == (10.0, 20.0, None, 15.0), "the call's, the account's, nobody's, the deployment's"
    assert plan.listening.detector.pace.value == "fast"
    assert json.loads(plan.agent_metadata)["detection"] == {"on": True, "hold_first_words": True}


async def test_nobody_listens_to_a_call_whose_detection_is_off(listening: Orchestra, carrier: DeafCarrier):
    await listening.wait_until_ended(await listening.enqueue(to=callees.HANGS_UP_AT_ONCE, detection={"on": False}))
    (plan,) = carrier.plans
    assert plan.listening is None
    assert json.loads(plan.agent_metadata)["detection"] == {"on": False, "hold_first_words": False}


async def test_nobody_listens_where_the_deployment_does_not(orchestra: Orchestra, carrier: DeafCarrier):
    await orchestra.wait_until_ended(await orchestra.enqueue(to=callees.HANGS_UP_AT_ONCE, detection={"on": True}))
    assert carrier.plans[0].listening is None


# -- verdicts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "policy", "reason", "answered_by", "status"),
    [
        (Kind.VOICEMAIL, "on_voicemail", EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED, AnsweredBy.MACHINE, "no_answer"),
        (Kind.MENU, "on_menu", EndReason.AGENT_HUNG_UP_BY_POLICY, AnsweredBy.IVR, "no_answer"),
        (Kind.SCREENING, "on_screening", EndReason.AGENT_HUNG_UP_BY_POLICY, AnsweredBy.SCREENING, "no_answer"),
        (Kind.MAILBOX_FULL, "on_mailbox_full", EndReason.AGENT_HUNG_UP_BY_POLICY, AnsweredBy.MACHINE, "no_answer"),
        (Kind.FAX, "on_fax", EndReason.FAX_DETECTED, AnsweredBy.FAX, "no_answer"),
    ],
)
async def test_a_machine_is_hung_up_on_as_the_policy_says(
    listening: Orchestra, told: Told, kind: Kind, policy: str, reason: EndReason, answered_by: AnsweredBy, status: str
):
    talk = await Talk.begun(listening, **{policy: "hang_up"})
    talk.hear(talk.line.verdict(4.0, kind))
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by, outcome.state) == (reason, answered_by, State.ENDED)
    assert (outcome.evidence["verdict"], outcome.evidence["verdict_s"]) == (kind.value, 4.0)
    assert (await talk.noted("verdict"))["rule"] == "timing"
    await listening.nothing_is_held()


async def test_the_verdict_says_who_answered_whatever_ended_the_call(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening)
    talk.hear(talk.line.verdict(4.0, Kind.VOICEMAIL))
    await told.until(acts.ANSWERED_BY, "voicemail")
    talk.room.leg._play(HangUp(0.0), listening.clock.now_s())
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by) == (EndReason.USER_HUNG_UP_IN_CALL, AnsweredBy.MACHINE)


async def test_a_person_is_talked_to(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="hang_up", on_machine="hang_up")
    talk.hear(talk.line.verdict(1.0, Kind.MACHINE, stage=Stage.FIRST), talk.line.person(2.0, stage=Stage.FINAL))
    await told.until(acts.ANSWERED_BY, "person")
    await talk.goes_on()
    await listening.calls.request_cancel(talk.call_id)
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by) == (EndReason.OPERATOR_HUNG_UP, AnsweredBy.HUMAN)
    assert (outcome.evidence["first_verdict"], outcome.evidence["verdict_stage"]) == ("machine", "final")


async def test_a_person_who_is_heard_before_the_carrier_has_taken_the_hang_up_is_not_hung_up_on(
    listening: Orchestra, carrier: DeafCarrier, told: Told
):
    carrier.faults.hang_up = 10_000
    talk = await Talk.begun(listening, on_voicemail="hang_up")
    talk.hear(talk.line.verdict(talk.now_s(), Kind.VOICEMAIL))
    await talk.noted("order")
    talk.hear(talk.line.person(talk.now_s()))
    await talk.noted("order_withdrawn")
    carrier.faults.hang_up = 0
    await talk.goes_on()
    await listening.calls.request_cancel(talk.call_id)
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by) == (EndReason.OPERATOR_HUNG_UP, AnsweredBy.HUMAN)
    assert outcome.evidence["order_withdrawn"] == "voicemail_hang_up"


async def test_an_agent_that_ends_the_call_too_when_it_hears_of_the_hang_up_does_not_change_its_reason(
    listening: Orchestra, carrier: DeafCarrier, told: Told
):
    carrier.faults.hang_up = 10_000
    talk = await Talk.begun(listening, on_voicemail="hang_up")
    talk.hear(talk.line.verdict(talk.now_s(), Kind.VOICEMAIL))
    await talk.noted("order")
    talk.room.agent.give_signal(listening.clock.now_s(), "a machine")
    talk.room.agent.leave(listening.clock.now_s())
    await talk.noted("agent_left")
    carrier.faults.hang_up = 0
    assert (await talk.ended()).reason is EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED


async def test_an_agent_that_ended_the_call_too_has_ended_it_if_the_hang_up_is_withdrawn(
    listening: Orchestra, carrier: DeafCarrier, told: Told
):
    carrier.faults.hang_up = 10_000
    talk = await Talk.begun(listening, on_voicemail="hang_up")
    talk.hear(talk.line.verdict(talk.now_s(), Kind.VOICEMAIL))
    await talk.noted("order")
    talk.room.agent.give_signal(listening.clock.now_s(), "goodbye")
    talk.hear(talk.line.person(talk.now_s()))
    await talk.noted("order_withdrawn")
    carrier.faults.hang_up = 0
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by) == (EndReason.AGENT_HUNG_UP, AnsweredBy.HUMAN)


async def test_both_verdicts_at_once_hang_up_on_nobody(listening: Orchestra, told: Told):
    """The process stood still, or the line was slow: what came together is heard before anything is done."""
    talk = await Talk.begun(listening, on_voicemail="hang_up")
    talk.hear(talk.line.verdict(4.0, Kind.VOICEMAIL), talk.line.person(4.4))
    await told.until(acts.ANSWERED_BY, "person")
    await talk.goes_on()


async def test_a_verdict_that_is_heard_late_is_not_acted_on_before_what_followed_it_may_have_come(
    listening: Orchestra, told: Told, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conversation, "SETTLE_S", 400.0)  # ten real seconds
    talk = await Talk.begun(listening, on_voicemail="hang_up")
    talk.line.answer_s -= 80.0  # two real seconds
    talk.hear(talk.line.verdict(1.0, Kind.VOICEMAIL))
    await talk.noted("order")
    talk.hear(talk.line.person(1.5))
    await talk.noted("order_withdrawn")
    await talk.goes_on()


# -- messages ------------------------------------------------------------------------------------------------------------------


async def test_a_recorded_message_is_left_after_the_beep(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="leave_message", message=FILE)
    talk.hear(talk.line.speech_starts(0.4), talk.line.verdict(4.0, Kind.VOICEMAIL), talk.line.beep(5.0))
    await told.until(acts.PLAN, "message_plays")
    talk.hear(talk.line.played(talk.now_s(), played_s=3.5))
    outcome = await talk.ended()
    assert told.played == [FILE]
    assert (outcome.reason, outcome.answered_by) == (EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE, AnsweredBy.MACHINE)
    assert (outcome.evidence["message_after"], outcome.evidence["message_s"], outcome.evidence["beep_s"]) == ("beep", 3.5, 5.0)
    view = await listening.calls.show(talk.call_id)
    kinds = kinds_of(view)
    assert kinds.index("verdict") < kinds.index("beep") < kinds.index("message") < kinds.index("message_played")


async def test_without_a_beep_the_message_is_left_when_the_greeting_is_over(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="leave_message", message=FILE, no_beep_wait_s=4.0)
    now_s = talk.now_s()
    talk.hear(
        talk.line.speech_starts(now_s), talk.line.verdict(now_s + 0.5, Kind.VOICEMAIL), talk.line.speech_ends(now_s + 1.0)
    )
    await told.until(acts.PLAN, "message_plays")
    assert talk.now_s() >= now_s + 5.0
    assert told.played == [FILE]
    assert (await talk.noted("message"))["after"] == "greeting"


async def test_an_agent_that_speaks_after_the_beep_and_ends_the_call_has_left_a_message(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="leave_message")
    talk.hear(talk.line.verdict(4.0, Kind.VOICEMAIL), talk.line.beep(5.0))
    await told.until(acts.PLAN, "speak_now")
    talk.room.agent.give_signal(listening.clock.now_s(), "message left")
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by) == (EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE, AnsweredBy.MACHINE)
    assert outcome.evidence["order_reason"] == "message left"
    assert told.played == []


async def test_an_agent_that_ends_the_call_before_it_may_speak_has_hung_up(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="leave_message")
    talk.hear(talk.line.speech_starts(0.5), talk.line.verdict(4.0, Kind.VOICEMAIL))
    await told.until(acts.PLAN, "wait_for_beep")
    talk.room.agent.give_signal(listening.clock.now_s(), "no patience")
    assert (await talk.ended()).reason is EndReason.AGENT_HUNG_UP


async def test_a_person_who_picks_up_while_the_message_plays_is_talked_to(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="leave_message", message=FILE)
    talk.hear(talk.line.verdict(4.0, Kind.VOICEMAIL), talk.line.beep(5.0))
    await told.until(acts.PLAN, "message_plays")
    talk.hear(talk.line.person(talk.now_s()), talk.line.played(talk.now_s(), complete=False))
    await told.until(acts.ANSWERED_BY, "person")
    assert told.stopped == 1
    assert told.facts[-1][acts.PLAN] == "carry_on"
    await talk.goes_on()


async def test_a_message_that_nobody_can_play_ends_nothing(listening: Orchestra, told: Told):
    told.broken = True
    talk = await Talk.begun(listening, on_voicemail="leave_message", message=FILE)
    talk.hear(talk.line.verdict(4.0, Kind.VOICEMAIL), talk.line.beep(5.0))
    assert (await talk.noted("message_played"))["why"] == "nobody could play it"
    await told.until(acts.PLAN, "carry_on")
    await talk.goes_on()


async def test_an_agent_that_leaves_is_not_missed_while_a_recorded_message_plays(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="leave_message", message=FILE)
    talk.hear(talk.line.verdict(4.0, Kind.VOICEMAIL), talk.line.beep(5.0))
    await told.until(acts.PLAN, "message_plays")
    talk.room.agent.leave(listening.clock.now_s())
    await talk.noted("agent_left")
    await listening.clock.sleep(2 * TIMES.agent_return_grace_s)
    talk.hear(talk.line.played(talk.now_s()))
    assert (await talk.ended()).reason is EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE


# -- quiet, and nobody who listens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quiet", "reason"),
    [
        (Quiet.CALLEE, EndReason.AGENT_HUNG_UP_SILENCE_DETECTED),
        (Quiet.BOTH, EndReason.IDLE_TIMEOUT),
        (Quiet.MEDIA, EndReason.MEDIA_LOST),
    ],
)
async def test_quiet_for_too_long_ends_the_call(listening: Orchestra, told: Told, quiet: Quiet, reason: EndReason):
    talk = await Talk.begun(listening)
    talk.hear(talk.line.verdict(2.0, Kind.PERSON, probability=0.02), talk.line.quiet(talk.now_s(), quiet, for_s=20.0))
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by, outcome.evidence["quiet_s"]) == (reason, AnsweredBy.HUMAN, 20.0)
    await listening.nothing_is_held()


async def test_the_agent_is_warned_of_silence_before(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, silence_warning_s=10, silence_s=20)
    talk.hear(talk.line.quiet(10.0, Quiet.CALLEE_WARNING, for_s=10.0))
    await told.until(acts.SILENCE_WARNING, "10")
    await talk.goes_on()


async def test_a_call_whose_listener_is_lost_goes_on_and_says_so(listening: Orchestra, told: Told):
    talk = await Talk.begun(listening, on_voicemail="leave_message", message=FILE)
    talk.hear(talk.line.verdict(4.0, Kind.VOICEMAIL), ListeningLost(at=Moment(listening.clock.now_s()), why="it died"))
    assert (await talk.noted("listening_lost"))["why"] == "it died"
    await told.until(acts.PLAN, "carry_on")
    await talk.goes_on()
    talk.room.leg._play(HangUp(0.0), listening.clock.now_s())
    outcome = await talk.ended()
    assert (outcome.reason, outcome.answered_by) == (EndReason.USER_HUNG_UP_IN_CALL, AnsweredBy.MACHINE)
    assert outcome.evidence["listening_lost"] == "it died"
    assert told.played == []


async def test_a_listener_that_was_never_there_is_known_from_before_the_dial(
    listening: Orchestra, told: Told, monkeypatch: pytest.MonkeyPatch
):
    expect_agent = SimulatedRoom.expect_agent

    def expect(room: SimulatedRoom, *, after_s: float) -> None:
        room._tell(ListeningStarted(at=Moment(0.0)))
        room._tell(ListeningLost(at=Moment(0.0), why="all listeners are busy"))
        expect_agent(room, after_s=after_s)

    monkeypatch.setattr(SimulatedRoom, "expect_agent", expect)
    talk = await Talk.begun(listening)
    await told.until(acts.VERDICT_RULE, "listening_lost")
    talk.room.leg._play(HangUp(0.0), listening.clock.now_s())
    outcome = await talk.ended()
    assert outcome.evidence["listening_lost"] == "all listeners are busy"
    assert outcome.answered_by is AnsweredBy.UNKNOWN


class DeafCompany(Company):
    """Workers whose carriers hear nothing by themselves."""

    async def hire(self) -> Orchestra:
        carrier = DeafCarrier(clock=self.clock, deployment_id=self.deployment_id, world=self.world)
        times = replace(TIMES, listening=ListeningTimes())
        return Orchestra(
            database=self.database, carrier=carrier, clock=self.clock, queue=await a_queue(self.database), times=times
        )


@pytest.fixture
async def company(database: Database, told: Told) -> Company:
    """Slow enough that a call is taken over in the middle of what happens to it."""
    await furnish(database)
    return DeafCompany(database=database, clock=Clock(scale=10.0))


async def test_an_adopted_call_is_listened_to_by_nobody_and_keeps_its_verdict(
    company: Company, dead: Orchestra, survivor: Orchestra, told: Told
):
    call_id = await company.dial(
        dead, callees.TALKS_ON, "active", max_duration_s=3600.0, detection={"on": True, "on_voicemail": "hang_up"}
    )
    talk = Talk(dead, call_id)
    dead.carrier.faults.hang_up = 10_000
    talk.hear(talk.line.verdict(talk.now_s(), Kind.VOICEMAIL))
    await talk.noted("order")
    await company.kill(dead)
    await company.recover(survivor)
    lost = Talk(survivor, call_id)
    assert "worker" in str((await lost.noted("listening_lost"))["why"])
    await lost.noted("order_withdrawn")
    await lost.goes_on()
    lost.room.leg._play(HangUp(0.0), survivor.clock.now_s())
    outcome = await lost.ended()
    assert (outcome.reason, outcome.answered_by) == (EndReason.USER_HUNG_UP_IN_CALL, AnsweredBy.MACHINE)
    assert outcome.evidence["verdict"] == "voicemail"
