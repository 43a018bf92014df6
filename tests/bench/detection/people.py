"""How people answer: a word or more, then they wait for us, and speak again when nobody does."""

from __future__ import annotations

from collections.abc import Callable

from sip.voicemail.events import Kind
from tests.bench.detection.labels import LONG_ANSWER_S
from tests.bench.detection.scene import MOST_S, Scene

Plays = Callable[[Scene], None]


def hello(scene: Scene) -> None:
    """One word, then a wait."""
    at_s = scene.say("hello", at_s=scene.begin())
    _waits(scene, at_s)


def hello_again(scene: Scene) -> None:
    """One word, and impatiently once more."""
    at_s = scene.say("hello", at_s=scene.begin())
    scene.answer_end_s = at_s
    at_s = scene.say("hello", at_s=at_s + scene.about(1.15, 0.25, low=0.8, high=2.0))
    _waits(scene, at_s)


def short_answer(scene: Scene) -> None:
    """A name, a question: about 0.8 to 2.5 s."""
    at_s = scene.say("answer", at_s=scene.begin(), breath_s=0.25)
    _waits(scene, at_s)


def two_breaths(scene: Scene) -> None:
    """A word, a pause of 0.3 to 1.1 s, and more."""
    scene.hard_cases.append("two_breaths")
    begins_s = scene.begin()
    at_s = scene.say("hello", at_s=begins_s)
    pause_s = scene.about(0.6, 0.35, low=0.3, high=1.1)
    line = scene.line_of("after_hello", least_s=0.2, most_s=LONG_ANSWER_S - 0.05 - (at_s - begins_s) - pause_s)
    at_s = scene.say_line(line, at_s=at_s + pause_s)
    _waits(scene, at_s)


def business(scene: Scene) -> None:
    """A firm's name, shorter than a long answer."""
    scene.hard_cases.append("business_short")
    line = scene.line_of("business", least_s=0.8, most_s=LONG_ANSWER_S - 0.05)
    at_s = scene.say_line(line, at_s=scene.begin(), breath_s=0.2)
    _waits(scene, at_s)


def business_long(scene: Scene) -> None:
    """A firm's whole phrase, 3 to 5.5 s without a wait."""
    scene.hard_cases.append("business_long")
    line = scene.line_of("business_long", least_s=LONG_ANSWER_S + 0.1, most_s=5.5)
    at_s = scene.say_line(line, at_s=scene.begin(), breath_s=0.22)
    _waits(scene, at_s)


def recorded_word(scene: Scene) -> None:
    """A short recorded word or phrase of a real voice."""
    prompts = {
        "hello": "Hello",
        "one-moment-please": "One moment please",
        "im-sorry": "I'm sorry",
        "hello-world": "Hello world",
    }
    prompts |= {"auth-thankyou": "Thank you", "vm-goodbye": "Goodbye"}
    there = [prompt for prompt in prompts if scene.can_play(prompt)]
    prompt = str(scene.rng.choice(there))
    words = prompts[prompt] if scene.language == "en" else ""
    at_s = scene.play(prompt, at_s=scene.begin(), words=words)
    scene.kind = Kind.PERSON
    scene.answer_end_s = at_s
    scene.ends_s = max(scene.ends_s, at_s + 2.5)
    while scene.chance(0.7) and at_s < MOST_S - 2:
        at_s = scene.play(prompt, at_s=at_s + scene.about(2.4, 0.4, low=1.2, high=6.0), words=words)


def _waits(scene: Scene, at_s: float) -> None:
    """Wait for us; speak again, once or more, when we stay silent; some only breathe."""
    scene.kind = Kind.PERSON
    scene.answer_end_s = scene.answer_end_s or at_s
    scene.ends_s = max(scene.ends_s, at_s + 2.5)
    wait_s = scene.about(2.3, 0.45, low=1.0, high=7.0)
    while scene.chance(0.72) and at_s + wait_s < MOST_S - 0.6:
        at_s = scene.say("again" if scene.chance(0.6) else "hello", at_s=at_s + wait_s)
        wait_s = scene.about(2.6, 0.45, low=1.0, high=7.0)


SCENARIOS: dict[str, tuple[float, Plays]] = {
    "hello": (0.28, hello),
    "hello_again": (0.1, hello_again),
    "short_answer": (0.255, short_answer),
    "two_breaths": (0.14, two_breaths),
    "business": (0.118, business),
    "business_long": (1 / 15, business_long),
    "recorded_word": (0.04, recorded_word),
}
"""Share among people, and what they do."""
