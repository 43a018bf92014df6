"""The end of a leg that has not told its end: sure before it is written, since the end frees slot, channel, agent and number.

Somebody may hear a phone ring, or talk, for as long as its room could not be closed. It must not know why the call ends.
"""

from __future__ import annotations

import structlog

from orchestrator.calls.inbox import Inbox
from orchestrator.calls.pen import ClaimLost, Pen
from orchestrator.calls.story import Story
from orchestrator.logs import call_logger
from orchestrator.metrics import Metrics
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import Ended
from sip.leg import Carrier, RoomName

_log = structlog.get_logger(__name__)

CLOSE_AGAIN_S = (1.0, 2.0, 4.0, 8.0)
"""Between tries to close a room with a leg in it, in clock seconds; the last one for the rest."""


def is_told(ended: Ended, story: Story) -> bool:
    """Whether the carrier told this end of a leg; else it is what we made of having waited, or looked, in vain."""
    return story.notes.get("end_confirmed") is not False and ended.evidence.get("found") is not False


async def end_leg(
    call: ClaimedCall,
    *,
    room: RoomName,
    carrier: Carrier,
    over_by_s: float,
    inbox: Inbox,
    pen: Pen,
    store: QueueStore,
    clock: Clock,
    metrics: Metrics,
) -> None:
    """Delete the room of a leg that may be alive. Returns when that has succeeded, or when the leg tells its end.

    `over_by_s` (carrier clock): when its own limits have ended the leg for certain; no later. A process that leaves meanwhile
    leaves the call, live as it is written, to the other workers' recovery. Raises ClaimLost: then its room is another's.
    """
    log = call_logger(__name__, call_id=call.call_id, account=call.account, epoch=call.epoch)
    tries = 0
    while clock.now_s() < over_by_s:
        if tries:
            await pen.make_sure(lambda: store.record_note(call, kind="close_again", detail={}))
        try:
            await carrier.close_room(room)
        except CarrierUnavailable as error:
            pause_s = CLOSE_AGAIN_S[min(tries, len(CLOSE_AGAIN_S) - 1)]
            tries += 1
            metrics.carrier_error("close_room")
            log.warning("leg_not_ended", room=room, error=str(error), again_in_s=pause_s)
            if await _tells_its_end(inbox, until_s=clock.now_s() + pause_s):
                return
        else:
            return


async def _tells_its_end(inbox: Inbox, *, until_s: float) -> bool:
    """Whether it does by then; all else comes too late. Raises ClaimLost."""
    while True:
        try:
            event = await inbox.next(until_s)
        except ClaimLost:
            raise
        except Exception:  # noqa: BLE001  a defect of the carrier; the call is being ended already
            _log.exception("carrier_failed")
            continue
        if event is None or isinstance(event, Ended):
            return event is not None
