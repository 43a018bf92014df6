"""What the orchestrator tells agents of the callee: who or what answered, and what is about to be done about it.

It sets attributes on the callee's participant (identity `callee-...`, kind SIP) and sends the same as a data packet with topic
`orchestrator.verdict`, a JSON object. Attributes stay; an agent that comes late, or in another language, reads them:

    orchestrator.answered_by          person, voicemail, mailbox_full, menu, screening, announcement, fax, call_progress,
                                      machine, nothing, uncertain
    orchestrator.verdict_stage        first (early, may be revised), final, revised (a person has picked up after all ...)
    orchestrator.machine_probability  that no person is on the line, such as "0.997"
    orchestrator.verdict_rule         what decided
    orchestrator.plan                 carry_on, hang_up, wait_for_beep, speak_now (the beep is over: leave your message),
                                      message_plays (a recording is being played: be silent)
    orchestrator.silence_warning      the callee has been silent for so many seconds

For use in agents; needs nothing but the room that the agent is in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

ANSWERED_BY = "orchestrator.answered_by"
VERDICT_STAGE = "orchestrator.verdict_stage"
MACHINE_PROBABILITY = "orchestrator.machine_probability"
VERDICT_RULE = "orchestrator.verdict_rule"
PLAN = "orchestrator.plan"
SILENCE_WARNING = "orchestrator.silence_warning"

VERDICT_TOPIC = "orchestrator.verdict"
"""Of the data packet."""

SPEAK_NOW = "speak_now"
_CALLEE_PREFIX = "callee-"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CalleeVerdict:
    """Who or what answered, as far as the orchestrator has told."""

    answered_by: str
    """`person`, `voicemail` ...; see this module's docstring."""
    stage: str
    """`first`, `final`, `revised`."""
    machine_probability: float
    rule: str
    plan: str
    """What the orchestrator is about to do; empty: nothing is known of that."""

    @property
    def is_final(self) -> bool:
        """It is the one on which the orchestrator acts, or a revision of it."""
        return self.stage != "first"


class _Room(Protocol):
    """What is needed of `livekit.rtc.Room`."""

    @property
    def remote_participants(self) -> Mapping[str, Any]: ...

    def on(self, event: Any, callback: Callable[..., Any], /) -> Any: ...

    def off(self, event: Any, callback: Callable[..., Any], /) -> Any: ...


def verdict_of(attributes: Mapping[str, str]) -> CalleeVerdict | None:
    """What a callee's attributes say; None: nothing yet."""
    if not attributes.get(ANSWERED_BY):
        return None
    try:
        probability = float(attributes.get(MACHINE_PROBABILITY, ""))
    except ValueError:
        probability = 0.5
    return CalleeVerdict(
        answered_by=attributes[ANSWERED_BY],
        stage=attributes.get(VERDICT_STAGE, ""),
        machine_probability=probability,
        rule=attributes.get(VERDICT_RULE, ""),
        plan=attributes.get(PLAN, ""),
    )


async def callee_verdict(room: _Room, *, patience_s: float, final: bool = False) -> CalleeVerdict | None:
    """Wait for the first verdict (`final`: for the final one); None if there is none within `patience_s`.

    An agent that holds its first words calls this once the callee has answered, and treats None and `uncertain` as a person.
    """

    def wanted(attributes: Mapping[str, str]) -> CalleeVerdict | None:
        verdict = verdict_of(attributes)
        return None if verdict is None or (final and not verdict.is_final) else verdict

    return await _wait_for(room, wanted, patience_s)


async def wait_until_to_speak(room: _Room, *, patience_s: float) -> bool:
    """Wait until the orchestrator says that the beep is over and the message may be left; False if not within `patience_s`."""
    found = await _wait_for(room, lambda attributes: attributes.get(PLAN) == SPEAK_NOW or None, patience_s)
    return found is True


async def _wait_for(room: _Room, wanted: Callable[[Mapping[str, str]], T | None], patience_s: float) -> T | None:
    found: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def look(*_: object) -> None:
        for participant in room.remote_participants.values():
            if participant.identity.startswith(_CALLEE_PREFIX):
                value = wanted(participant.attributes)
                if value is not None and not found.done():
                    found.set_result(value)

    events = ("participant_connected", "participant_attributes_changed")
    for event in events:
        room.on(event, look)
    try:
        look()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                return await found
        return None
    finally:
        for event in events:
            room.off(event, look)
