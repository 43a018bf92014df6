"""Turns what the detectors found into verdicts: a first one early, a final one in bounded time, revisions afterwards.

                     answer()            final verdict                                  60 s later, or a person picked up
    before the answer ──────▶ DECIDING ──────────────▶ LISTENING (machines: beep, person; ──────▶ DONE
                                                       others: words, late speech)

A probability (calibrated; of timing, or of timing and words) is asked for at every moment, and a beep adds to it. Told early,
acted on late: the first verdict asks for less than the final one, and at the time limit what is not probable is `uncertain`.
What is asked for, which is more or less once words are heard: `demands.py`.

Knows no audio, no words and no policy; times are seconds of the stream, and are given to it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from sip.voicemail.demands import DEMANDS, DEMANDS_WITH_WORDS, PHRASE_AT_LEAST, demanded, log_odds, probability_of
from sip.voicemail.events import DetectorSettings, Fact, Kind, Stage, Tone, ToneKind, Verdict
from sip.voicemail.features import FEATURES, Timing

DECISION_S = 0.2
"""The classifier is asked at least so often."""
PICK_UP_WAIT_S = 4.0
"""Speech after a machine's verdict is looked at for so long: whoever picks up says less than this and waits."""

_NAMES = tuple(FEATURES)
_SINCE_FIRST, _QUIET = _NAMES.index("since_first_s"), _NAMES.index("quiet_s")
_SENSITIVITY_LOG_ODDS = 6.0
"""Between sensitivity 0 and 1; half of it to either side of the default."""
BEEP_LOG_ODDS = 4.5
TONE_PROBABILITY = 0.995
"""Of fax, information tones, busy and reorder: no person makes them."""
_RINGING_PROBABILITY = 0.6
"""Of a line that was answered and still rings: somebody may pick up yet."""
_NOTHING_PROBABILITY = 0.5

DECIDING_TONES: Mapping[ToneKind, tuple[Kind, str]] = {
    ToneKind.FAX_CED: (Kind.FAX, "fax"),
    ToneKind.FAX_CNG: (Kind.FAX, "fax"),
    ToneKind.MODEM: (Kind.FAX, "fax"),
    ToneKind.SIT: (Kind.ANNOUNCEMENT, "sit"),
    ToneKind.BUSY: (Kind.CALL_PROGRESS, "progress"),
    ToneKind.REORDER: (Kind.CALL_PROGRESS, "progress"),
}
"""Tones that decide by themselves: what they are, and the rule that a verdict names."""
_REVISABLE = frozenset({Kind.NOTHING, Kind.UNCERTAIN, Kind.CALL_PROGRESS})
_PICKED_UP_FROM = frozenset({Kind.MACHINE, Kind.VOICEMAIL, Kind.SCREENING, Kind.MENU, Kind.MAILBOX_FULL})


class _Phase(enum.Enum):
    UNANSWERED = "unanswered"
    DECIDING = "deciding"
    LISTENING = "listening"
    DONE = "done"


class Judge:
    """Gives the verdicts of one call."""

    def __init__(self, *, settings: DetectorSettings) -> None:
        self._settings = settings
        self._demands = DEMANDS[settings.pace]
        self._shift = (settings.sensitivity - 0.5) * _SENSITIVITY_LOG_ODDS
        self._phase = _Phase.UNANSWERED
        self._answered_s = 0.0
        self._first_told = False
        self._final_told_s = 0.0
        self._beep: Tone | None = None
        self._ringback: Tone | None = None
        self._strong: Kind | None = None
        self._leaning: Kind | None = None
        self._phrase = ""
        self._wording: Mapping[str, Fact] = {}
        self.latest: Verdict | None = None

    @property
    def is_done(self) -> bool:
        """Nothing more will be told."""
        return self._phase is _Phase.DONE

    @property
    def is_deciding(self) -> bool:
        """Answered, and no final verdict yet."""
        return self._phase is _Phase.DECIDING

    @property
    def wants_timing(self) -> bool:
        """What is said now may bring a verdict (or, where a machine has spoken, only what `awaits_person` says)."""
        if self._phase is _Phase.LISTENING:
            return self.latest is not None and self.latest.kind in _REVISABLE and self.latest.rule != "progress"
        return self._phase is _Phase.DECIDING

    @property
    def awaits_person(self) -> bool:
        """A machine has the final verdict, and somebody may pick up."""
        return self._phase is _Phase.LISTENING and self.latest is not None and self.latest.kind in _PICKED_UP_FROM

    def answer(self, at_s: float) -> None:
        """The call was answered; a second answer is none."""
        if self._phase is _Phase.UNANSWERED:
            self._phase = _Phase.DECIDING
            self._answered_s = at_s

    def hear_tone(self, tone: Tone, timing: Timing | None, probability: float) -> list[Verdict]:
        """A tone was found; `timing` and its `probability` are those of the moment."""
        if self._phase in {_Phase.UNANSWERED, _Phase.DONE} or tone.began_s < self._answered_s - 0.05:
            return []
        if tone.kind is ToneKind.RINGBACK:
            self._ringback = tone
            return self._first_ringing(tone)
        decided = DECIDING_TONES.get(tone.kind)
        if decided is not None:
            kind, rule = decided
            if self._has_settled_on(kind):
                return []
            return [self._final(kind, TONE_PROBABILITY, tone.told_s, rule, _tone_evidence(tone))]
        if tone.kind is ToneKind.BEEP and timing is not None:
            self._beep = tone
            return self._after_beep(tone, timing, probability)
        return []

    def heed_words(self, wording: Mapping[str, Fact]) -> None:
        """Words were heard: from now on probabilities are of timing and words. `wording`: evidence, counts only."""
        self._demands = DEMANDS_WITH_WORDS[self._settings.pace]
        self._wording = wording

    def hear_phrases(
        self,
        *,
        strong: Kind | None,
        leaning: Kind | None,
        phrase: str,
        told_s: float,
        timing: Timing | None,
        probability: float,
    ) -> list[Verdict]:
        """Words were found: what decides by itself, what they lean to, and the last phrase; `probability` has them in it.

        A strong phrase is final at once where a machine is probable with it; it tells a machine's kind in any case.
        """
        if strong is not None and strong is not self._strong:
            self._phrase = phrase
        before = self._strong
        self._strong, self._leaning = strong, leaning
        if strong is None or strong is before or self._phase in {_Phase.UNANSWERED, _Phase.DONE}:
            return []
        if self._has_settled_on(strong):
            return []
        believed = self._believe(probability)
        names_machine = self._phase is _Phase.LISTENING and self.latest is not None and self.latest.kind in _PICKED_UP_FROM
        if not names_machine and believed < PHRASE_AT_LEAST:
            return []
        return [self._final(strong, believed, told_s, "phrase", self._evidence(timing))]

    def consider(self, told_s: float, timing: Timing | None, probability: float) -> list[Verdict]:
        """A moment of the grid: `probability` is that of timing (and words), 0.5 if there is none."""
        if self._phase is _Phase.LISTENING:
            return self._consider_late(told_s, timing, probability)
        if self._phase is not _Phase.DECIDING:
            return []
        at_limit = told_s + DECISION_S > self._limit_s(timing) + 1e-6
        if timing is None:
            return [self._nothing(told_s)] if at_limit else []
        return self._decide(told_s, timing, self._believe(probability), at_limit=at_limit)

    def consider_pick_up(self, told_s: float, timing: Timing, probability: float, *, after_beep: bool) -> list[Verdict]:
        """Speech that began anew after a machine's verdict, with its own timing."""
        demanded = self._demands.pick_up_after_beep if after_beep else self._demands.pick_up
        if not self.awaits_person or timing.values[_QUIET] == 0 or probability > demanded:
            return []
        evidence = self._evidence(timing) | {"after_beep": after_beep}
        return [self._tell(Stage.REVISED, Kind.PERSON, probability, told_s, "person_after_machine", evidence)]

    def finish(self, told_s: float, timing: Timing | None, probability: float) -> list[Verdict]:
        """No more audio: what is known by now is the final verdict."""
        if self._phase is not _Phase.DECIDING:
            return []
        if timing is None:
            return [self._nothing(told_s)]
        return self._decide(told_s, timing, self._believe(probability), at_limit=True)

    def _limit_s(self, timing: Timing | None) -> float:
        limit_s = self._answered_s + self._settings.final_after_answer_s
        if timing is None:
            return limit_s
        after_speech_s = min(self._settings.final_after_speech_s, self._demands.limit_after_speech_s)
        return min(limit_s, timing.first_speech_s + after_speech_s)

    def _decide(self, told_s: float, timing: Timing, probability: float, *, at_limit: bool) -> list[Verdict]:
        demands = self._demands
        asked = _shifted(probability, self._shift)
        since_s = timing.values[_SINCE_FIRST]
        machine = demands.limit_machine if at_limit else demanded(demands.final_machine, since_s)
        person = demands.limit_person if at_limit else demanded(demands.final_person, since_s)
        rule = "time_limit" if at_limit else "timing"
        if asked >= machine:
            return [self._final(self._machine_kind(), probability, told_s, rule, self._evidence(timing))]
        if asked <= person:
            return [self._final(Kind.PERSON, probability, told_s, rule, self._evidence(timing))]
        if at_limit:
            return [self._final(Kind.UNCERTAIN, probability, told_s, rule, self._evidence(timing))]
        if self._first_told:
            return []
        if asked >= demanded(demands.first_machine, since_s):
            return [self._tell(Stage.FIRST, self._machine_kind(), probability, told_s, rule, self._evidence(timing))]
        if asked <= demanded(demands.first_person, since_s):
            return [self._tell(Stage.FIRST, Kind.PERSON, probability, told_s, rule, self._evidence(timing))]
        return []

    def _consider_late(self, told_s: float, timing: Timing | None, probability: float) -> list[Verdict]:
        if told_s >= self._final_told_s + self._settings.beep_wait_s:
            self._phase = _Phase.DONE
            return []
        if timing is None or not self.wants_timing or timing.values[_SINCE_FIRST] > self._settings.final_after_speech_s:
            return []
        believed = self._believe(probability)
        asked = _shifted(believed, self._shift)
        since_s = timing.values[_SINCE_FIRST]
        if asked >= demanded(self._demands.final_machine, since_s):
            return [self._final(self._machine_kind(), believed, told_s, "timing", self._evidence(timing))]
        if asked <= demanded(self._demands.final_person, since_s):
            return [self._final(Kind.PERSON, believed, told_s, "timing", self._evidence(timing))]
        return []

    def _after_beep(self, beep: Tone, timing: Timing, probability: float) -> list[Verdict]:
        believed = self._believe(probability)
        known = self._has_settled_on(Kind.VOICEMAIL) or self._has_settled_on(Kind.SCREENING)
        if known or _shifted(believed, self._shift) < self._demands.limit_machine:
            return []
        return [self._final(Kind.VOICEMAIL, believed, beep.told_s, "beep", self._evidence(timing))]

    def _first_ringing(self, ringback: Tone) -> list[Verdict]:
        if self._first_told or self._phase is not _Phase.DECIDING:
            return []
        evidence = _tone_evidence(ringback)
        return [self._tell(Stage.FIRST, Kind.CALL_PROGRESS, _RINGING_PROBABILITY, ringback.told_s, "ringback", evidence)]

    def _nothing(self, told_s: float) -> Verdict:
        if self._ringback is not None:
            evidence = _tone_evidence(self._ringback)
            return self._final(Kind.CALL_PROGRESS, _RINGING_PROBABILITY, told_s, "ringback", evidence)
        waited: dict[str, Fact] = {"since_answer_s": round(told_s - self._answered_s, 3)}
        return self._final(Kind.NOTHING, _NOTHING_PROBABILITY, told_s, "silence", waited)

    def _has_settled_on(self, kind: Kind) -> bool:
        """It is the final verdict, or what that was revised to; a first verdict of the same kind is still to be made final."""
        return self._phase is _Phase.LISTENING and self.latest is not None and self.latest.kind is kind

    def _machine_kind(self) -> Kind:
        if self._strong is not None:
            return self._strong
        if self._beep is not None:
            return Kind.VOICEMAIL
        return self._leaning if self._leaning not in {None, Kind.PERSON} else Kind.MACHINE

    def _believe(self, probability: float) -> float:
        """With the beep, if there was one."""
        return probability_of(log_odds(probability) + (BEEP_LOG_ODDS if self._beep is not None else 0.0))

    def _evidence(self, timing: Timing | None) -> dict[str, Fact]:
        evidence: dict[str, Fact] = dict(timing.evidence) if timing is not None else {}
        if self._beep is not None:
            evidence["beep_at_s"] = round(self._beep.began_s, 3)
        evidence |= self._wording
        if self._strong is not None:
            evidence["phrase"] = self._phrase
        if self._leaning is not None:
            evidence["words_lean_to"] = self._leaning.value
        return evidence

    def _final(self, kind: Kind, probability: float, told_s: float, rule: str, evidence: Mapping[str, Fact]) -> Verdict:
        """The final verdict, or a revision of it."""
        stage = Stage.FINAL if self._phase is _Phase.DECIDING else Stage.REVISED
        if stage is Stage.FINAL:
            self._phase = _Phase.LISTENING
        self._final_told_s = told_s
        return self._tell(stage, kind, probability, told_s, rule, evidence)

    def _tell(
        self, stage: Stage, kind: Kind, probability: float, told_s: float, rule: str, evidence: Mapping[str, Fact]
    ) -> Verdict:
        self._first_told = True
        verdict = Verdict(stage, kind, round(probability, 4), told_s, rule, dict(evidence))
        self.latest = verdict
        return verdict


def _tone_evidence(tone: Tone) -> dict[str, Fact]:
    frequencies: Sequence[float] = tone.frequencies_hz
    return {
        "tone": tone.kind.value,
        "tone_at_s": round(tone.began_s, 3),
        "tone_frequencies_hz": " ".join(f"{frequency:.0f}" for frequency in frequencies),
        "tone_level_dbm0": round(tone.level_dbm0, 1),
        "tone_detail": tone.detail,
    }


def _shifted(probability: float, by_log_odds: float) -> float:
    return probability_of(log_odds(probability) + by_log_odds)
