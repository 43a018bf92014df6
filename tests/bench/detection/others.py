"""Neither person nor greeting: fax, call progress after the answer, nothing, music, babble; and people who pick up late."""

from __future__ import annotations

import dataclasses
import functools

from sip.voicemail.events import Kind, ToneKind
from tests.bench.detection import machines, people, sounds
from tests.bench.detection.people import Plays
from tests.bench.detection.scene import MOST_S, Scene
from tests.bench.detection.speech import draw_voice

LEAST_TONE_S = 0.07
"""Of a beep that somebody cut off by picking up: what is shorter is a click."""


def fax_cng(scene: Scene) -> None:
    """A calling fax: 1100 Hz +-38, 0.5 s on, 3 s off, each within 15 %."""
    hz = 1100 + scene.between(-30, 30)
    at_s, first_s, last_s = scene.between(0.2, 2.5), None, 0.0
    on_s, off_s = 0.5 * scene.between(0.88, 1.12), 3.0 * scene.between(0.88, 1.12)
    while at_s + on_s < scene.duration_s:
        first_s = at_s if first_s is None else first_s
        last_s = scene.sound(sounds.tone([hz], on_s), at_s=at_s, kind=None)
        at_s += on_s + off_s
    scene.label_tone(ToneKind.FAX_CNG, began_s=first_s or 0.0, ended_s=last_s, frequencies_hz=(hz,))
    scene.kind = Kind.FAX


def fax_ced(scene: Scene) -> None:
    """An answering fax: 2100 Hz +-15 for 2.6 to 4 s, some with phase reversals; some hiss after it."""
    hz = 2100 + scene.between(-12, 12)
    samples = sounds.answer_tone(scene.between(2.6, 4.0), reversals=scene.chance(0.35), hz=hz)
    scene.sound(samples, at_s=scene.between(0.2, 2.5), kind=ToneKind.FAX_CED, frequencies_hz=(hz,))
    scene.kind = Kind.FAX


def modem(scene: Scene) -> None:
    """A Bell 103 modem's answer: 2225 Hz."""
    hz = 2225 + scene.between(-8, 8)
    samples = sounds.tone([hz], scene.between(2.0, 5.0))
    scene.sound(samples, at_s=scene.between(0.2, 2.5), kind=ToneKind.MODEM, frequencies_hz=(hz,))
    scene.kind = Kind.FAX


def _progress(scene: Scene, kind: ToneKind, table: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    country = str(scene.rng.choice(list(table)))
    frequencies, pattern = table[country]
    at_s = scene.between(0.0, 1.0)
    samples, ended_s = sounds.cadence(frequencies, pattern, scene.duration_s - at_s)
    scene.sound(samples, at_s=at_s, kind=kind, frequencies_hz=frequencies, detail=country, ended_s=at_s + ended_s)
    scene.kind = Kind.CALL_PROGRESS


def busy(scene: Scene) -> None:
    """A busy tone after the answer."""
    _progress(scene, ToneKind.BUSY, sounds.BUSY)


def reorder(scene: Scene) -> None:
    """A congestion tone after the answer."""
    _progress(scene, ToneKind.REORDER, sounds.REORDER)


def ringback(scene: Scene) -> None:
    """Ringback that goes on after an early 200."""
    _progress(scene, ToneKind.RINGBACK, sounds.RINGBACK)


def nothing(scene: Scene) -> None:
    """Silence, or the noise of a line."""
    scene.kind = Kind.NOTHING


def music(scene: Scene) -> None:
    """Music on hold."""
    scene.hard_cases.append("music")
    at_s = scene.between(0.0, 1.5)
    samples = sounds.music(sounds.samples_of(scene.duration_s - at_s), half=scene.half, rng=scene.rng)
    scene.sound(samples, at_s=at_s, kind=None)
    scene.kind = Kind.MACHINE


def babble(scene: Scene) -> None:
    """A room full of people, none of them speaking to us."""
    scene.hard_cases.append("babble")
    scene.wants_babble = True
    scene.kind = Kind.NOTHING


def picked_up(scene: Scene) -> None:
    """A greeting plays for 3 to 7 s, and then somebody picks up and speaks."""
    scene.hard_cases.append("picked_up")
    stops_s = scene.between(4.5, 8.0)
    machines.personal(scene)
    cut_s = scene.cut(at_s=stops_s)
    heard = [dataclasses.replace(tone, ended_s=min(tone.ended_s, cut_s)) for tone in scene.tones]
    scene.tones = [tone for tone in heard if tone.ended_s - tone.began_s >= LEAST_TONE_S]
    scene.greeting_end_s = cut_s
    scene.person_from_s = cut_s + scene.between(0.4, 1.2)
    voice = draw_voice(half=scene.half, language=scene.language, rng=scene.rng)
    at_s = scene.say("hello", at_s=scene.person_from_s, voice=voice)
    scene.ends_s = max(scene.ends_s, at_s + 3.0)
    scene.kind = Kind.VOICEMAIL


def _information(scene: Scene, *, kind: str) -> None:
    at_s = machines.put_information_tones(scene, kind, at_s=scene.between(0.1, 1.2), gain_db=scene.between(-6, 4))
    scene.greeting_end_s = scene.say("announcement", at_s=at_s + scene.between(0.1, 0.7), breath_s=0.45)
    scene.ends_s = min(max(scene.ends_s, scene.greeting_end_s + 1), MOST_S)
    scene.kind = Kind.ANNOUNCEMENT


INFORMATION: dict[str, Plays] = {
    f"sit {kind or 'ITU-T'}": functools.partial(_information, kind=kind) for kind in sounds.INFORMATION
}
MAIN: dict[str, dict[str, tuple[float, Plays]]] = {
    "person": people.SCENARIOS,
    **machines.SCENARIOS,
    "fax": {"fax_cng": (0.4, fax_cng), "fax_ced": (0.5, fax_ced), "modem": (0.1, modem)},
    "call_progress": {"busy": (0.3, busy), "reorder": (0.2, reorder), "ringback": (0.5, ringback)},
    "nothing": {"nothing": (1.0, nothing)},
    "music": {"music": (1.0, music)},
    "babble": {"babble": (1.0, babble)},
}
"""All that is met in the main part: groups, and the scenarios' shares in each."""
MAIN_SHARES = {
    "person": 0.5,
    "voicemail": 0.26,
    "mailbox_full": 0.03,
    "menu": 0.075,
    "screening": 0.035,
    "announcement": 0.03,
    "fax": 0.015,
    "call_progress": 0.02,
    "nothing": 0.015,
    "music": 0.01,
    "babble": 0.01,
}
"""Of the calls that are answered. livekit/agents#3643: 30 % of a user's answered calls are voicemail or screening."""
EXTRA: dict[str, tuple[int, Plays]] = {
    **{name: (28, plays) for name, plays in INFORMATION.items()},
    "fax_cng": (60, fax_cng),
    "fax_ced": (60, fax_ced),
    "modem": (20, modem),
    "busy": (70, busy),
    "reorder": (50, reorder),
    "ringback": (110, ringback),
    "picked_up": (50, picked_up),
    "music": (30, music),
    "babble": (30, babble),
}
"""How many clips of each in the test half's extra part, half of them on clean lines; the training half has half as many."""
