"""Every row of what was seen on a real server, SIP service and far end ends in its end reason, now through the whole product.

The row of a SIP service over its CPU guard is in test_full_service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallView
from sip.events import Dialled
from tests.sip.daemon import Daemon
from tests.sip.exchange import CALLER_ID, Exchange
from tests.sip.farend import FarCall

pytestmark = [pytest.mark.sip, pytest.mark.xdist_group("sip")]

GIVEN_UP = "rings_late"
"""Without an allowance, the SIP service's ring time is over 3 s before our own, which starts with the 180."""
WORKING_S = 0.25
"""What a busy test machine may add to a ring time beyond its stated error: the request's answer is on its way meanwhile."""


@dataclass(frozen=True)
class Row:
    """One far end, and what must come of a call to it."""

    far_end: str
    reason: EndReason
    sip_code: int | None = None
    rings: bool = True
    dialled: Dialled = Dialled.YES
    expires_in_s: float | None = None


ROWS = [
    Row("hangs_up_after_6_s", EndReason.USER_HUNG_UP_IN_CALL),
    Row("busy", EndReason.USER_BUSY, 486),
    Row("declines", EndReason.USER_HUNG_UP_RINGING, 603),
    Row("blocked", EndReason.SIP_FAILED_NUMBER_BLOCKED, 603, rings=False),
    Row("wrong_number", EndReason.SIP_FAILED_WRONG_NUMBER, 404, rings=False),
    Row("forbidden", EndReason.SIP_FAILED_TRUNK_CONFIG, rings=False, dialled=Dialled.NO, expires_in_s=15.0),
    Row("absent", EndReason.VOICEMAIL_DETECTED_PRECONNECT, 480),
    Row("announcement", EndReason.VOICEMAIL_DETECTED_PRECONNECT, 480),
    Row("network_error", EndReason.SIP_FAILED_SERVER_ERROR, 503, rings=False),
    Row("rings_on", EndReason.USER_DID_NOT_PICK_UP),
    Row("rings_late", EndReason.USER_DID_NOT_PICK_UP),
    Row("silent", EndReason.SIP_FAILED_TRUNK_UNREACHABLE, rings=False, dialled=Dialled.UNKNOWN),
]


@pytest.fixture(scope="module")
def played(daemon: Daemon) -> Mapping[str, CallView]:
    """All rows, queued at once, each as it ended."""

    async def play() -> Mapping[str, CallView]:
        async with daemon.desk() as desk:
            now = datetime.now().astimezone()
            calls = {
                row.far_end: await desk.enqueue(
                    row.far_end, expires_at=now + timedelta(seconds=row.expires_in_s) if row.expires_in_s else None
                )
                for row in ROWS
            }
            views = await asyncio.gather(*(desk.until_ended(call_id) for call_id in calls.values()))
            return dict(zip(calls, views, strict=True))

    return asyncio.run(play())


def far_call(exchange: Exchange, view: CallView) -> FarCall:
    """What of this call reached a far end."""
    (call,) = exchange.calls(to=view.call.to)
    return call


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.far_end)
def test_each_row_ends_in_its_reason(played: Mapping[str, CallView], row: Row) -> None:
    outcome = played[row.far_end].call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.sip_code, outcome.dialled) == (row.reason, row.sip_code, row.dialled), played[row.far_end]


@pytest.mark.parametrize("row", [row for row in ROWS if not row.expires_in_s], ids=lambda row: row.far_end)
def test_each_row_is_one_dial_and_one_invite(exchange: Exchange, played: Mapping[str, CallView], row: Row) -> None:
    view = played[row.far_end]
    assert len([dial for dial in view.dials if dial.spent is not False]) == 1  # others missed their time, unsent
    assert len(far_call(exchange, view).invites) == 1


def test_a_refusal_that_proves_that_no_phone_rang_is_dialled_again_each_time_with_one_invite(
    exchange: Exchange, played: Mapping[str, CallView]
) -> None:
    view = played["forbidden"]
    calls = exchange.calls(to=view.call.to)
    assert len(calls) == len(view.dials) > 1
    assert [len(call.invites) for call in calls] == [1] * len(calls)
    assert [dial.spent for dial in view.dials] == [False] * len(calls)
    assert [attempt.number for attempt in view.attempts] == [1]


@pytest.mark.parametrize("row", [row for row in ROWS if row.rings], ids=lambda row: row.far_end)
def test_the_ring_time_says_how_exact_it_is_and_is(exchange: Exchange, played: Mapping[str, CallView], row: Row) -> None:
    outcome = played[row.far_end].call.outcome
    call = far_call(exchange, played[row.far_end])
    assert outcome is not None
    assert outcome.ring_ms is not None
    assert outcome.ring_error_ms is not None
    assert call.ringing_at_s is not None
    assert call.final is not None
    off_s = abs(outcome.ring_ms / 1000 - (call.final.at_s - call.ringing_at_s))
    assert off_s <= outcome.ring_error_ms / 1000 + WORKING_S, (outcome, call)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.rings], ids=lambda row: row.far_end)
def test_what_did_not_ring_has_no_ring_time(played: Mapping[str, CallView], row: Row) -> None:
    outcome = played[row.far_end].call.outcome
    assert outcome is not None
    assert (outcome.ring_ms, outcome.pdd_ms) == (None, None)


def test_a_dial_that_nobody_answers_is_given_up_by_the_sip_service(exchange: Exchange, played: Mapping[str, CallView]) -> None:
    view = played[GIVEN_UP]
    outcome, call = view.call.outcome, far_call(exchange, view)
    assert outcome is not None
    assert "order" not in outcome.evidence, "we did not end it"
    assert len(call.requests("CANCEL", received=True)) == 1
    assert call.final is not None
    assert call.final.status == 487


def test_the_answered_row_knows_its_ids_and_its_length(exchange: Exchange, played: Mapping[str, CallView]) -> None:
    view = played["hangs_up_after_6_s"]
    outcome, call = view.call.outcome, far_call(exchange, view)
    assert outcome is not None
    assert outcome.livekit_sip_call_id.startswith("SCL_")
    assert outcome.participant_sid.startswith("PA_")
    assert outcome.sip_call_id == call.call_id
    (bye,) = call.requests("BYE", received=False)
    assert call.final is not None
    assert outcome.talk_ms is not None
    assert abs(outcome.talk_ms / 1000 - (bye.at_s - call.final.at_s)) <= 1.0


def test_the_callee_hears_the_agent_once_it_has_answered(exchange: Exchange, played: Mapping[str, CallView]) -> None:
    call = far_call(exchange, played["hangs_up_after_6_s"])
    talk = exchange.far_end("hangs_up_after_6_s").talk(call)
    assert call.final is not None
    assert len(talk.loud_s) > 10
    assert talk.loud_s[0] >= call.final.at_s


def test_the_callee_is_shown_the_caller_id(exchange: Exchange, played: Mapping[str, CallView]) -> None:
    (invite,) = far_call(exchange, played["hangs_up_after_6_s"]).invites
    assert f"sip:{CALLER_ID}@" in invite.header("From")
