"""Tones: each found and named on clean and on bad lines, beeps told soon, voices not taken for beeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sip.voicemail.bursts import LAG_HOPS
from sip.voicemail.cadences import Pattern, patterns
from sip.voicemail.events import Tone, ToneKind
from tests.voicemail.line import Sound, hum, kinds_in, listen, on_line, pieces, silence, sweep, tone, tones_in, voice

BEEPS = {
    "a carrier's": tone(850, seconds=0.4),
    "Asterisk's": tone(699, seconds=0.42),
    "short": tone(1_000, seconds=0.08),
    "long": tone(1_400, seconds=1.9),
    "low": tone(410, seconds=0.3),
    "high": tone(2_450, seconds=0.3),
    "two at once": tone(600, 900, seconds=0.3),
    "two in turn": np.concatenate((tone(700, seconds=0.2), tone(950, seconds=0.2))),
    "rising": sweep(600, 1_400, seconds=0.4),
    "falling": sweep(1_800, 900, seconds=0.5),
}
LINES: dict[str, dict[str, Any]] = {
    "clean": {},
    "soft": {"level_dbm0": -35.0},
    "loud": {"level_dbm0": -8.0},
    "noisy": {"snr_db": 12.0},
    "lossy": {"loss": 0.05, "snr_db": 25.0, "seed": 3},
}


def only(kind: ToneKind, tones: list[Tone]) -> Tone:
    assert [tone.kind for tone in tones] == [kind]
    return tones[0]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", BEEPS)
def test_a_beep_after_a_greeting_is_found_within_100_ms_of_its_end(name: str, line: str) -> None:
    before = np.concatenate((voice(1.5), silence(0.5)))
    samples = on_line(before, BEEPS[name], silence(0.8), **LINES[line])
    beep = only(ToneKind.BEEP, tones_in(samples))
    ended_s = (before.size + BEEPS[name].size) / 8_000
    assert beep.ended_s == pytest.approx(ended_s, abs=0.03)
    assert beep.began_s == pytest.approx(before.size / 8_000, abs=0.03)
    assert 0 < beep.told_s - ended_s <= 0.1
    assert beep.level_dbm0 == pytest.approx(LINES[line].get("level_dbm0", -20.0), abs=2)


def test_a_beep_tells_its_frequencies() -> None:
    def frequencies(sound: Sound) -> tuple[float, ...]:
        return only(ToneKind.BEEP, tones_in(on_line(voice(1.5), silence(0.3), sound, silence(0.5)))).frequencies_hz

    assert frequencies(BEEPS["a carrier's"]) == pytest.approx((850,), abs=3)
    assert frequencies(BEEPS["two at once"]) == pytest.approx((600, 900), abs=3)
    assert frequencies(BEEPS["two in turn"]) == pytest.approx((700, 950), abs=5)
    assert frequencies(BEEPS["rising"]) == pytest.approx((600, 1_400), abs=120)


@pytest.mark.parametrize("hz", [105.0, 170.0, 205.0, 230.0, 260.0, 310.0])
@pytest.mark.parametrize("seconds", [0.15, 0.4, 1.2])
def test_a_vowel_held_long_is_no_beep(hz: float, seconds: float) -> None:
    sounds = [hum(hz, seconds=seconds, seed=seed) for seed in range(4)]
    gaps = [silence(0.4)] * len(sounds)
    assert (
        kinds_in(on_line(voice(0.6), *(part for pair in zip(gaps, sounds, strict=True) for part in pair), silence(0.5))) == []
    )


@pytest.mark.parametrize("hz", [95.0, 140.0, 210.0, 280.0])
def test_talk_holds_no_tones(hz: float) -> None:
    assert kinds_in(on_line(voice(8, hz=hz, seed=int(hz)), snr_db=18)) == []


def test_noise_and_clicks_hold_no_tones() -> None:
    rng = np.random.default_rng(1)
    clicks = np.where(rng.random(24_000) < 0.0005, 20.0, 0.0)
    assert kinds_in(on_line(rng.normal(size=24_000), clicks, silence(0.5))) == []


def test_a_tone_that_is_there_when_the_stream_begins_is_no_beep() -> None:
    assert kinds_in(on_line(tone(850, seconds=0.4), silence(1))) == []


SITS = {
    "IC": (913.8, 0.274, 1_370.6, 0.274, 1_776.7, 0.380),
    "VC": (985.2, 0.380, 1_370.6, 0.274, 1_776.7, 0.380),
    "RO'": (913.8, 0.274, 1_428.5, 0.380, 1_776.7, 0.380),
    "RO''": (985.2, 0.274, 1_370.6, 0.380, 1_776.7, 0.380),
    "NC'": (985.2, 0.380, 1_428.5, 0.380, 1_776.7, 0.380),
    "NC''": (913.8, 0.380, 1_370.6, 0.380, 1_776.7, 0.380),
    "": (950.0, 0.330, 1_400.0, 0.330, 1_800.0, 0.330),
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("class_", SITS)
def test_special_information_tones_tell_their_class(class_: str, line: str) -> None:
    f1, s1, f2, s2, f3, s3 = SITS[class_]
    gap = silence(0.003 if class_ else 0.02)
    triple = (tone(f1, seconds=s1), gap, tone(f2, seconds=s2), gap, tone(f3, seconds=s3))
    sit = only(ToneKind.SIT, tones_in(on_line(silence(0.5), *triple, silence(0.4), voice(2), **LINES[line])))
    assert sit.detail == class_
    assert sit.frequencies_hz == pytest.approx((f1, f2, f3), abs=10)
    assert sit.began_s == pytest.approx(0.5, abs=0.03)


def test_a_recorded_triple_with_long_tones_is_an_intercept() -> None:
    """Measured on a real recording: 914, 1371 and 1777 Hz for 0.32, 0.30 and 0.44 s."""
    triple = (tone(914, seconds=0.32), tone(1_371, seconds=0.30), tone(1_777, seconds=0.44))
    assert only(ToneKind.SIT, tones_in(on_line(silence(0.3), *triple, silence(0.5)))).detail == "IC"


def rounds(pattern: Pattern, count: int) -> list[Sound]:
    return [
        tone(*pattern.hz, seconds=length, sway_hz=pattern.sway_hz) if i % 2 == 0 else silence(length)
        for _ in range(count)
        for i, length in enumerate(pattern.cadence_s)
    ]


@pytest.mark.parametrize("line", ["clean", "lossy"])
@pytest.mark.parametrize("pattern", patterns(), ids=lambda row: f"{row.countries[0]} {row.kind.value} {row.cadence_s[0]}")
def test_a_network_tone_is_told_by_its_lines_and_cadence(pattern: Pattern, line: str) -> None:
    count = 2 if pattern.kind is ToneKind.RINGBACK else 5
    tones = tones_in(on_line(silence(0.3), *rounds(pattern, count), **LINES[line]))
    assert {tone.kind for tone in tones} == {pattern.kind}
    assert set(pattern.countries) & set(tones[-1].detail.split(","))


@pytest.mark.parametrize(("hz", "sway_hz"), [((440, 480), 0), ((400, 450), 0), ((425,), 0)])
def test_the_rest_of_a_ringback_and_then_a_person_is_no_beep(hz: tuple[float, ...], sway_hz: float) -> None:
    rest = tone(*hz, seconds=0.33, sway_hz=sway_hz)
    assert ToneKind.BEEP not in kinds_in(on_line(silence(0.4), rest, silence(0.3), voice(1.0), silence(0.6)))
    assert ToneKind.BEEP not in kinds_in(on_line(rest, silence(0.3), voice(1.0), silence(0.6)))


def test_ringback_goes_on_being_told_once() -> None:
    ring = [part for _ in range(3) for part in (tone(440, 480, seconds=2.0), silence(4.0))]
    assert kinds_in(on_line(silence(0.5), *ring)) == [ToneKind.RINGBACK]


@pytest.mark.parametrize("line", LINES)
def test_a_calling_fax_is_told_by_its_second_tone(line: str) -> None:
    cng = (tone(1_120, seconds=0.52), silence(3.1))
    fax = only(ToneKind.FAX_CNG, tones_in(on_line(silence(0.4), *cng, *cng, **LINES[line])))
    assert fax.told_s < 0.4 + 3.62 + 0.52 + 0.11


def test_one_tone_like_a_calling_fax_and_no_second_is_a_beep_told_late() -> None:
    beep = only(ToneKind.BEEP, tones_in(on_line(silence(0.4), tone(1_100, seconds=0.5), silence(5.5))))
    assert beep.told_s > 4


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(("kind", "hz"), [(ToneKind.FAX_CED, 2_100), (ToneKind.FAX_CED, 2_112), (ToneKind.MODEM, 2_225)])
def test_a_fax_or_modem_that_answers_is_told_after_a_second(kind: ToneKind, hz: float, line: str) -> None:
    answer = only(kind, tones_in(on_line(silence(0.3), tone(hz, seconds=3.0), silence(0.5), **LINES[line])))
    assert answer.told_s < 1.6


def test_an_answering_modem_that_turns_its_phase_round_is_told() -> None:
    answer = tone(2_100, seconds=3.2)
    for begin in range(3_600, answer.size, 7_200):
        answer[begin : begin + 3_600] *= -1
    assert kinds_in(on_line(silence(0.3), answer, silence(0.5))) == [ToneKind.FAX_CED]


@pytest.mark.parametrize("key", "1234567890*#ABCD")
def test_every_key_is_told(key: str) -> None:
    at = "123A456B789C*0#D".index(key)
    low, high = (697, 770, 852, 941)[at // 4], (1_209, 1_336, 1_477, 1_633)[at % 4]
    for line in ("clean", "noisy"):
        dtmf = only(ToneKind.DTMF, tones_in(on_line(silence(0.3), tone(low, high, seconds=0.1), silence(0.3), **LINES[line])))
        assert dtmf.detail == key


def test_a_tone_without_end_is_told_once_as_some_tone() -> None:
    assert kinds_in(on_line(silence(0.2), tone(1_000, seconds=6), silence(0.5))) == [ToneKind.OTHER]


def test_hops_of_a_tone_are_flagged_and_those_of_talk_are_not() -> None:
    before, beep = voice(2.0), tone(850, seconds=0.4)
    _, flags = listen(pieces(on_line(before, silence(0.3), beep, silence(0.5)), [800]))
    flagged = np.array(flags[LAG_HOPS:])
    assert flagged[230:270].all()
    assert not flagged[:228].any()
    assert not flagged[273:].any()
