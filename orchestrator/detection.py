"""What an account, or a call, wants done about who answered: whether anybody listens, and what a machine is met with.

A policy is stored as a JSON object that holds only what was said; what is missing is the account's, then the default here.
`null` takes a field back. People are met by no policy: what is not a machine is always carried on with, and a hang-up asks for
`hang_up_probability` at least.

Pure. Says what is wanted, not how it is done: that is `orchestrator.calls.answering`.
"""

from __future__ import annotations

import difflib
import enum
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.errors import BadInput
from sip.voicemail.events import DetectorSettings, Kind, Pace

LONGEST_PATH = 1000
LEAST_HANG_UP_PROBABILITY = 0.9
"""Nobody can set it lower: probabilities are calibrated, so that this is one person in ten of those it is sure enough of."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Action(enum.Enum):
    """What is done about what answered."""

    CARRY_ON = "carry_on"
    """Nothing: the agent is told, and goes on as it likes."""
    HANG_UP = "hang_up"
    LEAVE_MESSAGE = "leave_message"
    """After the beep, or when none comes after the greeting's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionPolicy:
    """What is done about who answered. Seconds; times that are None are the deployment's (settings, section listening)."""

    on: bool = True
    """Somebody listens. Off: no verdict, no action, and neither silence nor lost media is noticed."""
    hold_first_words: bool = False
    """The agent is asked to say nothing before the first verdict."""
    on_voicemail: Action = Action.CARRY_ON
    on_machine: Action | None = None
    """A machine of unknown kind, as most are without a transcript. None: as `on_voicemail`."""
    on_mailbox_full: Action = Action.CARRY_ON
    on_menu: Action = Action.CARRY_ON
    on_screening: Action = Action.CARRY_ON
    on_announcement: Action = Action.CARRY_ON
    on_call_progress: Action | None = None
    """Busy, reorder or ringback after the answer. None: as `on_announcement`."""
    on_fax: Action = Action.HANG_UP
    hang_up_probability: float = 0.98
    """Nobody is hung up on below it, however a policy reads; nor is a message left without a beep."""
    message: str = ""
    """Absolute path of an audio file, on the machine of the daemon. Empty: the agent speaks when it is told `speak_now`."""
    no_beep_wait_s: float = 3.0
    """After the greeting's end, for a beep."""
    longest_message_s: float = 120.0
    """The agent's, after `speak_now`: then the call is ended as if it had said that it is done."""
    sensitivity: float = 0.5
    """How readily a detector says machine, 0 to 1."""
    pace: Pace = Pace.CAREFUL
    final_after_speech_s: float = 6.5
    final_after_answer_s: float = 10.0
    beep_wait_s: float = 60.0
    """How long after a machine's verdict a beep, or a person who picks up, is listened for."""
    silence_warning_s: float | None = None
    """The callee has been silent for so long: the agent is told. 0: never. None: the deployment's, else half of `silence_s`."""
    silence_s: float | None = None
    """The callee has been silent for so long: the call is ended. 0: never."""
    idle_s: float | None = None
    """Neither callee nor agents have been heard for so long: the call is ended. 0: never."""
    media_lost_s: float | None = None
    """No audio packets came from the callee for so long: the call is ended. 0: never."""

    def action_on(self, kind: Kind) -> Action:
        """What is done about a kind, if the verdict is sure enough."""
        match kind:
            case Kind.PERSON | Kind.NOTHING | Kind.UNCERTAIN:
                return Action.CARRY_ON
            case Kind.VOICEMAIL:
                return self.on_voicemail
            case Kind.MACHINE:
                return self.on_voicemail if self.on_machine is None else self.on_machine
            case Kind.MAILBOX_FULL:
                return self.on_mailbox_full
            case Kind.MENU:
                return self.on_menu
            case Kind.SCREENING:
                return self.on_screening
            case Kind.ANNOUNCEMENT:
                return self.on_announcement
            case Kind.CALL_PROGRESS:
                return self.on_announcement if self.on_call_progress is None else self.on_call_progress
            case Kind.FAX:
                return self.on_fax

    @property
    def detector(self) -> DetectorSettings:
        """How this call's detector decides."""
        return DetectorSettings(
            sensitivity=self.sensitivity,
            pace=self.pace,
            final_after_speech_s=self.final_after_speech_s,
            final_after_answer_s=self.final_after_answer_s,
            beep_wait_s=self.beep_wait_s,
        )


NO_DETECTION = DetectionPolicy(on=False)


@dataclass(frozen=True, slots=True)
class _Range:
    least: float
    most: float

    @property
    def allowed(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"


@dataclass(frozen=True, slots=True)
class _Choice:
    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(self.choices)


class _Truth:
    allowed = "true or false"


class _Path:
    allowed = f"the absolute path of an audio file, at most {LONGEST_PATH} characters, or empty"


_ALL = _Choice(tuple(action.value for action in Action))
_TWO = _Choice((Action.CARRY_ON.value, Action.HANG_UP.value))
_TIME = _Range(0.0, 86_400.0)

RULES: Mapping[str, _Range | _Choice | _Truth | _Path] = MappingProxyType(
    {
        "on": _Truth(),
        "hold_first_words": _Truth(),
        "on_voicemail": _ALL,
        "on_machine": _ALL,
        "on_mailbox_full": _TWO,
        "on_menu": _TWO,
        "on_screening": _TWO,
        "on_announcement": _TWO,
        "on_call_progress": _TWO,
        "on_fax": _TWO,
        "hang_up_probability": _Range(LEAST_HANG_UP_PROBABILITY, 1.0),
        "message": _Path(),
        "no_beep_wait_s": _Range(0.0, 60.0),
        "longest_message_s": _Range(1.0, 3600.0),
        "sensitivity": _Range(0.0, 1.0),
        "pace": _Choice(tuple(pace.value for pace in Pace)),
        "final_after_speech_s": _Range(1.0, 60.0),
        "final_after_answer_s": _Range(1.0, 60.0),
        "beep_wait_s": _Range(0.0, 600.0),
        "silence_warning_s": _TIME,
        "silence_s": _TIME,
        "idle_s": _TIME,
        "media_lost_s": _TIME,
    }
)
"""What each field takes. The database holds the same rules for the SQL door (detection_fault, migration 0013)."""

ACTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: rule.choices for name, rule in RULES.items() if name.startswith("on_") and isinstance(rule, _Choice)}
)
"""The fields that say what is done about a kind, with what they take."""


def read_detection(value: object) -> dict[str, object]:
    """A policy as it is stored, from a JSON value; only what it says. Raises BadInput that names field, value and remedy."""
    if not isinstance(value, Mapping):
        raise BadInput(f'detection must be a JSON object like {{"on_voicemail": "hang_up"}}, not {_shown(value)}')
    return {str(name): None if given is None else _field(str(name), given) for name, given in value.items()}


def read_detection_text(text: str) -> dict[str, object]:
    """The same from what people write: `on`, `off`, or a JSON object. Raises BadInput."""
    word = text.strip().lower()
    if word in ("on", "off"):
        return {"on": word == "on"}
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"detection must be on, off or a JSON object, not {_shown(text)}") from error
    return read_detection(value)


def merged(*said: Mapping[str, object]) -> dict[str, object]:
    """What all of them say together, a later one over an earlier one; `null` takes a field back. Raises BadInput.

    Each has passed `read_detection`; refused is what they contradict each other in.
    """
    fields = {name: value for one in said for name, value in one.items()}
    fields = {name: value for name, value in fields.items() if value is not None}
    warning_s, silence_s = fields.get("silence_warning_s"), fields.get("silence_s")
    if isinstance(warning_s, int | float) and isinstance(silence_s, int | float) and warning_s >= silence_s > 0:
        raise BadInput(f"detection: silence_warning_s ({warning_s:g}) must be below silence_s ({silence_s:g}), or 0 for none")
    return fields


def read_own_detection(value: object, account: Mapping[str, object]) -> dict[str, object]:
    """A call's own policy as it is stored. Raises BadInput, also where it contradicts its account's."""
    own = read_detection(value)
    merged(account, own)
    return merged(own)


def policy_of(fields: Mapping[str, object]) -> DetectionPolicy:
    """The policy that such fields make, over the defaults."""
    return DetectionPolicy(**{name: _typed(name, value) for name, value in fields.items()})  # type: ignore[arg-type]  # by RULES


def stored_detection(account: str, call: str | None) -> DetectionPolicy:
    """The policy of a claimed call, from the JSON of its account and, over it, its own.

    Rows can be edited by hand, and one bad row must not stop the claim of others: what cannot be read counts as not said.
    """
    fields = _readable(account) | _readable(call or "{}")
    return policy_of({name: value for name, value in fields.items() if value is not None})


def _readable(text: str) -> dict[str, object]:
    stored: object = json.loads(text)
    found: dict[str, object] = {}
    for name, value in stored.items() if isinstance(stored, dict) else ():
        try:
            found |= read_detection({name: value})
        except BadInput:
            continue
    return found


def _field(name: str, value: object) -> object:
    """One field's value as it is stored."""
    rule = RULES.get(name)
    if rule is None:
        near = difflib.get_close_matches(name, RULES, n=1)
        raise BadInput(f"detection has no {name!r}; {f'did you mean {near[0]}?' if near else 'it has ' + ', '.join(RULES)}")
    match rule:
        case _Truth():
            good = isinstance(value, bool)
        case _Range(least=least, most=most):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            good = is_number and math.isfinite(value) and least <= value <= most  # type: ignore[arg-type,operator]  # a number
        case _Choice(choices=choices):
            good = value in choices
        case _Path():
            good = isinstance(value, str) and len(value) <= LONGEST_PATH and not _CONTROL.search(value)
            good = good and (value == "" or str(value).startswith("/"))
    if not good:
        raise BadInput(f"detection: {name} must be {rule.allowed}, not {_shown(value)}")
    return value


def _typed(name: str, value: object) -> object:
    rule = RULES[name]
    if isinstance(rule, _Choice):
        return Pace(value) if name == "pace" else Action(value)
    return float(value) if isinstance(rule, _Range) else value  # type: ignore[arg-type]  # a number, by RULES


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
