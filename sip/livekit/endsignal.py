"""What an agent tells the orchestrator: that the call shall end, and that the callee wants no more calls.

An agent that merely leaves looks like one that crashed, since the client library leaves politely even then. So it says so
first: it sets the attribute `orchestrator.end` on itself; the value is the reason. The orchestrator sees it, hangs up and
closes the room. In another language: set the attribute, wait until the room is closed, and after 10 s disconnect.

A callee who does not want to be called again is reported by the attribute `orchestrator.do_not_call`; the value is the reason,
perhaps the callee's own words. The number is on the account's do-not-call list a moment later, and the call goes on.

For use in agents; needs nothing but the room that the agent is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

END_ATTRIBUTE = "orchestrator.end"
"""Participant attribute that an agent sets on itself; its value, which must not be empty, is the reason."""

OPT_OUT_ATTRIBUTE = "orchestrator.do_not_call"
"""Participant attribute that an agent sets on itself; its value, which must not be empty, is the reason."""


class _Participant(Protocol):
    def set_attributes(self, attributes: dict[str, str], /) -> Awaitable[None]: ...


class _Room(Protocol):
    """What is needed of `livekit.rtc.Room`."""

    @property
    def local_participant(self) -> _Participant: ...

    def isconnected(self) -> bool: ...

    def on(self, event: Any, callback: Callable[..., Any], /) -> Any: ...

    def disconnect(self) -> Awaitable[None]: ...


async def end_call(room: _Room, reason: str, *, patience_s: float = 10.0) -> None:
    """Give the end signal, and leave the room if it is not closed within `patience_s`. Afterwards the room is left."""
    closed = asyncio.Event()
    room.on("disconnected", lambda *_: closed.set())
    # Not awaited first: its acknowledgement can get lost when the room closes at once.
    telling = asyncio.ensure_future(room.local_participant.set_attributes({END_ATTRIBUTE: reason or "ended"}))
    try:
        if room.isconnected():
            async with asyncio.timeout(patience_s):
                await closed.wait()
    except TimeoutError:
        await room.disconnect()
    finally:
        telling.cancel()


async def report_opt_out(room: _Room, reason: str) -> None:
    """Say that the callee wants no more calls from this account. The call goes on; ending it is `end_call`'s."""
    await room.local_participant.set_attributes({OPT_OUT_ATTRIBUTE: reason or "asked by the callee"})
