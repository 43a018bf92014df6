"""The listener outlives whatever its connection does."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from orchestrator.store import listener
from orchestrator.store.listener import Listener


class Connection:
    """One that the server closed while it was idle, so that the library stumbles over it."""

    def add_termination_listener(self, _callback: object) -> None:
        """Never called."""

    async def add_listener(self, _channel: str, _callback: object) -> None:
        """Well."""

    async def execute(self, _query: str) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")

    def terminate(self) -> None:
        """Gone."""


async def test_a_connection_over_which_the_library_stumbles_is_made_anew(monkeypatch: pytest.MonkeyPatch):
    connected: list[Connection] = []

    async def connect(*_: Any, **__: Any) -> Connection:
        connected.append(Connection())
        return connected[-1]

    monkeypatch.setattr(listener.asyncpg, "connect", connect)
    monkeypatch.setattr(listener, "LOOK_INTERVAL_S", 0.001)
    monkeypatch.setattr(listener, "FIRST_PAUSE_S", 0.001)
    listening = asyncio.create_task(Listener("", on_queue=lambda: None, on_cancel=lambda _: None).run())
    async with asyncio.timeout(60):
        while len(connected) < 3:
            assert not listening.done()
            await asyncio.sleep(0.001)
    listening.cancel()
