"""Every row of what was seen on a real server and SIP service (LIVEKIT.md, section 0) ends in its end reason, through the whole
product: a real daemon, PostgreSQL, livekit-server and agent worker; only the SIP service is stood in for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallView
from sip.events import Dialled
from tests.e2e.daemon import Daemon, Desk, number
from tests.standin.ledger import Dial

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit"), pytest.mark.timeout(600)]

WORKING_S = 1.0
"""What a busy test machine may add to a ring time beyond its stated error: the request's answer is on its way meanwhile."""


@dataclass(frozen=True)
class Row:
    """One row: the callee's script, and what must come of it."""

    name: str
    line: int
    reason: EndReason
    sip_code: int | None = None
    rings: bool = True
    dialled: Dialled = Dialled.YES
    expires_in_s: float | None = None
    ring_timeout_s: float = 12.0

    @property
    def to(self) -> str:
        return number(self.line)


ROWS = [
    Row("180, 200, BYE after 6 s", 21, EndReason.USER_HUNG_UP_IN_CALL),
    Row("180, 486 after 1.5 s", 1, EndReason.USER_BUSY, 486),
    Row("180, 603", 2, EndReason.USER_HUNG_UP_RINGING, 603),
    Row("603 with X-Twilio-Error", 8, EndReason.SIP_FAILED_NUMBER_BLOCKED, 603, rings=False),
    Row("404", 7, EndReason.SIP_FAILED_WRONG_NUMBER, 404, rings=False),
    Row("403", 17, EndReason.SIP_FAILED_TRUNK_CONFIG, rings=False, dialled=Dialled.NO, expires_in_s=10.0),
    Row("180, 480 with Q.850 20", 25, EndReason.VOICEMAIL_DETECTED_PRECONNECT, 480),
    Row("183 with audio, 480", 19, EndReason.VOICEMAIL_DETECTED_PRECONNECT, 480),
    Row("503", 18, EndReason.SIP_FAILED_SERVER_ERROR, 503, rings=False),
    Row("180, then nothing", 3, EndReason.USER_DID_NOT_PICK_UP, ring_timeout_s=5.0),
    Row(
        "no response at all",
        10,
        EndReason.SIP_FAILED_TRUNK_UNREACHABLE,
        rings=False,
        dialled=Dialled.UNKNOWN,
        ring_timeout_s=5.0,
    ),
    Row(
        "SIP service over its CPU guard",
        20,
        EndReason.MEDIA_SERVER_UNAVAILABLE,
        rings=False,
        dialled=Dialled.NO,
        expires_in_s=10.0,
    ),
]


@pytest.fixture(scope="module")
def played(daemon: Daemon) -> Mapping[str, CallView]:
    """All rows, queued at once, each as it ended; then what expires: no time of it should go by waiting for a busy agent."""

    async def play(desk: Desk, row: Row) -> CallView:
        expires_at = datetime.now().astimezone() + timedelta(seconds=row.expires_in_s) if row.expires_in_s else None
        return await desk.until_ended(await desk.enqueue(row.to, ring_timeout_s=row.ring_timeout_s, expires_at=expires_at))

    async def play_all() -> Mapping[str, CallView]:
        views: dict[str, CallView] = {}
        async with daemon.desk() as desk:
            for rows in ([row for row in ROWS if not row.expires_in_s], [row for row in ROWS if row.expires_in_s]):
                played = await asyncio.gather(*(play(desk, row) for row in rows))
                views |= {row.name: view for row, view in zip(rows, played, strict=True)}
        return views

    return asyncio.run(play_all())


def dials(daemon: Daemon, view: CallView) -> list[Dial]:
    """What the stand-in received for this call."""
    rooms = {dial.room for dial in view.dials}
    return [dial for dial in daemon.stand_in.ledger.dials(to=view.call.to) if dial.request.room in rooms]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_ends_in_its_reason(daemon: Daemon, played: Mapping[str, CallView], row: Row) -> None:
    view = played[row.name]
    outcome = view.call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.sip_code, outcome.dialled) == (row.reason, row.sip_code, row.dialled), view


@pytest.mark.parametrize("row", [row for row in ROWS if row.dialled is not Dialled.NO], ids=lambda row: row.name)
def test_each_row_rings_one_phone_at_most_once(daemon: Daemon, played: Mapping[str, CallView], row: Row) -> None:
    assert len(dials(daemon, played[row.name])) == 1


@pytest.mark.parametrize("row", [row for row in ROWS if row.expires_in_s], ids=lambda row: row.name)
def test_what_rang_nobody_goes_back_to_the_queue_unspent(daemon: Daemon, played: Mapping[str, CallView], row: Row) -> None:
    view = played[row.name]
    received = dials(daemon, view)
    assert received
    assert [dial.ringing_at_s for dial in received] == [None] * len(received)
    assert [dial.spent for dial in view.dials] == [False] * len(received)
    assert [attempt.number for attempt in view.attempts] == [1]
    states = [event.state for event in view.events if event.state is not None]
    assert (State.DIALING, State.SCHEDULED) in pairwise(states)


def test_a_sip_service_over_its_cpu_guard_sends_no_invite(daemon: Daemon, played: Mapping[str, CallView]) -> None:
    received = dials(daemon, played["SIP service over its CPU guard"])
    assert [dial.invited_at_s for dial in received] == [None] * len(received)


@pytest.mark.parametrize("row", [row for row in ROWS if row.rings], ids=lambda row: row.name)
def test_the_ring_time_says_how_exact_it_is_and_is(daemon: Daemon, played: Mapping[str, CallView], row: Row) -> None:
    outcome = played[row.name].call.outcome
    (dial,) = dials(daemon, played[row.name])
    assert outcome is not None
    assert outcome.ring_ms is not None
    assert outcome.ring_error_ms is not None
    assert dial.ringing_at_s is not None
    until_s = dial.answered_at_s or dial.ended_at_s
    assert until_s is not None
    off_s = abs(outcome.ring_ms / 1000 - (until_s - dial.ringing_at_s))
    assert off_s <= outcome.ring_error_ms / 1000 + WORKING_S, (outcome, dial)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.rings], ids=lambda row: row.name)
def test_what_did_not_ring_has_no_ring_time(played: Mapping[str, CallView], row: Row) -> None:
    outcome = played[row.name].call.outcome
    assert outcome is not None
    assert (outcome.ring_ms, outcome.pdd_ms) == (None, None)


def test_the_answered_row_knows_its_ids_and_its_length(daemon: Daemon, played: Mapping[str, CallView]) -> None:
    outcome = played["180, 200, BYE after 6 s"].call.outcome
    (dial,) = dials(daemon, played["180, 200, BYE after 6 s"])
    assert outcome is not None
    assert outcome.livekit_sip_call_id.startswith("SCL_")
    assert outcome.participant_sid.startswith("PA_")
    assert outcome.sip_call_id
    assert outcome.talk_ms is not None
    assert dial.answered_at_s is not None
    assert dial.ended_at_s is not None
    assert abs(outcome.talk_ms / 1000 - (dial.ended_at_s - dial.answered_at_s)) < 1.5
    assert dial.heard_s > 0.3, "the callee heard the agent"
