"""Joining and leaving rooms, in the only ways that do not end the process.

`Room.connect` is never cancelled: 15 s later the library would panic and end the process with all its rooms (python-sdks#784).
It runs in a task of its own; whoever gives up waiting leaves the room once it is joined after all.
"""

from __future__ import annotations

import asyncio
import logging

from livekit import rtc

CONNECT_S = 10.0
DISCONNECT_S = 5.0

log = logging.getLogger(__name__)
_late: set[asyncio.Task[None]] = set()


async def connected(room: rtc.Room, url: str, token: str, *, patience_s: float = CONNECT_S) -> None:
    """Join. Raises rtc.ConnectError, or TimeoutError after `patience_s`."""
    connecting = asyncio.create_task(room.connect(url, token, rtc.RoomOptions(auto_subscribe=False)))
    try:
        await asyncio.wait({connecting}, timeout=patience_s)
    finally:
        if not connecting.done():
            _leave_later(room, connecting)
    if not connecting.done():
        raise TimeoutError(f"not joined within {patience_s:g} s")
    connecting.result()


async def disconnect(room: rtc.Room) -> None:
    """Leave; nothing if it is left already."""
    try:
        async with asyncio.timeout(DISCONNECT_S):
            await room.disconnect()
    except TimeoutError:
        log.warning("room_not_left name=%s", room.name)


def _leave_later(room: rtc.Room, connecting: asyncio.Task[None]) -> None:
    async def leave() -> None:
        await asyncio.wait({connecting})
        if connecting.exception() is None:
            await disconnect(room)

    task = asyncio.create_task(leave())
    _late.add(task)
    task.add_done_callback(_late.discard)
