"""A SIP service over its CPU guard takes no dial: the call is queued again, unspent, until it expires; nobody is rung."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from orchestrator.outcomes import EndReason
from sip.events import Dialled
from tests.fixtures.livekit import RealServer, example_agent
from tests.sip.daemon import Daemon
from tests.sip.environment import NotNamedError, SipEnvironment
from tests.sip.exchange import Exchange

pytestmark = [pytest.mark.sip, pytest.mark.xdist_group("sip")]

__all__ = ["example_agent"]  # one more, at the other server


@pytest.fixture(scope="session")
def real_livekit(sip_environment: SipEnvironment) -> RealServer:
    try:
        return sip_environment.full_server
    except NotNamedError as reason:
        pytest.skip(str(reason))


async def test_a_full_sip_service_is_tried_again_and_nobody_is_rung(daemon: Daemon, exchange: Exchange) -> None:
    async with daemon.desk() as desk:
        call_id = await desk.enqueue("talks_on", expires_at=datetime.now().astimezone() + timedelta(seconds=8))
        view = await desk.until_ended(call_id)
    outcome = view.call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.sip_code, outcome.dialled) == (EndReason.MEDIA_SERVER_UNAVAILABLE, None, Dialled.NO)
    assert (outcome.ring_ms, outcome.pdd_ms) == (None, None)
    assert view.call.deferrals > 1, "it was tried again"
    assert all(dial.spent is False for dial in view.dials), view.dials
    assert exchange.calls(to=view.call.to) == []
