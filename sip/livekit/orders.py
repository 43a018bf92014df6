"""What a leg may have done to its room, done: deleted, played a message into, told what is known of the callee."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from sip.errors import CarrierUnavailable
from sip.livekit.api import LiveKitRefusal, LiveKitServer
from sip.livekit.hearing import VERDICT_TOPIC
from sip.livekit.listening.listeners import Listeners
from sip.livekit.room import LiveKitRoom


class RoomOrders:
    """Carries out the orders of one room's leg."""

    def __init__(
        self,
        *,
        room: LiveKitRoom,
        identity: str,
        server: LiveKitServer,
        listeners: Listeners | None,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        """`identity`: the leg's, in the room."""
        self._room = room
        self._identity = identity
        self._server = server
        self._listeners = listeners
        self._close = close

    async def delete_room(self) -> None:
        """Delete the room. Raises CarrierUnavailable."""
        await self._close()

    async def play(self, path: str) -> None:
        """Play a file into the room; its end is told as MessagePlayed. Raises CarrierUnavailable."""
        if self._listeners is None:
            raise CarrierUnavailable("there are no listener processes, which play messages")
        await self._listeners.play(self._room.name, path, tell=self._room.tell_heard)

    def hush(self) -> None:
        """Stop what plays, if anything does."""
        if self._listeners is not None:
            self._listeners.hush(self._room.name)

    async def publish(self, facts: Mapping[str, str]) -> None:
        """Set the facts as attributes of the leg and send them to everybody in the room. Raises CarrierUnavailable."""
        body = json.dumps(dict(facts)).encode()
        try:
            await self._server.set_attributes(room=self._room.name, identity=self._identity, attributes=facts)
            await self._server.send_data(room=self._room.name, topic=VERDICT_TOPIC, body=body)
        except LiveKitRefusal as refusal:
            raise CarrierUnavailable(f"LiveKit would not tell the agents: {refusal.message} ({refusal.code})") from None
