"""All far ends, and the outbound trunks that lead to them, made through LiveKit's API."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from livekit import api

from sip.simulated.audio import frames
from sip.simulated.steps import Sound, SoundKind
from tests.fixtures.livekit import RealServer
from tests.sip.environment import SipEnvironment
from tests.sip.farend import SCENARIOS, FarCall, FarEnd
from tests.sip.phone import TONE, u_law

CALLER_ID = "+442079460900"
LOSES_AUDIO = "loses_audio"
"""Talks on, and sends no packet any more from 3 s on."""


PERSON, MAILBOX, FAX = "person", "mailbox", "fax"
_QUIET_S = 60.0
SPEAKERS: Mapping[str, Sequence[Sound]] = {
    PERSON: (
        Sound(SoundKind.SILENCE, 0.3),
        Sound(SoundKind.SPEECH, 0.6),
        Sound(SoundKind.SILENCE, 2.5),
        Sound(SoundKind.SPEECH, 1.2),
        Sound(SoundKind.SILENCE, _QUIET_S),
    ),
    MAILBOX: (
        Sound(SoundKind.SILENCE, 0.4),
        Sound(SoundKind.SPEECH, 2.6),
        Sound(SoundKind.SILENCE, 0.3),
        Sound(SoundKind.SPEECH, 2.4),
        Sound(SoundKind.SILENCE, 0.4),
        Sound(SoundKind.SPEECH, 3.0),
        Sound(SoundKind.SILENCE, 0.5),
        Sound(SoundKind.BEEP, 0.5),
        Sound(SoundKind.SILENCE, _QUIET_S),
    ),
    FAX: (Sound(SoundKind.SILENCE, 0.5), Sound(SoundKind.FAX_CED, 20.0)),
}
"""Far ends that answer and sound so, for detectors to hear."""


class Exchange:
    """One far end for each scenario, by the scenario's name."""

    def __init__(self, *, environment: SipEnvironment, directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        self._far_ends: dict[str, FarEnd] = {}

    def open(self) -> None:
        """Start all of them."""
        (self._directory / "tone.ulaw").write_bytes(TONE * 50)
        for scenario in sorted(file.stem for file in SCENARIOS.glob("*.xml")):
            self._start(scenario, scenario)
        self._start(LOSES_AUDIO, "talks_on", talk_limit_s=3.0)
        for name, sounds in SPEAKERS.items():
            self._start(name, "talks_on", says=functools.partial(_spoken, name, sounds))
        for far_end in self._far_ends.values():
            far_end.wait_until_ready()

    def close(self) -> None:
        for far_end in self._far_ends.values():
            far_end.stop()

    @property
    def addresses(self) -> Mapping[str, str]:
        """`host:port` of each far end."""
        return MappingProxyType({name: far_end.trunk_address for name, far_end in self._far_ends.items()})

    def far_end(self, name: str) -> FarEnd:
        return self._far_ends[name]

    def calls(self, *, to: str) -> list[FarCall]:
        """The SIP calls of this number, at whichever far end."""
        return [call for far_end in self._far_ends.values() for call in far_end.calls(to=to)]

    def _start(
        self,
        name: str,
        scenario: str,
        *,
        talk_limit_s: float | None = None,
        says: Callable[[], Iterator[bytes]] | None = None,
    ) -> None:
        self._far_ends[name] = FarEnd(
            name=name,
            scenario=scenario,
            address=self._environment.far_end_address,
            sipp=self._environment.sipp,
            directory=self._directory,
            talk_limit_s=talk_limit_s,
            says=says,
        )


def _spoken(name: str, sounds: Sequence[Sound]) -> Iterator[bytes]:
    """These sounds as u-law, 20 ms at a time."""
    return (bytes(map(u_law, frame)) for frame in frames(sounds, seed=name))


def livekit(server: RealServer) -> api.LiveKitAPI:
    """A client; must be made in a running event loop."""
    return api.LiveKitAPI(server.http_url, server.api_key, server.api_secret, failover=False)


def create_trunks(server: RealServer, addresses: Mapping[str, str]) -> Mapping[str, str]:
    """An outbound trunk to each of the addresses: its id, by the same name."""

    async def create() -> Mapping[str, str]:
        trunk_ids = {}
        async with livekit(server) as lk:
            for name, address in addresses.items():
                trunk = api.SIPOutboundTrunkInfo(name=f"test {name}", address=address, numbers=[CALLER_ID])
                created = await lk.sip.create_outbound_trunk(api.CreateSIPOutboundTrunkRequest(trunk=trunk))
                trunk_ids[name] = created.sip_trunk_id
        return trunk_ids

    return asyncio.run(create())


def delete_trunks(server: RealServer, trunk_ids: Mapping[str, str]) -> None:
    """Take them away again."""

    async def delete() -> None:
        async with livekit(server) as lk:
            for trunk_id in trunk_ids.values():
                await lk.sip.delete_trunk(api.DeleteSIPTrunkRequest(sip_trunk_id=trunk_id))

    asyncio.run(delete())
