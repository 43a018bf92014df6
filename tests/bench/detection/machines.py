"""How machines answer: greetings with and without beeps, full mailboxes, menus, screening, announcements."""

from __future__ import annotations

from sip.voicemail.events import Kind, ToneKind
from tests.bench.detection import sounds
from tests.bench.detection.labels import SAMPLE_RATE_HZ
from tests.bench.detection.people import Plays
from tests.bench.detection.scene import MOST_S, Scene
from tests.bench.detection.script import Line

LAST_BEEP_S = 14.2
"""Beeps begin at the latest then, so that the clip shows their end and what follows."""


def personal(scene: Scene) -> None:
    """Somebody's own greeting."""
    end_s = scene.say_line(_fitting(scene, "personal", most_s=11.0), at_s=scene.begin(), breath_s=0.4)
    _greeting_over(scene, end_s, beeps=0.75)


def carrier(scene: Scene) -> None:
    """The carrier's greeting; some begin only after a silence of 2.5 to 3.3 s."""
    at_s = scene.between(2.5, 3.3) if scene.chance(0.04) else scene.begin()
    end_s = scene.say_line(_fitting(scene, "carrier", most_s=11.5), at_s=at_s, breath_s=0.45)
    _greeting_over(scene, end_s, beeps=0.7)


def hello_pause(scene: Scene) -> None:
    """A person's greeting that begins with hello and a pause of 0.5 to 1 s."""
    scene.hard_cases.append("hello_pause")
    at_s = scene.say("greeting_hello", at_s=scene.begin())
    end_s = scene.say_line(_fitting(scene, "personal", most_s=10.0), at_s=at_s + scene.between(0.5, 1.0), breath_s=0.4)
    _greeting_over(scene, end_s, beeps=0.75)


def short_greeting(scene: Scene) -> None:
    """1.6 to 3 s and no beep."""
    scene.hard_cases.append("short_greeting")
    line = scene.line_of("short_greeting", least_s=1.6, most_s=3.0)
    end_s = scene.say_line(line, at_s=scene.begin(), breath_s=0.2)
    _greeting_over(scene, end_s, beeps=0.0)


def recorded_greeting(scene: Scene) -> None:
    """A recorded voice: somebody is not available, leave a message."""
    at_s = scene.begin()
    if scene.chance(0.5):
        at_s = scene.play("vm-theperson", at_s=at_s, words="The person at extension")
        for digit in scene.rng.integers(0, 10, size=int(scene.rng.integers(3, 5))):
            at_s = scene.play(f"digits/{digit}", at_s=at_s + scene.between(0.08, 0.2), words=str(digit))
        at_s = scene.play("vm-isunavail", at_s=at_s + scene.between(0.1, 0.3), words="is unavailable")
    else:
        at_s = scene.play("vm-nobodyavail", at_s=at_s, words="Nobody is available to take your call at the moment")
    words = "Please leave your message after the tone. When done, hang up, or press the pound key."
    end_s = scene.play("vm-intro", at_s=at_s + scene.between(0.15, 0.6), words=words)
    _greeting_over(scene, end_s, beeps=0.8)
    _unworded(scene)


def mailbox_full(scene: Scene) -> None:
    """A mailbox that is full or not set up; now and then a beep ends it."""
    end_s = scene.say("full", at_s=scene.begin(), breath_s=0.45)
    _greeting_over(scene, end_s, beeps=0.1)
    scene.kind = Kind.MAILBOX_FULL


def menu(scene: Scene) -> None:
    """Welcome, half the time followed by a pause of 0.5 to 1.2 s, and the options, repeated after a wait."""
    at_s = scene.say("welcome", at_s=scene.begin())
    if scene.chance(0.5):
        scene.hard_cases.append("welcome_pause")
        at_s += scene.between(0.5, 1.2)
    else:
        at_s += scene.between(0.15, 0.45)
    options = scene.script.line("menu")
    at_s = scene.say_line(options, at_s=at_s, breath_s=0.45)
    scene.greeting_end_s = at_s
    at_s += scene.between(2.0, 4.0)
    if at_s < MOST_S - 1.5:
        scene.say_line(options, at_s=at_s, breath_s=0.45)
    scene.ends_s = max(scene.ends_s, scene.greeting_end_s + 1.0)
    scene.kind = Kind.MENU


def recorded_menu(scene: Scene) -> None:
    """A recorded voice reads a menu."""
    prompt = str(scene.rng.choice([prompt for prompt in MENUS if scene.can_play(prompt)]))
    scene.greeting_end_s = scene.play(prompt, at_s=scene.begin(), words=MENUS[prompt])
    scene.ends_s = MOST_S
    scene.kind = Kind.MENU
    _unworded(scene)


MENUS = {
    "demo-instruct": "",
    "basic-pbx-ivr-main": "",
    "dir-intro": "",
    "conf-usermenu": "",
}
"""Prompts that are menus, and their words where they are known for sure."""


def screening(scene: Scene) -> None:
    """Somebody's phone asks who is calling; half of them beep, all wait for the answer."""
    scene.hard_cases.append("screening")
    end_s = scene.say("screening", at_s=scene.begin(), breath_s=0.35)
    _greeting_over(scene, end_s, beeps=0.5)
    scene.kind = Kind.SCREENING


def announcement(scene: Scene) -> None:
    """The network speaks; half of them after the special information tones."""
    at_s = scene.begin()
    if scene.chance(0.5):
        at_s = put_information_tones(
            scene, str(scene.rng.choice(list(sounds.INFORMATION))), at_s=max(0.05, at_s), gain_db=scene.between(-8, 4)
        )
        at_s += scene.between(0.1, 0.7)
    line = scene.script.line("announcement")
    end_s = scene.say_line(line, at_s=at_s, breath_s=0.45)
    scene.greeting_end_s = end_s
    end_s += scene.between(0.8, 2.5)
    if end_s < MOST_S - 2:
        scene.say_line(line, at_s=end_s, breath_s=0.45)
    scene.ends_s = max(scene.ends_s, min(end_s, MOST_S))
    scene.kind = Kind.ANNOUNCEMENT


def recorded_announcement(scene: Scene) -> None:
    """A recorded voice: not in service."""
    at_s = scene.begin()
    if scene.chance(0.4):
        at_s = (
            put_information_tones(
                scene, str(scene.rng.choice(["IC", "VC", ""])), at_s=max(0.05, at_s), gain_db=scene.between(-6, 4)
            )
            + 0.3
        )
    prompt = "ss-noservice"
    words = "The number you have dialed is not in service. Please check the number and try again."
    scene.greeting_end_s = scene.play(prompt, at_s=at_s, words=words)
    again_s = scene.greeting_end_s + scene.between(0.8, 2.0)
    if again_s < MOST_S - 4:
        scene.play(prompt, at_s=again_s, words=words)
    scene.kind = Kind.ANNOUNCEMENT
    _unworded(scene)


def put_information_tones(scene: Scene, kind: str, *, at_s: float, gain_db: float) -> float:
    """The three tones of a class, with their label; the time when they end."""
    frequencies = tuple(frequency for frequency, _ in sounds.INFORMATION[kind])
    samples = sounds.information_tones(kind, rng=scene.rng)
    return scene.sound(samples, at_s=at_s, kind=ToneKind.SIT, gain_db=gain_db, frequencies_hz=frequencies, detail=kind)


def _fitting(scene: Scene, purpose: str, *, most_s: float) -> Line:
    """A line that leaves room for a beep; now and then any."""
    line = scene.script.line(purpose)
    if scene.chance(0.15):
        return line
    for _ in range(3):
        if scene.length_s(line, breath_s=0.4) <= most_s:
            break
        line = scene.script.line(purpose)
    return line


def _greeting_over(scene: Scene, end_s: float, *, beeps: float) -> None:
    """The greeting's end, and a beep after it or none."""
    scene.kind = Kind.VOICEMAIL
    scene.greeting_end_s = end_s
    scene.ends_s = max(scene.ends_s, end_s + 1.5)
    if scene.chance(beeps):
        put_beep(scene, after_s=end_s)


def put_beep(scene: Scene, *, after_s: float) -> None:
    """A beep within 0.05 to 2.5 s, if the clip has room for it."""
    at_s = after_s + scene.about(0.45, 0.7, low=0.05, high=2.5)
    beep = sounds.beep(rng=scene.rng)
    if at_s > LAST_BEEP_S or at_s + beep.samples.size / SAMPLE_RATE_HZ > MOST_S - 0.8:
        return
    stops_s = scene.sound(
        beep.samples,
        at_s=at_s,
        kind=ToneKind.BEEP,
        gain_db=scene.between(-9, 5),
        frequencies_hz=beep.frequencies_hz,
        detail=beep.shape,
    )
    scene.ends_s = max(scene.ends_s, stops_s + 1.5)


def _unworded(scene: Scene) -> None:
    """Words of recorded prompts are known in English only."""
    if scene.language != "en" or any(prompt in MENUS for prompt in scene.prompt_ids):
        scene.words.clear()


SCENARIOS: dict[str, dict[str, tuple[float, Plays]]] = {
    "voicemail": {
        "personal": (0.37, personal),
        "carrier": (0.4, carrier),
        "hello_pause": (1 / 9, hello_pause),
        "short_greeting": (0.05, short_greeting),
        "recorded_greeting": (0.07, recorded_greeting),
    },
    "mailbox_full": {"mailbox_full": (1.0, mailbox_full)},
    "menu": {"menu": (0.93, menu), "recorded_menu": (0.07, recorded_menu)},
    "screening": {"screening": (1.0, screening)},
    "announcement": {"announcement": (0.92, announcement), "recorded_announcement": (0.08, recorded_announcement)},
}
"""Kind: scenarios with their shares in it."""
