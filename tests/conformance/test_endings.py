"""Every carrier turns what a callee does into the same end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from sip.causes import HangupCause
from sip.events import AgentJoined, Answered, EarlyMedia, Ended, Moment, Ringing
from sip.simulated import scripts
from sip.simulated.steps import Script
from tests.conformance.calls import TestCall
from tests.conformance.rig import FarEnd, Rig, RigMaker, script_here

GIVES_UP = {"ring_timeout_s": 3.0, "post_dial_allowance_s": 1.0}
CASES: tuple[tuple[Script, Mapping[str, Any]], ...] = (
    (scripts.RINGS_OUT, GIVES_UP),  # the longest first
    (scripts.TRUNK_UNREACHABLE, GIVES_UP),
    (scripts.TALKS_8_S, {}),
    (scripts.ANSWERS_WITHOUT_RINGING, {}),
    (scripts.DECLINES_AFTER_4_S, {}),
    (scripts.FORWARDED_TO_VOICEMAIL, {}),
    (scripts.FORWARDED_WITH_Q850, {}),
    (scripts.EARLY_MEDIA_THEN_UNAVAILABLE, {}),
    (scripts.HANGS_UP_AT_ONCE, {}),
    (scripts.BUSY, {}),
    (scripts.WRONG_NUMBER, {}),
    (scripts.BLOCKED, {}),
    (scripts.TRUNK_OVERLOADED, {}),
    (scripts.FORBIDDEN, {}),
    (scripts.SERVER_ERROR, {}),
    (scripts.SIP_SERVICE_OVERLOADED, {}),
    (scripts.BUSY_AT_ONCE, {}),
    (scripts.UNAVAILABLE_AT_ONCE, {}),
    (scripts.REJECTED_AS_SPAM, {}),
    (scripts.CREDENTIALS_REFUSED, {}),
)
NAMES = [script.name for script, _ in CASES]
RINGING = [script.name for script, _ in CASES if script.rings_at_s is not None]
ANSWERED = [script.name for script, _ in CASES if script.answers_at_s is not None]
LAG_LOOK_REAL_S = 0.01


@dataclass(frozen=True)
class Story:
    """One call to its end and beyond."""

    script: Script
    """As fast as it was played."""
    call: TestCall
    far_end: FarEnd

    def told(self, kind: type[Any]) -> Any:
        """The one event of this kind."""
        (event,) = [event for event in self.call.events if isinstance(event, kind)]
        return event


@dataclass
class Played:
    """All stories of one rig."""

    told_why_legs_leave: bool
    tolerance_s: float = 0.0
    """How far off a moment may be beyond what it says of itself."""
    stories: dict[str, Story] = field(default_factory=dict)

    def assert_fits(self, at: Moment, from_s: float | None, until_s: float | None = None) -> None:
        """Whether the moment can be one between the two."""
        assert from_s is not None
        until_s = from_s if until_s is None else max(from_s, until_s)
        allowed_s = at.error_s + self.tolerance_s
        assert from_s - allowed_s <= at.at_s <= until_s + allowed_s, (at, from_s, until_s, self.tolerance_s)


async def play(rig: Rig, script: Script, changes: Mapping[str, Any], gate: asyncio.Semaphore) -> Story:
    async with gate:
        call = await TestCall.dialled(rig, script, **changes)
        await call.until(Ended)
        await call.rest()
        story = Story(script_here(rig, script), call, await call.far_end_over())
        await call.close()
        await call.rest()
        return story


async def play_all(new_rig: RigMaker) -> Played:
    async with new_rig() as rig:
        played = Played(told_why_legs_leave=rig.told_why_legs_leave)
        lag = asyncio.create_task(longest_lag_real_s())
        gate = asyncio.Semaphore(rig.at_once)
        stories = await asyncio.gather(*(play(rig, script, changes, gate) for script, changes in CASES))
        lag.cancel()
        played.stories = dict(zip(NAMES, stories, strict=True))
        # A loop that was held up tells and is told of everything as much too late.
        played.tolerance_s = rig.tolerance_s + 3 * rig.clock.scale * await lag
        return played


async def longest_lag_real_s() -> float:
    """By how much the event loop was late at most, until cancelled."""
    longest_s = 0.0
    try:
        while True:
            due_s = time.monotonic() + LAG_LOOK_REAL_S
            await asyncio.sleep(LAG_LOOK_REAL_S)
            longest_s = max(longest_s, time.monotonic() - due_s)
    except asyncio.CancelledError:
        return longest_s


@pytest.fixture(scope="module")
def played(new_rig: RigMaker) -> Played:
    return asyncio.run(play_all(new_rig))


@pytest.mark.parametrize("name", NAMES)
def test_each_callee_ends_with_its_promised_cause_and_code(played: Played, name: str) -> None:
    story = played.stories[name]
    ended, promise = story.call.ended, story.script.promise
    causes = {promise.cause}
    if promise.cause is HangupCause.NORMAL_CLEARING and not played.told_why_legs_leave:
        causes.add(HangupCause.LEG_LOST)
    assert ended.cause in causes, ended
    assert ended.signal.sip_code == promise.sip_code, ended


@pytest.mark.parametrize("name", NAMES)
def test_each_end_says_whether_it_was_dialled_and_whether_it_rang(played: Played, name: str) -> None:
    story = played.stories[name]
    rings = story.script.rings_at_s is not None or story.script.answers_at_s is not None
    assert (story.call.ended.dialled, story.call.ended.rang) == (story.script.promise.dialled, rings), story.call.ended


@pytest.mark.parametrize("name", NAMES)
def test_the_end_is_told_once_and_last_and_each_event_in_its_order(played: Played, name: str) -> None:
    story = played.stories[name]
    expected: list[type] = []
    if story.script.rings_at_s is not None:
        expected.append(Ringing)
    if story.script.answers_at_s is not None:
        expected.append(Answered)
    told = [type(event) for event in story.call.of_the_leg if not isinstance(event, EarlyMedia)]
    assert told == [*expected, Ended], story.call.events


@pytest.mark.parametrize("name", NAMES)
def test_the_agent_is_told_once(played: Played, name: str) -> None:
    assert isinstance(played.stories[name].call.events[0], AgentJoined)
    played.stories[name].told(AgentJoined)


@pytest.mark.parametrize("name", NAMES)
def test_one_dial_is_one_request_and_rings_one_phone_at_most(played: Played, name: str) -> None:
    story = played.stories[name]
    assert len(story.far_end.received) == 1
    assert story.far_end.invites == (0 if story.call.ended.dialled.value == "no" else 1)


@pytest.mark.parametrize("name", RINGING)
def test_ringing_is_told_with_a_moment_that_fits_the_far_ends(played: Played, name: str) -> None:
    story = played.stories[name]
    played.assert_fits(story.told(Ringing).at, story.far_end.ringing_at_s)


@pytest.mark.parametrize("name", ANSWERED)
def test_the_answer_is_told_with_a_moment_that_fits_the_far_ends(played: Played, name: str) -> None:
    story = played.stories[name]
    played.assert_fits(story.told(Answered).at, story.far_end.answered_at_s)


@pytest.mark.parametrize("name", NAMES)
def test_the_end_is_told_with_a_moment_that_fits_the_script(played: Played, name: str) -> None:
    story = played.stories[name]
    script, far_end, plan = story.script, story.far_end, story.call.dial_plan
    assert plan is not None
    since_s: float | None = story.call.dialled_at_s
    after_s = plan.request_ring_s if script.ends_at_s is None else script.ends_at_s
    if script.ends_at_s is not None and script.answers_at_s is not None:
        since_s, after_s = far_end.answered_at_s, script.ends_at_s - script.answers_at_s
    elif script.ends_at_s is not None and script.rings_at_s is not None:
        since_s, after_s = far_end.ringing_at_s, script.ends_at_s - script.rings_at_s
    assert since_s is not None
    assert far_end.ended_at_s is not None
    # By the script at the earliest; a far end that is slow to leave makes it later.
    played.assert_fits(story.call.ended.at, since_s + after_s, far_end.ended_at_s)


@pytest.mark.parametrize("name", ANSWERED)
def test_the_ids_of_a_leg_are_told_with_its_answer_and_again_at_its_end(played: Played, name: str) -> None:
    story = played.stories[name]
    answered, ended = story.told(Answered), story.call.ended
    assert answered.ids["livekit_sip_call_id"].startswith("SCL_")
    assert answered.ids.items() <= ended.ids.items()


@pytest.mark.parametrize("name", [name for name in ANSWERED if name != scripts.HANGS_UP_AT_ONCE.name])
def test_the_sip_call_id_of_a_conversation_is_told(played: Played, name: str) -> None:
    assert played.stories[name].call.ended.ids["sip_call_id"]


def test_no_two_legs_share_an_id(played: Played) -> None:
    ids = [played.stories[name].call.ended.ids["livekit_sip_call_id"] for name in ANSWERED]
    assert len(set(ids)) == len(ANSWERED), ids


def test_each_request_reached_the_callee_of_its_own_call(played: Played) -> None:
    for story in played.stories.values():
        assert story.call.dial_plan is not None
        assert [received.to for received in story.far_end.received] == [story.call.dial_plan.to]
