"""What a number without a script of its own does: drawn from a mix like that of a campaign to mobiles in the United States.

The same number does the same for one seed, in every process and on every day. Shares are thousandths, and are our assumptions,
set where published figures leave them:

- 28 % are answered by a person. Asked, 19 % say that they generally answer a number that they do not know (Pew Research Center,
  10,211 adults in the United States, July 2020); more will answer one that they expect.
- 30 % are answered by voicemail or screening. One user of livekit-agents sees that share of answered calls
  (livekit/agents#3643); where most people do not pick up, it is more of those, and about as much of all calls.
- Voicemail beeps in three of four: 3 of 7 carriers' greetings have no steady tone (VOICEMAIL.md, measured), most others do.
- Talk times are lognormal, as service times in call centres are (Brown et al., Journal of the American Statistical Association
  100, 2005). Their median of 40 s and spread are our assumption: one in six is longer than 100 s.
- Post-dial delays and ring times before a person answers are lognormal too, by our assumption: a phone rings in cycles of
  6 s (2 s on, 4 s off) and is picked up in the second or third.

Trunks' own failures (overload, credentials, no response) are left out: they belong to a trunk and a moment, not to a number.
Test numbers show them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from sip.simulated import scripts
from sip.simulated.steps import Answer, HangUp, Refuse, Ring, Script, Sound, StartEarlyMedia, Step


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Seconds, many short and few long ones."""

    median_s: float
    sigma: float
    least_s: float
    most_s: float

    def draw(self, drawn: random.Random) -> float:
        """One of them, to the millisecond."""
        return round(min(self.most_s, max(self.least_s, drawn.lognormvariate(math.log(self.median_s), self.sigma))), 3)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Seconds, all alike."""

    least_s: float
    most_s: float

    def draw(self, drawn: random.Random) -> float:
        """One of them, to the millisecond."""
        return round(drawn.uniform(self.least_s, self.most_s), 3)


Times = Lognormal | Uniform

POST_DIAL_DELAY = Lognormal(1.6, sigma=0.5, least_s=0.4, most_s=6.0)
"""To the first 18x, or to a refusal without one."""
PICK_UP = Lognormal(9.0, sigma=0.45, least_s=1.5, most_s=24.0)
TALK = Lognormal(40.0, sigma=0.95, least_s=3.0, most_s=600.0)
VOICEMAIL_ANSWERS = Uniform(14.0, 24.0)
MACHINE_ANSWERS = Uniform(0.5, 6.0)
CARRIER_FORWARDS = Uniform(2.0, 14.0)
"""Within the pre-connect rule's defaults (1 s to 18 s of ringing)."""
CALLEE_REFUSES = Uniform(1.5, 12.0)


@dataclass(frozen=True, slots=True)
class Share:
    """One kind of callee and how often it is met."""

    thousandths: int
    script: Script
    ring: Times | None = None
    """How long it rings, where the script says that it rings and then something happens."""
    talk: Times | None = None
    """How long the callee, or the agent where the script says so, stays on the line; None: as long as the script says."""


SHARES: tuple[Share, ...] = (
    # a person answers: 28 %
    Share(160, scripts.TALKS_8_S, ring=PICK_UP, talk=TALK),
    Share(95, scripts.AGENT_SAYS_GOODBYE, ring=PICK_UP, talk=TALK),
    Share(20, scripts.HANGS_UP_AT_ONCE, ring=PICK_UP, talk=Uniform(0.3, 2.0)),
    Share(5, scripts.STAYS_SILENT, ring=PICK_UP),
    # a machine answers: 32 %
    Share(200, scripts.VOICEMAIL_WITH_BEEP, ring=VOICEMAIL_ANSWERS),
    Share(65, scripts.VOICEMAIL_WITHOUT_BEEP, ring=VOICEMAIL_ANSWERS),
    Share(35, scripts.CALL_SCREENING, ring=MACHINE_ANSWERS),
    Share(15, scripts.MENU, ring=MACHINE_ANSWERS),
    Share(5, scripts.FAX, ring=MACHINE_ANSWERS),
    # nobody answers: 22 %
    Share(140, scripts.RINGS_OUT),
    Share(60, scripts.FORWARDED_TO_VOICEMAIL, ring=CARRIER_FORWARDS),
    Share(20, scripts.EARLY_MEDIA_THEN_UNAVAILABLE, ring=CARRIER_FORWARDS),
    # the callee refuses: 8 %
    Share(45, scripts.DECLINES_AFTER_4_S, ring=CALLEE_REFUSES),
    Share(15, scripts.BUSY, ring=CALLEE_REFUSES),
    Share(20, scripts.BUSY_AT_ONCE),
    # the network refuses: 10 %
    Share(40, scripts.UNAVAILABLE_AT_ONCE),
    Share(35, scripts.WRONG_NUMBER),
    Share(12, scripts.REJECTED_AS_SPAM),
    Share(8, scripts.BLOCKED),
    Share(5, scripts.SERVER_ERROR),
)


class Mix:
    """Draws the script of a number. Pure: the same seed and number give the same script in every process."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._weights = [share.thousandths for share in SHARES]

    def script_for(self, number: str) -> Script:
        """What the callee at this number does: a script of the catalogue, whose name and promise it keeps, with other times."""
        drawn = random.Random(f"{self._seed}/{number}")
        (share,) = drawn.choices(SHARES, weights=self._weights)
        return _varied(share, drawn)


def _varied(share: Share, drawn: random.Random) -> Script:
    script = share.script
    talk_s = share.talk.draw(drawn) if share.talk is not None else None
    agent_ends = script.agent_ends_after_s is not None
    return replace(
        script,
        sentence=f"As {script.name}, with times of its own.",
        steps=tuple(_steps(share, drawn, talk_s)),
        audio=script.audio if talk_s is None else _long_enough(script.audio, talk_s),
        agent_ends_after_s=talk_s if agent_ends and talk_s is not None else script.agent_ends_after_s,
    )


def _steps(share: Share, drawn: random.Random, talk_s: float | None) -> list[Step]:
    steps: list[Step] = []
    rings = False
    for step in share.script.steps:
        after_s = step.after_s
        match step:
            case Ring() | StartEarlyMedia():
                after_s, rings = POST_DIAL_DELAY.draw(drawn), True
            case Answer() | Refuse() if rings and share.ring is not None:
                after_s = share.ring.draw(drawn)
            case Refuse():
                after_s = POST_DIAL_DELAY.draw(drawn)
            case HangUp() if talk_s is not None:
                after_s = talk_s
            case _:
                pass
        steps.append(replace(step, after_s=after_s))
    return steps


def _long_enough(turns: tuple[Sound, ...], talk_s: float) -> tuple[Sound, ...]:
    turns_s = sum(sound.duration_s for sound in turns)
    return turns * math.ceil(talk_s / turns_s) if turns_s else turns
