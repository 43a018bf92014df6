"""The outbound trunks that the stand-in knows: those it was started with, and those made by API."""

from __future__ import annotations

import secrets

from livekit.protocol import sip as proto_sip

from tests.standin.refusals import UNKNOWN_TRUNK
from tests.standin.twirp import TwirpError

DEFAULT_TRUNK = "ST_standin"
"""Id of the trunk that is there from the start."""


class TrunkBook:
    """Outbound trunks by their ids."""

    def __init__(self) -> None:
        self._trunks: dict[str, proto_sip.SIPOutboundTrunkInfo] = {}

    def add(self, trunk: proto_sip.SIPOutboundTrunkInfo) -> proto_sip.SIPOutboundTrunkInfo:
        """Keep a trunk; one without id gets one."""
        kept = proto_sip.SIPOutboundTrunkInfo()
        kept.CopyFrom(trunk)
        kept.sip_trunk_id = trunk.sip_trunk_id or f"ST_{secrets.token_hex(6)}"
        self._trunks[kept.sip_trunk_id] = kept
        return kept

    def find(self, trunk_id: str) -> proto_sip.SIPOutboundTrunkInfo:
        """Raises TwirpError if there is none."""
        try:
            return self._trunks[trunk_id]
        except KeyError:
            raise UNKNOWN_TRUNK from None

    # The API's methods

    def create(self, request: proto_sip.CreateSIPOutboundTrunkRequest) -> proto_sip.SIPOutboundTrunkInfo:
        """CreateSIPOutboundTrunk."""
        if not request.trunk.address or not request.trunk.numbers:
            raise TwirpError(
                "invalid_argument", "no trunk address specified" if not request.trunk.address else "no trunk numbers specified"
            )
        request.trunk.sip_trunk_id = ""
        return self.add(request.trunk)

    def list(self, request: proto_sip.ListSIPOutboundTrunkRequest) -> proto_sip.ListSIPOutboundTrunkResponse:
        """ListSIPOutboundTrunk, by ids or numbers if the request names any."""
        wanted_ids, wanted_numbers = set(request.trunk_ids), set(request.numbers)
        return proto_sip.ListSIPOutboundTrunkResponse(
            items=[
                trunk
                for trunk in self._trunks.values()
                if (not wanted_ids or trunk.sip_trunk_id in wanted_ids)
                and (not wanted_numbers or wanted_numbers.intersection(trunk.numbers))
            ]
        )

    def delete(self, request: proto_sip.DeleteSIPTrunkRequest) -> proto_sip.SIPTrunkInfo:
        """DeleteSIPTrunk."""
        self.find(request.sip_trunk_id)
        del self._trunks[request.sip_trunk_id]
        return proto_sip.SIPTrunkInfo(sip_trunk_id=request.sip_trunk_id)
