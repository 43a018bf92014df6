"""What a trunk's own history says about its pre-connect rule (OUTCOMES.md): which code after which ring time means voicemail.

A dial that rang and ended in a code may have been forwarded to voicemail if the number has one; whether it has is seen when
somebody answers it later. For each code: the ring times of those that a machine answered later give the window, and the share
of machines among all in it, with its 95 % interval, says what a verdict by it is worth. Pure: history in, proposals out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.store.trunk_history import PastDial

LEAST_KNOWN = 30
"""Dials with a code in the window of which it is known who answered later; with fewer, nothing is proposed."""
LEAST_SHARE = 0.8
"""The share of machines that must be exceeded even by the lower end of its interval."""
TRIMMED = 0.05
"""Of the machines' ring times at each end that do not count: they are accidents."""
MARGIN_S = 0.5
"""Added at both ends of the window: the error of ring times."""
RING_TIMER_EDGE_S = 2.0
"""The window never reaches into the last seconds of our own ring timer: an end there is the timer's."""
SHORTEST_RING_S = 1.0
_Z = 1.96
_SAYS_WHAT_IT_IS = frozenset({404, 410, 484, 485, 486, 600, 603, 604, 607, 608})
"""Codes that mean something else by themselves: busy, declined, no such number."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with its 95 % interval (Wilson 1927)."""

    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the history of one code says."""

    sip_code: int
    dials: int
    """That rang and ended with it."""
    known: int
    """Of these: it is known who answered the number later."""
    min_ring_s: float | None
    max_ring_s: float | None
    """The window; None: no machine answered later."""
    known_within: int
    machines: Interval | None
    """Share of machines among those within the window."""
    is_worth_it: bool
    why: str
    """If not: why not. If so: what it rests on."""


def propose(dials: Sequence[PastDial]) -> list[Proposal]:
    """One proposal for each code that can mean voicemail, those with most dials first."""
    by_code: dict[int, list[PastDial]] = defaultdict(list)
    for dial in dials:
        if dial.sip_code not in _SAYS_WHAT_IT_IS:
            by_code[dial.sip_code].append(dial)
    return [_propose(code, past) for code, past in sorted(by_code.items(), key=lambda item: (-len(item[1]), item[0]))]


def share_of(count: int, total: int) -> Interval:
    """The share with its interval. Raises ValueError unless total is above 0."""
    if total < 1:
        raise ValueError("a share of nothing")
    share = count / total
    middle = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    half = _Z / (1 + _Z**2 / total) * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def _propose(code: int, past: Sequence[PastDial]) -> Proposal:
    known = [dial for dial in past if dial.later_machine is not None]
    rings_s = sorted(dial.ring_ms / 1000 for dial in known if dial.later_machine and not _at_the_ring_timer(dial))
    if not rings_s:
        return Proposal(code, len(past), len(known), None, None, 0, None, is_worth_it=False, why=_nobody(known))
    cut = int(len(rings_s) * TRIMMED)
    low_s = max(SHORTEST_RING_S, math.floor(10 * (rings_s[cut] - MARGIN_S)) / 10)
    high_s = math.ceil(10 * (rings_s[-1 - cut] + MARGIN_S)) / 10
    edge_s = min(dial.ring_timeout_ms for dial in past) / 1000 - RING_TIMER_EDGE_S
    high_s = min(high_s, edge_s)
    within = [dial for dial in known if low_s <= dial.ring_ms / 1000 <= high_s]
    if high_s <= low_s or not within:
        why = f"the rings lie in the last {RING_TIMER_EDGE_S:g} s of the ring timeout: a longer one would tell"
        return Proposal(code, len(past), len(known), low_s, max(low_s, high_s), 0, None, is_worth_it=False, why=why)
    machines = share_of(sum(dial.later_machine is True for dial in within), len(within))
    why, is_worth_it = f"{machines.share:.0%} of {len(within)} were answered by a machine later", True
    if len(within) < LEAST_KNOWN:
        why, is_worth_it = f"of {len(within)} dials it is known who answered later; it takes {LEAST_KNOWN}", False
    elif machines.low < LEAST_SHARE:
        interval = f"{machines.share:.0%} ({machines.low:.0%} to {machines.high:.0%})"
        why = f"{interval} of {len(within)} were answered by a machine later; it takes {LEAST_SHARE:.0%} for certain"
        is_worth_it = False
    return Proposal(code, len(past), len(known), low_s, high_s, len(within), machines, is_worth_it=is_worth_it, why=why)


def _at_the_ring_timer(dial: PastDial) -> bool:
    return dial.ring_ms / 1000 >= dial.ring_timeout_ms / 1000 - RING_TIMER_EDGE_S


def _nobody(known: Sequence[PastDial]) -> str:
    return (
        "of no dial is it known who answered the number later" if not known else "no machine answered any of the numbers later"
    )
