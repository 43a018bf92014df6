"""The end signal, as agents use it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

from sip.livekit.endsignal import END_ATTRIBUTE, OPT_OUT_ATTRIBUTE, end_call, report_opt_out


class FakeRoom:
    """A room that closes when the signal is given, or never; acknowledgements get lost."""

    def __init__(self, *, closes: bool, connected: bool = True) -> None:
        self.local_participant = self
        self.attributes: dict[str, str] = {}
        self.left = False
        self._closes = closes
        self._connected = connected
        self._callbacks: list[Callable[..., object]] = []

    def isconnected(self) -> bool:
        return self._connected

    def on(self, event: str, callback: Callable[..., object]) -> None:
        assert event == "disconnected"
        self._callbacks.append(callback)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        self.attributes |= attributes
        if self._closes:
            self._connected = False
            for callback in self._callbacks:
                callback("ROOM_DELETED")
        await asyncio.Event().wait()

    async def disconnect(self) -> None:
        self.left = True


async def test_the_signal_carries_the_reason_and_waits_for_the_room_to_close() -> None:
    room = FakeRoom(closes=True)
    async with asyncio.timeout(60):
        await end_call(room, "sold")
    assert room.attributes == {END_ATTRIBUTE: "sold"}
    assert not room.left


async def test_an_agent_whose_room_is_not_closed_leaves_it() -> None:
    room = FakeRoom(closes=False)
    async with asyncio.timeout(60):
        await end_call(room, "sold", patience_s=0.01)
    assert room.left


async def test_a_reason_is_never_empty_since_an_empty_attribute_is_none() -> None:
    room = FakeRoom(closes=True)
    async with asyncio.timeout(60):
        await end_call(room, "")
    assert room.attributes[END_ATTRIBUTE]


async def test_an_opt_out_carries_the_reason_and_is_never_empty() -> None:
    for reason in ("never again", ""):
        room = FakeRoom(closes=False)
        telling = asyncio.ensure_future(report_opt_out(room, reason))
        await asyncio.sleep(0)
        assert room.attributes == {OPT_OUT_ATTRIBUTE: reason or "asked by the callee"}
        assert not room.left
        telling.cancel()


def test_agents_get_it_without_anything_heavy() -> None:
    seen = (
        "import sys, sip.livekit.endsignal; print([name for name in ('livekit', 'aiohttp', 'google') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", seen], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"
