"""From what is heard of who answered to what is done about it: pure, without clock, room or database."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.calls import acts
from orchestrator.calls.acts import Act, Ask, Give, Note, Plan, Play, Stop, Tell, Withdraw
from orchestrator.calls.answering import MOST_SOUNDS_NOTED, Answering
from orchestrator.calls.orders import BY_VERDICT, FOR_QUIET, Order
from orchestrator.calls.story import Story
from orchestrator.detection import DetectionPolicy, policy_of
from sip.events import Answered, Heard, ListeningLost, ListeningStarted, Moment, Quiet
from sip.livekit import hearing
from sip.voicemail.events import Kind, Stage, Tone, ToneKind, Verdict, WordsHeard
from tests.fixtures.heard import ANSWERED_S, Line

ANSWER_S = 100.0
LINE = Line(answer_s=ANSWER_S)
FILE = "/srv/bye.wav"
LEAVES = {"on_voicemail": "leave_message", "message": FILE}
AGENT_LEAVES = {"on_voicemail": "leave_message"}
KINDS = ("voicemail", "mailbox_full", "menu", "screening", "announcement", "fax", "call_progress")
EVERYTHING = {f"on_{kind}": "hang_up" for kind in KINDS}


class Case:
    """One call that has been answered, and all that was done about it so far."""

    def __init__(self, *, answered: bool = True, **fields: Any) -> None:
        self.story = Story(dialed_at_s=ANSWER_S - 10, max_duration_s=600)
        self.answering = Answering(policy=policy_of(fields), story=self.story)
        self.acts: list[Act] = []
        if answered:
            self.answer()

    def answer(self) -> None:
        self.story.answered = Answered(at=Moment(ANSWER_S), source="script")
        self.acts += self.answering.answered()

    def hear(self, *events: Any) -> list[Act]:
        """What follows from the last of these."""
        for event in events:
            latest = self.answering.hear(event)
            self.acts += latest
        return latest

    def wait_until(self, at_s: float) -> list[Act]:
        """Seconds since the answer."""
        latest = self.answering.on_time(ANSWER_S + at_s)
        self.acts += latest
        return latest

    def deadline_s(self) -> float | None:
        deadline_s = self.answering.deadline_s
        return None if deadline_s is None else round(deadline_s - ANSWER_S, 6)


def orders(done: list[Act]) -> list[Order]:
    return [act.order for act in done if isinstance(act, Give)]


def told(done: list[Act]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for act in done:
        if isinstance(act, Tell):
            facts |= act.facts
    return facts


def plan_told(done: list[Act]) -> str | None:
    return told(done).get(acts.PLAN)


# -- verdicts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_a_first_verdict_is_told_and_ends_nothing(kind: Kind):
    case = Case(**EVERYTHING)
    done = case.hear(LINE.verdict(1.0, kind, stage=Stage.FIRST, probability=1.0))
    assert orders(done) == []
    assert case.deadline_s() is None
    facts = told(done)
    assert (facts[acts.ANSWERED_BY], facts[acts.VERDICT_STAGE], facts[acts.PLAN]) == (kind.value, "first", "carry_on")


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (Kind.VOICEMAIL, Order.VOICEMAIL_HANG_UP),
        (Kind.MACHINE, Order.VOICEMAIL_HANG_UP),
        (Kind.MAILBOX_FULL, Order.POLICY_HANG_UP),
        (Kind.MENU, Order.POLICY_HANG_UP),
        (Kind.SCREENING, Order.POLICY_HANG_UP),
        (Kind.ANNOUNCEMENT, Order.POLICY_HANG_UP),
        (Kind.CALL_PROGRESS, Order.POLICY_HANG_UP),
        (Kind.FAX, Order.FAX),
    ],
)
def test_a_final_verdict_that_is_sure_is_hung_up_on_where_the_policy_says_so(kind: Kind, order: Order):
    done = Case(**EVERYTHING).hear(LINE.verdict(4.0, kind))
    assert orders(done) == [order]
    assert plan_told(done) == "hang_up"
    assert [type(act) for act in done].index(Tell) < [type(act) for act in done].index(Give), "the agent hears of it first"


@pytest.mark.parametrize("kind", [Kind.PERSON, Kind.NOTHING, Kind.UNCERTAIN])
def test_who_is_no_machine_is_never_hung_up_on(kind: Kind):
    done = Case(**EVERYTHING).hear(LINE.verdict(4.0, kind, probability=1.0))
    assert orders(done) == []
    assert plan_told(done) == "carry_on"


def test_a_verdict_that_is_not_sure_enough_is_carried_on_with_and_told():
    case = Case(**EVERYTHING)
    done = case.hear(LINE.verdict(4.0, Kind.MACHINE, probability=0.979))
    assert orders(done) == []
    assert (plan_told(done), told(done)[acts.MACHINE_PROBABILITY]) == ("carry_on", "0.979")
    assert case.story.notes["not_sure_enough"] is True
    done = case.hear(LINE.verdict(6.0, Kind.VOICEMAIL, stage=Stage.REVISED, probability=0.99, rule="beep"))
    assert orders(done) == [Order.VOICEMAIL_HANG_UP]
    assert "not_sure_enough" not in case.story.notes


def test_without_a_policy_everything_but_a_fax_is_carried_on_with():
    for kind in set(Kind) - {Kind.FAX}:
        assert orders(Case().hear(LINE.verdict(4.0, kind, probability=1.0))) == []
    assert orders(Case().hear(LINE.verdict(4.0, Kind.FAX))) == [Order.FAX]


@pytest.mark.parametrize("fields", [EVERYTHING, LEAVES, AGENT_LEAVES])
def test_a_person_after_a_machines_verdict_withdraws_what_rests_on_it(fields: dict[str, Any]):
    case = Case(**fields)
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL))
    done = case.hear(LINE.person(4.5))
    assert Withdraw(BY_VERDICT) in done
    assert plan_told(done) == "carry_on"
    assert case.deadline_s() is None
    assert case.story.heard is Kind.PERSON


def test_a_kind_that_becomes_known_is_met_as_its_own():
    case = Case(on_voicemail="hang_up")
    case.hear(LINE.verdict(4.0, Kind.MACHINE))
    done = case.hear(LINE.verdict(5.0, Kind.MENU, stage=Stage.REVISED))
    assert Withdraw(BY_VERDICT) in done
    assert plan_told(done) == "carry_on"


def test_a_verdict_that_comes_before_the_answer_is_known_waits_for_it():
    case = Case(answered=False, on_fax="hang_up")
    assert orders(case.hear(LINE.verdict(0.9, Kind.FAX))) == []
    case.answer()
    assert orders(case.acts) == [Order.FAX]


def test_a_first_verdict_that_comes_before_the_answer_is_known_ends_nothing_then_either():
    case = Case(answered=False, **EVERYTHING)
    case.hear(LINE.verdict(0.9, Kind.FAX, stage=Stage.FIRST, probability=1.0))
    case.answer()
    assert orders(case.acts) == []


def test_what_is_heard_before_the_answer_is_noted_and_nothing_is_done():
    case = Case(answered=False, **EVERYTHING)
    verdict = Verdict(stage=Stage.FINAL, kind=Kind.VOICEMAIL, machine_probability=1.0, told_s=3.0, rule="timing")
    done = case.hear(Heard(at=Moment(95.0), what=verdict))
    assert [act.kind for act in done if isinstance(act, Note)] == ["early_verdict"]
    assert (orders(done), told(done)) == ([], {})
    case.answer()
    assert orders(case.acts) == []
    assert case.story.heard is None, "it says nothing of who answers"
    assert case.story.notes["early_verdict"] == "voicemail"


def test_the_evidence_says_what_decided_and_when():
    case = Case()
    case.hear(
        LINE.verdict(1.2, Kind.MACHINE, stage=Stage.FIRST, probability=0.7), LINE.verdict(4.25, Kind.VOICEMAIL, rule="phrase")
    )
    assert case.story.notes == {
        "first_verdict": "machine",
        "first_verdict_s": 1.2,
        "verdict": "voicemail",
        "verdict_stage": "final",
        "machine_probability": 0.995,
        "verdict_rule": "phrase",
        "verdict_s": 4.25,
    }
    (_, note) = [act for act in case.acts if isinstance(act, Note) and act.kind == "verdict"]
    assert note.detail["words"] == 3, "the features that it rests on are in the timeline"


# -- a second opinion ----------------------------------------------------------------------------------------------------------


def words(at_s: float, text: str) -> Heard:
    return LINE.heard(WordsHeard(text=text, language="en", told_s=ANSWERED_S + at_s))


def asked(done: list[Act]) -> list[str]:
    return [act.words for act in done if isinstance(act, Ask)]


def test_a_final_verdict_that_is_not_sure_is_asked_about_once_with_the_words_so_far():
    case = Case()
    case.hear(words(2.0, "please leave your name"), words(3.0, "after the tone"))
    assert asked(case.hear(LINE.verdict(3.5, Kind.MACHINE, stage=Stage.FIRST, probability=0.8))) == []
    assert asked(case.hear(LINE.verdict(4.0, Kind.UNCERTAIN, probability=0.8))) == ["please leave your name after the tone"]
    assert asked(case.hear(LINE.verdict(5.0, Kind.MACHINE, stage=Stage.REVISED, probability=0.9))) == []


@pytest.mark.parametrize("probability", [0.995, 0.01])
def test_a_verdict_that_is_sure_is_not_asked_about(probability: float):
    case = Case()
    case.hear(words(2.0, "hello"))
    assert asked(case.hear(LINE.verdict(4.0, Kind.MACHINE, probability=probability))) == []


def test_without_words_there_is_nothing_to_ask():
    assert asked(Case().hear(LINE.verdict(4.0, Kind.MACHINE, probability=0.8))) == []


def test_a_second_opinion_names_what_speaks_and_hangs_up_on_nobody():
    case = Case(**EVERYTHING, hang_up_probability=0.9)
    case.hear(words(2.0, "press one for sales"), LINE.verdict(4.0, Kind.MACHINE, probability=0.8))
    done = case.hear(LINE.verdict(5.5, Kind.MENU, stage=Stage.REVISED, probability=0.97, rule=acts.SECOND_OPINION))
    assert (orders(done), plan_told(done), told(done)[acts.ANSWERED_BY]) == ([], "carry_on", "menu")
    assert case.story.heard is Kind.MENU


def test_a_second_opinion_that_comes_after_a_person_has_picked_up_is_too_late():
    case = Case()
    case.hear(words(2.0, "press one"), LINE.verdict(4.0, Kind.MACHINE, probability=0.8), LINE.person(5.0))
    done = case.hear(LINE.verdict(5.5, Kind.MENU, stage=Stage.REVISED, probability=0.97, rule=acts.SECOND_OPINION))
    assert told(done) == {}
    assert case.story.heard is Kind.PERSON


def test_words_are_neither_noted_nor_told():
    case = Case()
    case.hear(words(2.0, "my name is Ann"), LINE.verdict(4.0, Kind.PERSON, probability=0.01))
    assert not any("Ann" in str(act) for act in case.acts if not isinstance(act, Ask))
    assert "Ann" not in str(case.story.notes)


# -- leaving a message ---------------------------------------------------------------------------------------------------------


def test_a_message_is_played_after_the_beep_and_its_end_ends_the_call():
    case = Case(**LEAVES)
    case.hear(LINE.speech_starts(0.4), LINE.verdict(4.0, Kind.VOICEMAIL))
    assert plan_told(case.acts) == "wait_for_beep"
    done = case.hear(LINE.speech_ends(7.0), LINE.beep(8.0))
    assert Play(FILE) in done
    assert plan_told(done) == "message_plays"
    assert orders(case.acts) == []
    done = case.hear(LINE.played(12.5, played_s=4.2))
    assert orders(done) == [Order.MESSAGE_LEFT]
    notes = case.story.notes
    assert (notes["message_by"], notes["message_after"], notes["message_s"], notes["beep_s"]) == ("file", "beep", 4.2, 8.0)


def test_without_a_beep_the_message_is_played_a_while_after_the_greeting():
    case = Case(no_beep_wait_s=2.5, **LEAVES)
    case.hear(LINE.speech_starts(0.4), LINE.verdict(4.0, Kind.VOICEMAIL), LINE.speech_ends(6.0))
    assert case.deadline_s() == 8.5
    case.hear(LINE.speech_starts(7.0))
    assert case.deadline_s() == 64.0, "it goes on: the beep may come at any time within beep_wait_s"
    case.hear(LINE.speech_ends(9.0))
    assert case.wait_until(11.4) == []
    assert Play(FILE) in case.wait_until(11.5)
    assert case.story.notes["message_after"] == "greeting"


def test_a_greeting_that_ended_before_the_verdict_is_not_waited_for_again():
    case = Case(**LEAVES)
    case.hear(LINE.speech_starts(0.4), LINE.speech_ends(3.0), LINE.verdict(5.0, Kind.VOICEMAIL))
    assert case.deadline_s() == 6.0


def test_without_a_beep_and_without_certainty_no_message_is_left():
    case = Case(**LEAVES)
    case.hear(LINE.speech_starts(0.4), LINE.speech_ends(3.0), LINE.verdict(4.0, Kind.MACHINE, probability=0.9))
    done = case.wait_until(6.0)
    assert not any(isinstance(act, Play) for act in done)
    assert plan_told(done) == "carry_on"


def test_a_beep_makes_up_for_a_lack_of_certainty():
    case = Case(**LEAVES)
    case.hear(LINE.speech_starts(0.4), LINE.verdict(4.0, Kind.MACHINE, probability=0.9))
    assert Play(FILE) in case.hear(LINE.speech_ends(5.0), LINE.beep(5.6))


def test_a_beep_just_before_the_final_verdict_is_the_one():
    case = Case(**LEAVES)
    done = case.hear(LINE.speech_starts(0.4), LINE.speech_ends(3.0), LINE.beep(3.6), LINE.verdict(3.7, Kind.VOICEMAIL))
    assert Play(FILE) in done


@pytest.mark.parametrize("since", ["speech", "long ago"])
def test_a_beep_that_is_not_the_last_sound_before_the_verdict_is_another(since: str):
    case = Case(**LEAVES)
    case.hear(LINE.beep(0.5))
    if since == "speech":
        case.hear(LINE.speech_starts(0.9), LINE.speech_ends(2.0, lasted_s=1.0))
    done = case.hear(LINE.verdict(3.0 if since == "speech" else 9.0, Kind.VOICEMAIL))
    assert not any(isinstance(act, Play) for act in done)


def test_who_never_stops_speaking_gets_no_message():
    case = Case(beep_wait_s=20.0, **LEAVES)
    case.hear(LINE.speech_starts(0.4), LINE.verdict(4.0, Kind.VOICEMAIL))
    assert case.deadline_s() == 24.0
    assert plan_told(case.wait_until(24.0)) == "carry_on"


def test_a_person_who_picks_up_stops_the_message():
    case = Case(**LEAVES)
    case.hear(LINE.speech_ends(3.0), LINE.verdict(4.0, Kind.VOICEMAIL), LINE.beep(5.0))
    done = case.hear(LINE.person(6.0))
    assert Stop() in done
    assert plan_told(done) == "carry_on"
    assert orders(case.hear(LINE.played(6.1, complete=False))) == []
    assert orders(case.acts) == []


def test_a_message_that_cannot_be_played_is_carried_on_with():
    case = Case(**LEAVES)
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL), LINE.beep(5.0))
    done = case.hear(LINE.played(5.1, complete=False, played_s=0.0, why="no such file"))
    assert orders(done) == []
    assert plan_told(done) == "carry_on"
    assert any(isinstance(act, Note) and act.detail.get("why") == "no such file" for act in done)


def test_a_message_is_stopped_when_it_is_longer_than_allowed():
    case = Case(longest_message_s=10.0, **LEAVES)
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL), LINE.beep(5.0))
    assert case.deadline_s() == 15.05
    assert Stop() in case.wait_until(15.05)


def test_the_agent_is_told_to_speak_and_its_end_signal_says_that_the_message_is_left():
    case = Case(**AGENT_LEAVES)
    assert case.answering.agent_ends(ANSWER_S + 1) is Order.AGENT_ENDED
    done = case.hear(LINE.verdict(4.0, Kind.VOICEMAIL), LINE.beep(5.0))
    assert plan_told(done) == "speak_now"
    assert not any(isinstance(act, Play) for act in done)
    assert case.answering.agent_ends(ANSWER_S + 12.05) is Order.MESSAGE_LEFT
    assert case.answering.agent_ends(ANSWER_S + 13) is Order.MESSAGE_LEFT, "its leave, a moment later, says the same"
    assert (case.story.notes["message_by"], case.story.notes["message_s"]) == ("agent", 7.0)


def test_an_agent_that_speaks_for_too_long_is_ended_as_if_it_were_done():
    case = Case(longest_message_s=30.0, **AGENT_LEAVES)
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL), LINE.beep(5.0))
    assert orders(case.wait_until(35.05)) == [Order.MESSAGE_LEFT]


def test_an_agent_that_is_done_leaves_whoever_is_on_the_line():
    case = Case(**AGENT_LEAVES)
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL), LINE.beep(5.0))
    case.answering.agent_ends(ANSWER_S + 12)
    done = case.hear(LINE.person(12.01))
    assert not any(isinstance(act, Withdraw) and Order.MESSAGE_LEFT in act.orders for act in done)


def test_an_agent_is_not_missed_while_a_recorded_message_is_left():
    case = Case(**LEAVES)
    assert not case.answering.needs_no_agent
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL))
    assert case.answering.needs_no_agent
    case.hear(LINE.person(5.0))
    assert not case.answering.needs_no_agent
    spoken = Case(**AGENT_LEAVES)
    spoken.hear(LINE.verdict(4.0, Kind.VOICEMAIL))
    assert not spoken.answering.needs_no_agent


# -- quiet, and nobody who listens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quiet", "order"), [(Quiet.CALLEE, Order.SILENCE), (Quiet.BOTH, Order.IDLE), (Quiet.MEDIA, Order.MEDIA_LOST)]
)
def test_quiet_ends_the_call(quiet: Quiet, order: Order):
    case = Case()
    assert orders(case.hear(LINE.quiet(30.0, quiet, for_s=20.0))) == [order]
    assert case.story.notes["quiet_s"] == 20.0
    assert Withdraw(FOR_QUIET) in case.hear(LINE.speech_starts(30.1)), "whoever speaks after all is not hung up on"


def test_the_agent_is_warned_of_silence_and_the_call_goes_on():
    case = Case()
    done = case.hear(LINE.quiet(15.0, Quiet.CALLEE_WARNING, for_s=10.0))
    assert told(done) == {acts.SILENCE_WARNING: "10"}
    assert orders(done) == []


@pytest.mark.parametrize("fields", [LEAVES, AGENT_LEAVES])
def test_a_mailbox_that_records_is_silent_and_that_ends_nothing(fields: dict[str, Any]):
    case = Case(**fields)
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL), LINE.beep(5.0))
    for quiet in (Quiet.CALLEE_WARNING, Quiet.CALLEE, Quiet.BOTH):
        assert case.hear(LINE.quiet(25.0, quiet)) == []
    assert orders(case.hear(LINE.quiet(30.0, Quiet.MEDIA))) == [Order.MEDIA_LOST]


def test_quiet_before_the_answer_is_ringing():
    assert Case(answered=False).hear(LINE.quiet(-3.0, Quiet.MEDIA)) == []


@pytest.mark.parametrize("fields", [EVERYTHING, LEAVES])
def test_when_nobody_listens_any_more_what_is_not_done_yet_is_called_off(fields: dict[str, Any]):
    case = Case(**fields)
    case.hear(LINE.verdict(4.0, Kind.VOICEMAIL))
    done = case.hear(ListeningLost(at=Moment(ANSWER_S + 5), why="the listener died"))
    assert any(isinstance(act, Withdraw) and act.orders >= BY_VERDICT for act in done)
    assert plan_told(done) == "carry_on"
    assert case.deadline_s() is None
    assert case.story.notes["listening_lost"] == "the listener died"


@pytest.mark.parametrize("first", [True, False])
def test_who_waits_for_a_verdict_hears_that_none_will_come(first: bool):
    case = Case()
    if first:
        case.hear(LINE.verdict(1.0, Kind.MACHINE, stage=Stage.FIRST))
    facts = told(case.hear(ListeningLost(at=Moment(ANSWER_S + 2), why="the listener died")))
    assert (facts[acts.ANSWERED_BY], facts[acts.VERDICT_STAGE]) == ("uncertain", "final")


def test_a_listener_that_is_lost_while_it_rings_is_told_of_with_the_answer():
    case = Case(answered=False)
    lost = ListeningLost(at=Moment(ANSWER_S - 5), why="it died")
    assert told(case.hear(lost)) == {}, "there is no callee yet whose attributes could say it"
    case.answer()
    assert told(case.acts)[acts.VERDICT_RULE] == "listening_lost"


def test_a_listener_that_was_replaced_before_the_answer_was_not_lost():
    case = Case(answered=False)
    case.hear(ListeningLost(at=Moment(ANSWER_S - 5), why="it died"), ListeningStarted(at=Moment(ANSWER_S - 4)))
    case.answer()
    assert told(case.acts) == {}
    assert "listening_lost" not in case.story.notes


def test_music_does_not_fill_the_timeline():
    case = Case()
    for n in range(3 * MOST_SOUNDS_NOTED):
        at_s = 0.5 + n
        case.hear(LINE.heard(Tone(kind=ToneKind.OTHER, began_s=at_s, ended_s=at_s + 0.4, told_s=at_s + 0.5)))
    assert len([act for act in case.acts if isinstance(act, Note)]) == MOST_SOUNDS_NOTED


def test_agents_read_the_facts_under_the_names_that_are_told():
    names = ("ANSWERED_BY", "VERDICT_STAGE", "MACHINE_PROBABILITY", "VERDICT_RULE", "PLAN", "SILENCE_WARNING")
    assert [getattr(acts, name) for name in names] == [getattr(hearing, name) for name in names]
    assert Plan.SPEAK_NOW.value == hearing.SPEAK_NOW


def test_a_policy_that_is_off_does_nothing():
    case = Case()
    case.answering = Answering(policy=dataclasses.replace(DetectionPolicy(), on=False), story=case.story)
    assert case.answering.deadline_s is None
    assert case.answering.agent_ends(ANSWER_S) is Order.AGENT_ENDED
