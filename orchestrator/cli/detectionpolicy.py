"""Options that say what an account wants done about who answers, and how its policy is shown.

What fields there are and what they take is orchestrator.detection's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.cli.durations import read_duration_s, shown_duration
from orchestrator.cli.words import clean
from orchestrator.detection import ACTIONS, RULES, DetectionPolicy, policy_of, read_detection_text
from orchestrator.errors import BadInput

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = "none"
"""The word that takes a field back to its default."""
SAID_BY = {
    "silence_warning_s": ("--silence-warning", "20s", "The callee has been silent for so long: tell the agent. 0: never."),
    "silence_s": ("--silence", "30s", "The callee has been silent for so long: end the call. 0: never."),
    "idle_s": ("--idle", "2m", "Neither callee nor agent has been heard for so long: end the call. 0: never."),
    "media_lost_s": ("--media-lost", "15s", "No audio packets for so long: end the call. 0: never."),
    "no_beep_wait_s": ("--no-beep-wait", "3s", "How long after a greeting's end a beep is waited for, to leave a message."),
}
"""Times: field, option, example, help."""
_PREFIX = "detection_"


def detection_options(command: F) -> F:
    """The options that make and change an account alike."""
    options = [
        click.option("--detection", _PREFIX + "on", metavar="on|off",
                     help="Listen for who answers. Default for new accounts: on."),
        *(
            click.option(f"--{name.replace('_', '-')}", _PREFIX + name, metavar="ACTION",
                         help=f"What is done about {_kind(name)}: {', '.join(choices)}.")
            for name, choices in ACTIONS.items()
        ),
        click.option("--hang-up-probability", _PREFIX + "hang_up_probability", metavar="P",
                     help="How sure a verdict must be for hanging up, 0.9 to 1. Default: 0.98."),
        click.option("--message", _PREFIX + "message", metavar="PATH",
                     help="An audio file, on the daemon's machine, that leave_message plays. Without one the agent speaks."),
        *(
            click.option(option, _PREFIX + name, metavar=example, help=text)
            for name, (option, example, text) in SAID_BY.items()
        ),
        click.option("--detection-policy", _PREFIX + "policy", metavar="JSON",
                     help="All fields of the policy as a JSON object, or a file that holds it. "
                          f"'{DEFAULT}', here and above: back to the default."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def take_detection(options: dict[str, Any]) -> dict[str, object] | None:
    """Take the options of this module out of all that were given. None: none of them was. Raises BadInput."""
    given = {name[len(_PREFIX) :]: options.pop(name) for name in tuple(options) if name.startswith(_PREFIX)}
    given = {name: text for name, text in given.items() if text is not None}
    if not given:
        return None
    policy = given.pop("policy", None)
    said: dict[str, object] = {} if policy is None else _read_policy(policy)
    return said | {name: None if text == DEFAULT else _value(name, text) for name, text in given.items()}


def _read_policy(text: str) -> dict[str, object]:
    if text == DEFAULT:
        return dict.fromkeys(RULES)
    if text.lstrip().startswith("{") or text.lower() in ("on", "off"):
        return read_detection_text(text)
    try:
        return read_detection_text(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--detection-policy: {text!r} is neither a JSON object nor a file that can be read: {error}") from error


def _value(name: str, text: str) -> object:
    """As JSON would say it; whether it is allowed, the policy says."""
    if name in SAID_BY:
        return read_duration_s(SAID_BY[name][0], text)
    if name == "on":
        return {"on": True, "off": False}.get(text.lower(), text)
    if name == "hang_up_probability":
        try:
            return float(text)
        except ValueError:
            return text
    return text


def shown_detection(stored: Mapping[str, object]) -> str:
    """A stored policy in words: what differs from the defaults."""
    policy = policy_of(stored)
    if not policy.on:
        return "off"
    said = [f"{name} {_shown(name, value)}" for name, value in stored.items() if name != "on" and value is not None]
    return f"on; {'; '.join(said)}" if said else f"on; on_fax {DetectionPolicy().on_fax.value}, else carry_on"


def _shown(name: str, value: object) -> str:
    if name.endswith("_s") and isinstance(value, int | float):
        return shown_duration(value)
    return clean(str(value).lower() if isinstance(value, bool) else str(value))


def _kind(name: str) -> str:
    words = {
        "on_voicemail": "voicemail",
        "on_machine": "a machine of unknown kind (default: as voicemail)",
        "on_mailbox_full": "a mailbox that is full",
        "on_menu": "a menu",
        "on_screening": "a screener that asks who is calling",
        "on_announcement": "an announcement of the network",
        "on_call_progress": "busy or ringback tone after the answer (default: as an announcement)",
        "on_fax": "a fax (default: hang_up)",
    }
    return words[name]
