"""Tones on bad lines: torn, repeated, soft or in noise they are found; vowels and music are none."""

from __future__ import annotations

import numpy as np
import pytest

from sip.voicemail.events import ToneKind
from tests.voicemail.line import Samples, Sound, hum, kinds_in, on_line, silence, tone, tones_in, voice

PACKET = 160


def without(samples: Samples, *lost_s: tuple[float, float]) -> Samples:
    """Nothing arrives between these times."""
    torn = samples.copy()
    for began_s, ended_s in lost_s:
        torn[round(began_s * 8_000) : round(ended_s * 8_000)] = 0
    return torn


def repeating(samples: Samples, *packets: int) -> Samples:
    """Packets of 20 ms are lost, and the one before is played again: a tone's phase jumps."""
    concealed = samples.copy()
    for packet in packets:
        concealed[packet * PACKET : (packet + 1) * PACKET] = concealed[(packet - 1) * PACKET : packet * PACKET]
    return concealed


def note(hz: float, *, seconds: float) -> Sound:
    """A string that is plucked: harmonics, and it fades."""
    at = np.arange(round(seconds * 8_000)) / 8_000
    sound = np.sum([np.sin(2 * np.pi * hz * n * at) / n**2 for n in (1, 2, 3)], axis=0) * np.exp(-3 * at)
    return np.asarray(sound * np.minimum(1, at / 0.005))


def mixed(*sounds: tuple[Sound, float]) -> Sound:
    """Sounds at once, each at its gain in dB."""
    together = np.zeros(max(sound.size for sound, _ in sounds))
    for sound, gain_db in sounds:
        together[: sound.size] += sound * 10 ** (gain_db / 20)
    return together


def test_a_ringback_that_lost_packets_tear_each_time_is_told_and_is_no_beep() -> None:
    ring = [part for _ in range(2) for part in (tone(425, seconds=1.0), silence(4.0))]
    torn = without(on_line(silence(0.3), *ring, snr_db=30), (0.6, 0.75), (5.7, 5.86))
    assert kinds_in(torn) == [ToneKind.RINGBACK]


def test_a_busy_tone_whose_packets_are_repeated_out_of_phase_is_told_and_is_no_beep() -> None:
    busy = [part for _ in range(7) for part in (tone(425, seconds=0.48), silence(0.48))]
    samples = repeating(on_line(silence(0.3), *busy), 26, 74, 122, 172, 219, 268)
    assert kinds_in(samples) == [ToneKind.BUSY]


def test_a_burst_that_lost_an_end_does_not_turn_reorder_into_busy() -> None:
    reorder = [part for _ in range(10) for part in (tone(425, seconds=0.175), silence(0.175))]
    samples = on_line(silence(0.3), *reorder, snr_db=25)
    torn = without(samples, (0.3 + 0.35 * 4, 0.3 + 0.35 * 4 + 0.06), (0.3 + 0.35 * 6 + 0.12, 0.3 + 0.35 * 6 + 0.18))
    assert kinds_in(torn) == [ToneKind.REORDER]


def test_noise_is_nothing_that_was_said_before_a_busy_tone() -> None:
    busy = [part for _ in range(6) for part in (tone(425, seconds=0.2), silence(0.2))]
    assert kinds_in(on_line(silence(1.5), *busy, snr_db=9)) == [ToneKind.BUSY]


def test_a_beep_at_a_ringback_s_frequency_is_told_when_somebody_spoke_in_between() -> None:
    ring = (tone(425, seconds=1.0), silence(1.0))
    samples = on_line(*(silence(0.3), *ring), voice(3.0), silence(0.4), tone(425, seconds=0.4), silence(0.5))
    assert kinds_in(samples) == [ToneKind.RINGBACK, ToneKind.BEEP]


@pytest.mark.parametrize("hz", [640.0, 950.0, 1_400.0, 2_200.0])
def test_a_beep_in_noise_that_is_nearly_as_loud_is_found(hz: float) -> None:
    beep = mixed((tone(hz, seconds=0.4), -3.0))
    assert kinds_in(on_line(voice(2.0), silence(0.5), beep, silence(0.6), snr_db=7)) == [ToneKind.BEEP]


def test_a_beep_after_a_very_soft_greeting_is_found() -> None:
    samples = on_line(voice(2.0), silence(0.4), mixed((tone(900, seconds=0.35), -9.0)), silence(0.5), level_dbm0=-35)
    assert kinds_in(samples) == [ToneKind.BEEP]


def test_a_beep_over_another_note_that_is_softer_is_found() -> None:
    music = np.concatenate((tone(520, seconds=0.6), tone(587, seconds=0.35)))
    beep = np.concatenate((silence(0.6), tone(1_020, seconds=0.3)))
    samples = on_line(voice(2.0), silence(0.5), mixed((music, -14.0), (beep, 0.0)), silence(0.6), snr_db=35)
    found = [tone for tone in tones_in(samples) if tone.kind is ToneKind.BEEP]
    assert [round(tone.frequencies_hz[0], -1) for tone in found] == [1_020]


@pytest.mark.parametrize("seed", range(4))
def test_music_behind_a_voice_holds_no_beeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = [392.0, 440.0, 494.0, 523.0, 587.0, 659.0, 784.0]
    tune = np.concatenate([note(float(rng.choice(scale)), seconds=float(rng.uniform(0.2, 0.6))) for _ in range(16)])
    samples = on_line(mixed((np.concatenate((voice(2.5, seed=seed), silence(4.0))), 0.0), (tune, -14.0)), snr_db=35)
    assert ToneKind.BEEP not in kinds_in(samples)


@pytest.mark.parametrize("hz", [225.0, 300.0, 380.0, 440.0])
@pytest.mark.parametrize("seconds", [0.05, 0.07, 0.1])
def test_a_short_cry_amid_talk_is_no_beep(hz: float, seconds: float) -> None:
    talk = [part for seed in range(5) for part in (voice(0.25, seed=seed), silence(0.06), hum(hz, seconds=seconds, seed=seed))]
    assert ToneKind.BEEP not in kinds_in(on_line(*talk, silence(0.06), voice(0.5), silence(0.5)))


@pytest.mark.parametrize(
    ("class_", "parts"),
    [
        ("IC", ((913.8, 0.274), (1_370.6, 0.274))),
        ("VC", ((985.2, 0.380), (1_370.6, 0.274))),
        ("RO'", ((913.8, 0.274), (1_428.5, 0.380))),
        ("RO''", ((985.2, 0.274), (1_370.6, 0.380))),
        ("NC'", ((985.2, 0.380), (1_428.5, 0.380))),
        ("NC''", ((913.8, 0.380), (1_370.6, 0.380))),
    ],
)
@pytest.mark.parametrize("tone_that_lost_its_end", [0, 1, 2])
def test_information_tones_of_which_40_ms_are_lost_keep_their_class(
    class_: str, parts: tuple[tuple[float, float], ...], tone_that_lost_its_end: int
) -> None:
    three = (*parts, (1_776.7, 0.380))
    ended_s = 0.5 + sum(seconds for _, seconds in three[: tone_that_lost_its_end + 1])
    samples = on_line(silence(0.5), *(tone(hz, seconds=seconds) for hz, seconds in three), silence(0.4), voice(1.0))
    assert [(tone.kind, tone.detail) for tone in tones_in(without(samples, (ended_s - 0.04, ended_s)))] == [
        (ToneKind.SIT, class_)
    ]


def test_a_calling_fax_whose_second_tone_is_torn_is_told_and_is_no_beep() -> None:
    cng = (tone(1_100, seconds=0.5), silence(3.0))
    samples = without(on_line(silence(0.4), *cng, *cng, *cng, snr_db=25), (4.15, 4.3))
    assert kinds_in(samples) == [ToneKind.FAX_CNG]
