"""What follows from the end of a dial, besides the end itself: whether the call is tried again, and what it says of its trunk.

Pure: what was seen in, an `Aftermath` out. Whether a call that may be tried again really is (it may have been canceled
meanwhile, or expire before) and whether a trunk is to be believed that a number does not exist, the database decides.
"""

from __future__ import annotations

from orchestrator.calls.story import Story
from orchestrator.outcomes import RedialClass, redial_class
from orchestrator.redial import SUPPRESSED_S, redial_delay_s
from orchestrator.store.records import Aftermath, ClaimedCall, Outcome, TrunkVerdict
from sip.causes import HangupCause
from sip.clock import Clock
from sip.events import Dialled, Ended

VERDICTS: dict[HangupCause, TrunkVerdict] = {
    HangupCause.NORMAL_CLEARING: TrunkVerdict.NOTHING,
    HangupCause.ORDERED: TrunkVerdict.NOTHING,
    HangupCause.ROOM_DELETED: TrunkVerdict.NOTHING,
    HangupCause.USER_BUSY: TrunkVerdict.GOOD,
    HangupCause.NO_ANSWER: TrunkVerdict.GOOD,
    HangupCause.CALL_REJECTED: TrunkVerdict.GOOD,
    HangupCause.FORWARDED_TO_VOICEMAIL: TrunkVerdict.GOOD,
    HangupCause.UNALLOCATED_NUMBER: TrunkVerdict.NUMBER,
    # The first is about one number and our caller id, the second about our caller id: neither is the trunk's doing or merit.
    HangupCause.NUMBER_BLOCKED: TrunkVerdict.NOTHING,
    HangupCause.SPAM_REJECTED: TrunkVerdict.NOTHING,
    HangupCause.SUBSCRIBER_ABSENT: TrunkVerdict.GOOD,
    HangupCause.TRUNK_CAPACITY: TrunkVerdict.TRUNK,
    HangupCause.TRUNK_AUTH: TrunkVerdict.TRUNK,
    HangupCause.TRUNK_CONFIG: TrunkVerdict.TRUNK,
    HangupCause.TRUNK_UNREACHABLE: TrunkVerdict.TRUNK,
    HangupCause.NETWORK_ERROR: TrunkVerdict.NOTHING,
    HangupCause.MEDIA_SERVER_UNAVAILABLE: TrunkVerdict.NOTHING,
    HangupCause.MEDIA_LOST: TrunkVerdict.NOTHING,
    HangupCause.LEG_LOST: TrunkVerdict.NOTHING,
    HangupCause.UNKNOWN: TrunkVerdict.NOTHING,
}
"""What the end of a dial that did not ring says of the trunk that carried it. Total."""


def redial_class_of(outcome: Outcome) -> RedialClass:
    """What the end of an attempt says about another one."""
    return redial_class(outcome.reason, may_have_rung=outcome.dialled is not Dialled.NO)


def aftermath(story: Story, ended: Ended, outcome: Outcome, *, call: ClaimedCall, clock: Clock, chance: float) -> Aftermath:
    """What follows from the end of an attempt that was dialled. `chance`: from 0 to 1, for the redial's jitter."""
    after = redial_class_of(outcome)
    delay_s = redial_delay_s(
        call.redial,
        after=after,
        rang=story.ringing is not None or story.answered is not None,
        attempts=len(call.earlier_ends) + 1,
        cooled_down=any(redial_class(reason, may_have_rung=True) is RedialClass.COOLDOWN for reason in call.earlier_ends),
        chance=chance,
    )
    return Aftermath(
        trunk_verdict=_verdict(story, ended),
        trunk_code=_code(ended),
        redial_delay_s=None if delay_s is None else clock.real_s(delay_s),
        suppress_number_s=SUPPRESSED_S if after is RedialClass.NUMBER else None,
    )


def unspent_aftermath(ended: Ended) -> Aftermath:
    """What follows from a dial that rang nowhere, and after which the same attempt goes on."""
    return Aftermath(trunk_verdict=VERDICTS[ended.cause], trunk_code=_code(ended))


def _verdict(story: Story, ended: Ended) -> TrunkVerdict:
    if story.answered is not None:
        return TrunkVerdict.ANSWERED
    if story.ringing is not None:
        return TrunkVerdict.GOOD
    # What we ended ourselves before it rang looks like a trunk that never answered.
    return VERDICTS[ended.cause] if story.order is None else TrunkVerdict.NOTHING


def _code(ended: Ended) -> str:
    return ended.cause.value if ended.signal.sip_code is None else str(ended.signal.sip_code)
