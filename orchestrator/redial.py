"""Redial: whether a call is tried again after an attempt, and how long it waits before (OUTCOMES.md, Redial classes).

Pure. An attempt that nobody's phone could have noticed is not over: its call waits and is dialled again within it, which is not
decided here but where the dial's result is read. Seconds are those in which the policy was written.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from orchestrator.errors import BadInput
from orchestrator.outcomes import RedialClass
from orchestrator.store.records import RedialPolicy

DEFAULT_DELAYS_S: Mapping[RedialClass, tuple[float, ...]] = MappingProxyType(
    {
        RedialClass.SOON: (300.0, 900.0, 3_600.0),
        RedialClass.LATER: (7_200.0, 86_400.0),
        RedialClass.COOLDOWN: (259_200.0,),
    }
)
"""OUTCOMES.md's, for the classes that have delays: after the first attempt, the second ...; the last one repeats."""

SUPPRESSED_S = 90 * 86_400.0
"""For how long a number that does not exist is suppressed (OUTCOMES.md, class number)."""

MOST_ATTEMPTS = 50
LONGEST_DELAY_S = 366 * 86_400.0
MOST_DELAYS = 50


def redial_delay_s(
    policy: RedialPolicy, *, after: RedialClass, rang: bool, attempts: int, cooled_down: bool, chance: float
) -> float | None:
    """How long the call waits for its next attempt; None: it has had its last.

    `after`: what the end of this attempt says. `rang`: an 18x was seen; then the callee is left alone at least as long as after
    a call that was not picked up. `attempts`: those that have ended, this one included. `cooled_down`: an earlier one ended
    with class cooldown, after which at most one more is made. `chance`: from 0 to 1, for the jitter.
    """
    if attempts >= policy.max_attempts or cooled_down:
        return None
    match after:
        case RedialClass.NO | RedialClass.NUMBER:
            return None
        case RedialClass.TRUNK:
            # An attempt that ended so, although nothing proved that no phone rang: as if it had.
            delay_s = _nth_s(policy, RedialClass.LATER, attempts)
        case RedialClass.SOON | RedialClass.LATER | RedialClass.COOLDOWN:
            delay_s = _nth_s(policy, after, attempts)
        case _:
            assert_never(after)
    if rang:
        delay_s = max(delay_s, _nth_s(policy, RedialClass.LATER, attempts))
    return delay_s * (1.0 + policy.jitter * chance)


def _nth_s(policy: RedialPolicy, redial: RedialClass, attempts: int) -> float:
    delays_s = policy.delays_s.get(redial) or DEFAULT_DELAYS_S[redial]
    return delays_s[min(attempts, len(delays_s)) - 1]


def read_delays(delays: Mapping[str, object], *, gap_s: float = 0.0) -> dict[RedialClass, tuple[float, ...]]:
    """Delays by the name of their class, as people give them. `gap_s`: the account's spacing of dials to one number.

    Raises BadInput for a class that does not exist or has no delays, and for delays that could not be kept.
    """
    return {_read_class(name): _read_delays(name, given, gap_s=gap_s) for name, given in delays.items()}


def _read_class(name: str) -> RedialClass:
    known = [redial.value for redial in DEFAULT_DELAYS_S]
    if name in known:
        return RedialClass(name)
    if name in {redial.value for redial in RedialClass}:
        raise BadInput(f"redial class {name!r} has no delays to set: those of {', '.join(known)} can be set")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise BadInput(f"there is no redial class {name!r}; {hint}")


def _read_delays(name: str, given: object, *, gap_s: float) -> tuple[float, ...]:
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MOST_DELAYS:
        raise BadInput(f"redial class {name} needs a list of 1 to {MOST_DELAYS} delays in seconds, not {given!r}")
    delays_s = []
    for delay in given:
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 < delay <= LONGEST_DELAY_S:
            raise BadInput(f"a delay of redial class {name} must be above 0 and at most {LONGEST_DELAY_S:.0f} s, not {delay!r}")
        if delay < gap_s:
            raise BadInput(
                f"the delay of {delay:g} s of redial class {name} is shorter than the account's {gap_s:g} s between two dials"
                " to one number: make it longer, or the spacing shorter"
            )
        delays_s.append(float(delay))
    return tuple(delays_s)


def stored_policy(*, max_attempts: int, delays: str, jitter: float, own: str | None) -> RedialPolicy:
    """The policy of a claimed call: the account's, over which goes `own`, the call's {"max_attempts", "delays", "jitter"}.

    `delays` and `own` are JSON. Rows can be edited by hand, and one bad row must not stop the claim of others: what cannot be
    read counts as not said, and as no redial where it is the number of attempts.
    """
    said = _object(own or "{}")
    attempts = said.get("max_attempts", max_attempts)
    more = said.get("jitter")
    own_delays = said.get("delays")
    return RedialPolicy(
        max_attempts=int(attempts) if isinstance(attempts, int | float) and 1 <= attempts <= MOST_ATTEMPTS else 1,
        delays_s=_stored_delays(_object(delays)) | _stored_delays(own_delays if isinstance(own_delays, dict) else {}),
        jitter=float(more) if isinstance(more, int | float) and 0 <= more <= 1 else jitter,
    )


def _stored_delays(delays: Mapping[str, object]) -> dict[RedialClass, tuple[float, ...]]:
    read: dict[RedialClass, tuple[float, ...]] = {}
    for name, given in delays.items():
        with contextlib.suppress(BadInput):
            read |= read_delays({name: given})
    return read


def _object(text: str) -> Mapping[str, object]:
    read: object = json.loads(text)
    return read if isinstance(read, dict) else {}
