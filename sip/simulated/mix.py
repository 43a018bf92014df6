"""What a number does that is no test number: drawn from a mix like that of a campaign to mobile phones in the United States.

The same number does the same for one seed, in every process and on every day. Shares are in thousandths, and are our
assumptions, set where published figures leave them:

- 28 % are answered by a person. People say that they do so less often for a number that they do not know (19 %: Pew Research
  Center, survey of 10,211 adults in the United States, July 2020) and more often for one that they expect.
- 30 % are answered by voicemail or a screener, of all calls. One user of livekit-agents saw that share of answered calls
  (livekit/agents#3643); with most people not picking up, of all calls it is at least as much.
- Talk times are lognormal, as service times in call centres are (Brown et al., Journal of the American Statistical Association
  100, 2005). Median and spread are ours: a median of 40 s, one call in six longer than 100 s.
- Post-dial delay and ring time are lognormal as well, by our assumption: a phone rings in cycles of 6 s, and is picked up in the
  second or third.

Trunks' own failures (overload, credentials, no response) are left out: they belong to trunks and moments, not to numbers. Test
numbers show them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from types import MappingProxyType

from sip.simulated import scripts
from sip.simulated.steps import Answer, HangUp, Refuse, Ring, Script, Sound, StartEarlyMedia

TALK_MEDIAN_S, TALK_SIGMA, TALK_RANGE_S = 40.0, 0.95, (3.0, 600.0)
PICK_UP_MEDIAN_S, PICK_UP_SIGMA, PICK_UP_RANGE_S = 9.0, 0.45, (1.5, 24.0)
POST_DIAL_MEDIAN_S, POST_DIAL_SIGMA, POST_DIAL_RANGE_S = 1.6, 0.5, (0.4, 6.0)
FORWARD_RANGE_S = (2.0, 14.0)
"""Ring time before a carrier forwards to voicemail: within the pre-connect rule's defaults (1 s to 18 s)."""
DECLINE_RANGE_S = (1.5, 12.0)
VOICEMAIL_RANGE_S = (14.0, 24.0)
"""Ring time before voicemail answers: three to four cycles."""


def _lognormal_s(random: Random, median_s: float, sigma: float, range_s: tuple[float, float]) -> float:
    least_s, most_s = range_s
    return round(min(most_s, max(least_s, random.lognormvariate(math.log(median_s), sigma))), 2)


def _between_s(random: Random, range_s: tuple[float, float]) -> float:
    return round(random.uniform(*range_s), 2)


def _talk_s(random: Random) -> float:
    return _lognormal_s(random, TALK_MEDIAN_S, TALK_SIGMA, TALK_RANGE_S)


def _pick_up_s(random: Random) -> float:
    return _lognormal_s(random, PICK_UP_MEDIAN_S, PICK_UP_SIGMA, PICK_UP_RANGE_S)


def _ring_after(random: Random) -> Ring:
    return Ring(_lognormal_s(random, POST_DIAL_MEDIAN_S, POST_DIAL_SIGMA, POST_DIAL_RANGE_S))


def _conversation(talk_s: float) -> tuple[Sound, ...]:
    """Turns for so long, give or take one."""
    turns = scripts.TALKS_8_S.audio
    return turns * max(1, round(talk_s / sum(sound.duration_s for sound in turns)))


def _person_hangs_up(random: Random) -> Script:
    talk_s = _talk_s(random)
    steps = (_ring_after(random), Answer(_pick_up_s(random)), HangUp(talk_s))
    return replace(scripts.TALKS_8_S, steps=steps, audio=_conversation(talk_s))


def _agent_hangs_up(random: Random) -> Script:
    talk_s = _talk_s(random)
    steps = (_ring_after(random), Answer(_pick_up_s(random)))
    return replace(scripts.AGENT_SAYS_GOODBYE, steps=steps, agent_ends_after_s=talk_s, audio=_conversation(talk_s))


def _answered_as(script: Script, ring_s: Callable[[Random], float]) -> Callable[[Random], Script]:
    def draw(random: Random) -> Script:
        first, answer, *rest = script.steps
        if not (isinstance(first, Ring) and isinstance(answer, Answer)):
            raise ValueError(f"{script.name} does not ring and answer")
        return replace(script, steps=(_ring_after(random), Answer(ring_s(random)), *rest))

    return draw


def _refused_as(script: Script, ring_s: Callable[[Random], float]) -> Callable[[Random], Script]:
    def draw(random: Random) -> Script:
        first, refusal = script.steps
        if not (isinstance(first, Ring | StartEarlyMedia) and isinstance(refusal, Refuse)):
            raise ValueError(f"{script.name} does not ring and refuse")
        after_s = _ring_after(random).after_s
        return replace(script, steps=(replace(first, after_s=after_s), replace(refusal, after_s=ring_s(random))))

    return draw


def _rings_out(random: Random) -> Script:
    return replace(scripts.RINGS_OUT, steps=(_ring_after(random),))


def _refused_at_once(script: Script) -> Callable[[Random], Script]:
    def draw(random: Random) -> Script:
        (refusal,) = script.steps
        return replace(script, steps=(replace(refusal, after_s=_ring_after(random).after_s),))

    return draw


def _voicemail_s(random: Random) -> float:
    return _between_s(random, VOICEMAIL_RANGE_S)


def _forward_s(random: Random) -> float:
    return _between_s(random, FORWARD_RANGE_S)


def _decline_s(random: Random) -> float:
    return _between_s(random, DECLINE_RANGE_S)


_SHARES: tuple[tuple[Script, int, Callable[[Random], Script]], ...] = (
    # people: 28 %
    (scripts.TALKS_8_S, 160, _person_hangs_up),
    (scripts.AGENT_SAYS_GOODBYE, 95, _agent_hangs_up),
    (scripts.HANGS_UP_AT_ONCE, 20, _answered_as(scripts.HANGS_UP_AT_ONCE, _pick_up_s)),
    (scripts.STAYS_SILENT, 5, _answered_as(scripts.STAYS_SILENT, _pick_up_s)),
    # machines that answer: 32 %, 30 of them voicemail and screening
    (scripts.VOICEMAIL_WITH_BEEP, 200, _answered_as(scripts.VOICEMAIL_WITH_BEEP, _voicemail_s)),
    (scripts.VOICEMAIL_WITHOUT_BEEP, 65, _answered_as(scripts.VOICEMAIL_WITHOUT_BEEP, _voicemail_s)),
    (scripts.CALL_SCREENING, 35, _answered_as(scripts.CALL_SCREENING, _decline_s)),
    (scripts.MENU, 15, _answered_as(scripts.MENU, _decline_s)),
    (scripts.FAX, 5, _answered_as(scripts.FAX, _decline_s)),
    # nobody answers: 22 %
    (scripts.RINGS_OUT, 140, _rings_out),
    (scripts.FORWARDED_TO_VOICEMAIL, 60, _refused_as(scripts.FORWARDED_TO_VOICEMAIL, _forward_s)),
    (scripts.EARLY_MEDIA_THEN_UNAVAILABLE, 20, _refused_as(scripts.EARLY_MEDIA_THEN_UNAVAILABLE, _forward_s)),
    # refused by the callee: 8 %
    (scripts.DECLINES_AFTER_4_S, 45, _refused_as(scripts.DECLINES_AFTER_4_S, _decline_s)),
    (scripts.BUSY, 15, _refused_as(scripts.BUSY, _decline_s)),
    (scripts.BUSY_AT_ONCE, 20, _refused_at_once(scripts.BUSY_AT_ONCE)),
    # refused by the network: 10 %
    (scripts.UNAVAILABLE_AT_ONCE, 40, _refused_at_once(scripts.UNAVAILABLE_AT_ONCE)),
    (scripts.WRONG_NUMBER, 35, _refused_at_once(scripts.WRONG_NUMBER)),
    (scripts.REJECTED_AS_SPAM, 12, _refused_at_once(scripts.REJECTED_AS_SPAM)),
    (scripts.BLOCKED, 8, _refused_at_once(scripts.BLOCKED)),
    (scripts.SERVER_ERROR, 5, _refused_at_once(scripts.SERVER_ERROR)),
)

SHARES: Mapping[str, int] = MappingProxyType({script.name: share for script, share, _ in _SHARES})
"""How many of a thousand numbers do it, by the name of the script that each draw varies."""


class Mix:
    """Draws the script of a number. Times differ from the catalogue's script of that name; its promise holds."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed

    def script_for(self, number: str) -> Script:
        """The script of this number."""
        random = Random(f"{self._seed}/{number}")
        (drawn,) = random.choices(_SHARES, weights=SHARES.values())
        script, _, draw = drawn
        return replace(draw(random), sentence=f"As {script.name}, with times of its own.")
