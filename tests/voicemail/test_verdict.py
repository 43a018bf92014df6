"""Verdicts: when they are given, what they ask for, and what revises them. Probabilities are given, no audio is heard."""

from __future__ import annotations

import pytest

from sip.voicemail.demands import demanded
from sip.voicemail.events import DetectorSettings, Kind, Pace, Stage, Tone, ToneKind, Verdict
from sip.voicemail.features import Timing, measure
from sip.voicemail.hindsight import Past
from sip.voicemail.verdict import DECISION_S, Judge

ANSWERED_S = 2.0
SPEECH_S = 3.0


def a_judge(**settings: object) -> Judge:
    judge = Judge(settings=DetectorSettings(**settings))  # type: ignore[arg-type]  # tests name fields
    judge.answer(ANSWERED_S)
    return judge


def timing_at(told_s: float) -> Timing | None:
    """Somebody has spoken since SPEECH_S."""
    spans = [(round(SPEECH_S * 100), round(told_s * 100) - 10)] if told_s > SPEECH_S + 0.3 else []
    return measure(Past(spans), anchor_hop=round(ANSWERED_S * 100), now_hop=round(told_s * 100))


def run(judge: Judge, probability: float, *, from_s: float = ANSWERED_S, until_s: float = 14.0) -> list[Verdict]:
    """What is told at the moments between two times, at a constant probability."""
    told: list[Verdict] = []
    moments = round((until_s - from_s) / DECISION_S)
    for moment in range(1, moments + 1):
        at_s = from_s + moment * DECISION_S
        timing = timing_at(at_s)
        told += judge.consider(at_s, timing, probability if timing else 0.5)
    return told


def a_tone(kind: ToneKind, *, began_s: float, seconds: float = 0.5) -> Tone:
    return Tone(kind, began_s, began_s + seconds, began_s + seconds + 0.05, (850.0,), -20.0)


def test_what_is_sure_is_final_at_once() -> None:
    for probability, kind in ((0.999, Kind.MACHINE), (0.001, Kind.PERSON)):
        [verdict] = run(a_judge(), probability)
        assert (verdict.stage, verdict.kind, verdict.rule) == (Stage.FINAL, kind, "timing")
        assert verdict.told_s < SPEECH_S + 1


@pytest.mark.parametrize(("probability", "kind", "rule"), [(0.9, Kind.MACHINE, "time_limit"), (0.12, Kind.PERSON, "timing")])
def test_what_is_probable_is_told_early_and_final_late(probability: float, kind: Kind, rule: str) -> None:
    first, final = run(a_judge(), probability)
    assert (first.stage, first.kind) == (Stage.FIRST, kind)
    assert (final.stage, final.kind, final.rule) == (Stage.FINAL, kind, rule)
    assert first.told_s < SPEECH_S + 1.5
    assert SPEECH_S + 4.5 < final.told_s <= SPEECH_S + 6.5 + 1e-6
    assert final.machine_probability == pytest.approx(probability)
    assert final.evidence["since_first_s"] == pytest.approx(final.told_s - SPEECH_S)


def test_what_is_asked_for_lies_on_lines_of_log_odds_between_the_moments_that_are_set() -> None:
    demand = ((1.0, 0.2), (3.0, 0.8))
    assert [demanded(demand, at_s) for at_s in (0.0, 1.0, 2.0, 3.0, 9.0)] == pytest.approx([0.2, 0.2, 0.5, 0.8, 0.8])


def test_what_is_not_probable_is_uncertain_and_not_before_the_limit() -> None:
    [final] = run(a_judge(), 0.55)
    assert (final.stage, final.kind) == (Stage.FINAL, Kind.UNCERTAIN)
    assert final.told_s > SPEECH_S + 6


def test_the_final_verdict_is_no_later_than_the_settings_say() -> None:
    [final] = run(a_judge(final_after_speech_s=3.0), 0.55)
    assert final.told_s <= SPEECH_S + 3.0 + 1e-6
    [final] = run(a_judge(final_after_answer_s=4.0), 0.55)
    assert final.told_s <= ANSWERED_S + 4.0 + 1e-6


def test_silence_until_the_limit_is_nothing_or_ringing() -> None:
    judge = a_judge()
    told = [verdict for at in range(130) for verdict in judge.consider(ANSWERED_S + at / 10, None, 0.5)]
    assert [(one.stage, one.kind, one.rule) for one in told] == [(Stage.FINAL, Kind.NOTHING, "silence")]
    judge = a_judge()
    [first] = judge.hear_tone(a_tone(ToneKind.RINGBACK, began_s=3.0, seconds=2), None, 0.5)
    assert (first.stage, first.kind) == (Stage.FIRST, Kind.CALL_PROGRESS)
    told = [verdict for at in range(130) for verdict in judge.consider(ANSWERED_S + at / 10, None, 0.5)]
    assert [(one.stage, one.kind) for one in told] == [(Stage.FINAL, Kind.CALL_PROGRESS)]
    assert told[0].machine_probability < 0.98


def test_somebody_who_speaks_after_the_ringing_is_judged_like_any_other() -> None:
    judge = a_judge()
    judge.hear_tone(a_tone(ToneKind.RINGBACK, began_s=2.1, seconds=0.8), None, 0.5)
    [final] = run(judge, 0.001)
    assert (final.stage, final.kind) == (Stage.FINAL, Kind.PERSON)


def test_a_higher_sensitivity_says_machine_more_readily() -> None:
    kinds = [run(a_judge(sensitivity=sensitivity), 0.6)[-1].kind for sensitivity in (0.0, 0.5, 1.0)]
    assert kinds == [Kind.PERSON, Kind.UNCERTAIN, Kind.MACHINE]
    probabilities = {run(a_judge(sensitivity=sensitivity), 0.6)[-1].machine_probability for sensitivity in (0.0, 0.5, 1.0)}
    assert probabilities == {0.6}


def test_the_fast_pace_is_faster() -> None:
    careful, fast = run(a_judge(), 0.9), run(a_judge(pace=Pace.FAST), 0.9)
    assert fast[-1].told_s < careful[-1].told_s - 2


@pytest.mark.parametrize(
    ("tone", "kind", "rule"),
    [
        (ToneKind.FAX_CED, Kind.FAX, "fax"),
        (ToneKind.FAX_CNG, Kind.FAX, "fax"),
        (ToneKind.MODEM, Kind.FAX, "fax"),
        (ToneKind.SIT, Kind.ANNOUNCEMENT, "sit"),
        (ToneKind.BUSY, Kind.CALL_PROGRESS, "progress"),
        (ToneKind.REORDER, Kind.CALL_PROGRESS, "progress"),
    ],
)
def test_machines_tones_decide_at_once_and_once(tone: ToneKind, kind: Kind, rule: str) -> None:
    judge = a_judge()
    heard = a_tone(tone, began_s=2.5)
    [verdict] = judge.hear_tone(heard, None, 0.5)
    assert (verdict.stage, verdict.kind, verdict.rule, verdict.told_s) == (Stage.FINAL, kind, rule, heard.told_s)
    assert verdict.machine_probability >= 0.98
    assert verdict.evidence["tone"] == tone.value
    assert judge.hear_tone(a_tone(tone, began_s=5.0), None, 0.5) == []


def test_tones_before_the_answer_decide_nothing() -> None:
    assert a_judge().hear_tone(a_tone(ToneKind.BUSY, began_s=0.5), None, 0.5) == []
    unanswered = Judge(settings=DetectorSettings())
    assert unanswered.hear_tone(a_tone(ToneKind.FAX_CED, began_s=0.5), None, 0.5) == []
    assert unanswered.consider(20.0, None, 0.5) == []
    assert unanswered.finish(20.0, None, 0.5) == []


def test_a_beep_after_speech_makes_a_likely_machine_voicemail() -> None:
    judge = a_judge()
    [verdict] = judge.hear_tone(a_tone(ToneKind.BEEP, began_s=5.0), timing_at(5.5), 0.7)
    assert (verdict.stage, verdict.kind, verdict.rule) == (Stage.FINAL, Kind.VOICEMAIL, "beep")
    assert verdict.machine_probability > 0.98


def test_a_beep_alone_does_not_make_a_machine_of_what_timing_calls_a_person() -> None:
    assert a_judge().hear_tone(a_tone(ToneKind.BEEP, began_s=5.0), timing_at(5.5), 0.02) == []
    assert a_judge().hear_tone(a_tone(ToneKind.BEEP, began_s=5.0), None, 0.5) == []


def test_a_person_after_a_machines_verdict_revises_it_once() -> None:
    judge = a_judge()
    run(judge, 0.999)
    assert judge.awaits_person
    short = measure(Past([(1500, 1550)]), anchor_hop=1400, now_hop=1700)
    assert short is not None
    assert judge.consider_pick_up(17.0, short, 0.9, after_beep=False) == []
    [revised] = judge.consider_pick_up(17.0, short, 0.001, after_beep=False)
    assert (revised.stage, revised.kind, revised.rule) == (Stage.REVISED, Kind.PERSON, "person_after_machine")
    assert judge.consider_pick_up(17.1, short, 0.001, after_beep=False) == []


def test_fax_and_busy_lines_await_nobody() -> None:
    judge = a_judge()
    judge.hear_tone(a_tone(ToneKind.BUSY, began_s=2.5), None, 0.5)
    assert not judge.awaits_person
    assert not judge.wants_timing


def test_listening_ends_with_the_beep_wait() -> None:
    judge = a_judge(beep_wait_s=20.0)
    [final] = run(judge, 0.999)
    assert judge.consider(final.told_s + 19.9, None, 0.5) == []
    assert not judge.is_done
    judge.consider(final.told_s + 20.0, None, 0.5)
    assert judge.is_done
    assert judge.hear_tone(a_tone(ToneKind.BEEP, began_s=60.0), timing_at(5.5), 0.9) == []


def words(judge: Judge, strong: Kind | None, leaning: Kind | None, probability: float = 0.95) -> list[Verdict]:
    judge.heed_words({"words": 4})
    return judge.hear_phrases(
        strong=strong, leaning=leaning, phrase="words", told_s=5.0, timing=timing_at(5.0), probability=probability
    )


def test_a_strong_phrase_is_final_and_a_stronger_kind_revises_it() -> None:
    judge = a_judge()
    [verdict] = words(judge, Kind.VOICEMAIL, None)
    assert (verdict.stage, verdict.kind, verdict.rule) == (Stage.FINAL, Kind.VOICEMAIL, "phrase")
    assert words(judge, Kind.VOICEMAIL, None) == []
    [verdict] = words(judge, Kind.MAILBOX_FULL, None)
    assert (verdict.stage, verdict.kind) == (Stage.REVISED, Kind.MAILBOX_FULL)


def test_what_decides_by_itself_is_final_after_a_first_verdict_of_the_same_kind() -> None:
    judge = a_judge()
    words(judge, None, Kind.VOICEMAIL)
    [first] = run(judge, 0.9, until_s=SPEECH_S + 2.0)
    assert (first.stage, first.kind) == (Stage.FIRST, Kind.VOICEMAIL)
    [final] = words(judge, Kind.VOICEMAIL, Kind.VOICEMAIL)
    assert (final.stage, final.kind, final.rule) == (Stage.FINAL, Kind.VOICEMAIL, "phrase")
    judge = a_judge()
    judge.hear_tone(a_tone(ToneKind.RINGBACK, began_s=2.1, seconds=0.8), None, 0.5)
    [final] = judge.hear_tone(a_tone(ToneKind.BUSY, began_s=5.0), None, 0.5)
    assert (final.stage, final.kind, final.rule) == (Stage.FINAL, Kind.CALL_PROGRESS, "progress")


def test_a_strong_phrase_decides_nothing_where_no_machine_is_probable_and_names_it_when_one_is() -> None:
    judge = a_judge()
    assert words(judge, Kind.MENU, None, probability=0.4) == []
    assert run(judge, 0.999, from_s=5.0)[-1].kind is Kind.MENU


def test_a_strong_phrase_names_a_machine_that_was_told_and_makes_none_of_a_person() -> None:
    judge = a_judge()
    run(judge, 0.999, until_s=8.0)
    [revised] = words(judge, Kind.MENU, None, probability=0.5)
    assert (revised.stage, revised.kind) == (Stage.REVISED, Kind.MENU)
    judge = a_judge()
    run(judge, 0.001, until_s=8.0)
    assert words(judge, Kind.MENU, None, probability=0.5) == []
    [revised] = words(judge, Kind.VOICEMAIL, None, probability=0.95)
    assert (revised.stage, revised.kind) == (Stage.REVISED, Kind.VOICEMAIL)


def test_weak_phrases_name_the_machine_and_are_evidence_by_their_number() -> None:
    judge = a_judge()
    assert words(judge, None, Kind.MENU) == []
    told = run(judge, 0.999, from_s=5.0)[-1]
    assert told.kind is Kind.MENU
    assert told.evidence["words"] == 4
    assert told.evidence["words_lean_to"] == "menu"


def test_audio_that_ends_is_judged_as_at_the_limit() -> None:
    judge = a_judge()
    [verdict] = judge.finish(6.0, timing_at(6.0), 0.9)
    assert (verdict.stage, verdict.kind) == (Stage.FINAL, Kind.MACHINE)
    assert judge.finish(6.0, timing_at(6.0), 0.9) == []
    assert [one.kind for one in a_judge().finish(6.0, None, 0.5)] == [Kind.NOTHING]
