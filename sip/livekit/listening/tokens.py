"""Who listeners and players are in a room and what they may do there. The daemon mints tokens; children see no secret."""

from __future__ import annotations

import secrets
from datetime import timedelta

from livekit import api

from sip.livekit.rooms import OUR_PREFIX

LISTENER_PREFIX = f"{OUR_PREFIX}listener-"
PLAYER_PREFIX = f"{OUR_PREFIX}message-"
MARGIN_S = 600.0
"""How much longer than its room a token may be used."""


class Tokens:
    """Mints tokens with one key. Shows no secret in `repr`."""

    def __init__(self, *, api_key: str, api_secret: str) -> None:
        self._api_key = api_key
        self._api_secret = api_secret

    def __repr__(self) -> str:
        return f"Tokens({self._api_key})"

    def for_listener(self, room: str, *, lasts_s: float) -> str:
        """Hidden, hears and says nothing. Kind `agent`: such a participant keeps no room open."""
        grants = api.VideoGrants(
            room_join=True, room=room, hidden=True, can_subscribe=True, can_publish=False, can_publish_data=False
        )
        return self._minted(f"{LISTENER_PREFIX}{secrets.token_hex(4)}", grants, lasts_s)

    def for_player(self, room: str, *, lasts_s: float) -> str:
        """Visible, since nobody hears a hidden participant; speaks and hears nothing."""
        grants = api.VideoGrants(room_join=True, room=room, can_subscribe=False, can_publish=True, can_publish_data=False)
        return self._minted(f"{PLAYER_PREFIX}{secrets.token_hex(4)}", grants, lasts_s)

    def _minted(self, identity: str, grants: api.VideoGrants, lasts_s: float) -> str:
        return (
            api.AccessToken(self._api_key, self._api_secret)
            .with_identity(identity)
            .with_kind("agent")
            .with_ttl(timedelta(seconds=lasts_s + MARGIN_S))
            .with_grants(grants)
            .to_jwt()
        )
