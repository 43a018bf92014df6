"""What can be done about who answered: the acts that `orchestrator.calls.answering` decides on, and what agents are told.

Says nothing of when.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.calls.orders import Order
from sip.events import Fact
from sip.voicemail.events import Tone, Verdict

ANSWERED_BY = "orchestrator.answered_by"
"""Names of facts: a kind of `sip.voicemail.events.Kind`,"""
VERDICT_STAGE = "orchestrator.verdict_stage"
"""how much it is worth (`Stage`),"""
MACHINE_PROBABILITY = "orchestrator.machine_probability"
"""how sure it is, like 0.997,"""
VERDICT_RULE = "orchestrator.verdict_rule"
"""what decided,"""
PLAN = "orchestrator.plan"
"""what is about to be done (`Plan`),"""
SILENCE_WARNING = "orchestrator.silence_warning"
"""and for how many seconds the callee has been silent, when that begins to be too long."""


class Plan(enum.Enum):
    """What is about to be done; agents are told its value."""

    CARRY_ON = "carry_on"
    HANG_UP = "hang_up"
    WAIT_FOR_BEEP = "wait_for_beep"
    MESSAGE_PLAYS = "message_plays"
    SPEAK_NOW = "speak_now"
    """The beep is over, or none came: the agent leaves its message, and ends the call."""


MESSAGE_PLANS = frozenset({Plan.WAIT_FOR_BEEP, Plan.MESSAGE_PLAYS, Plan.SPEAK_NOW})
SECOND_OPINION = "second_opinion"
"""The rule of a verdict that rests on one: it names what speaks, and never makes sure of it."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the call's timeline."""

    kind: str
    detail: Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class Tell:
    """Facts for the agents (`sip.leg.Leg.tell_agents`)."""

    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Play:
    """A message to be left."""

    path: str


@dataclass(frozen=True, slots=True)
class Stop:
    """No message is to be left any more."""


@dataclass(frozen=True, slots=True)
class Give:
    """The call is to be ended."""

    order: Order
    heard_s: float
    """When what it rests on was heard."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """These orders are not to be carried out, if they were given."""

    orders: frozenset[Order]


@dataclass(frozen=True, slots=True)
class Ask:
    """A second opinion is wanted, if somebody has one."""

    words: str
    """What was said. Personal: neither to be stored nor logged."""
    verdict: Verdict
    """The opinion is on this."""
    answered_s: float
    """The answer, in the stream of the verdict's times."""


Act = Note | Tell | Play | Stop | Ask | Give | Withdraw


def facts_of(verdict: Verdict | None, plan: Plan) -> dict[str, str]:
    """What agents are told of who answered, and of what is about to be done."""
    facts = {PLAN: plan.value}
    if verdict is not None:
        facts[ANSWERED_BY] = verdict.kind.value
        facts[VERDICT_STAGE] = verdict.stage.value
        facts[MACHINE_PROBABILITY] = f"{verdict.machine_probability:.3f}"
        facts[VERDICT_RULE] = verdict.rule
    return facts


def tone_detail(tone: Tone) -> dict[str, Fact]:
    """What the timeline says of a tone."""
    detail: dict[str, Fact] = {
        "tone": tone.kind.value,
        "lasted_s": round(tone.ended_s - tone.began_s, 3),
        "frequencies_hz": " ".join(f"{frequency_hz:.0f}" for frequency_hz in tone.frequencies_hz),
        "level_dbm0": round(tone.level_dbm0, 1),
    }
    return {**detail, "detail": tone.detail} if tone.detail else detail
