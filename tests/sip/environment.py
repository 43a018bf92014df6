"""What the environment names for these tests; README.md says it in full."""

from __future__ import annotations

import ipaddress
import os
import shutil
from dataclasses import dataclass

from tests.fixtures.livekit import RealServer

PREFIX = "ORCHESTRATOR_TEST_SIP_"
NEEDED = tuple(PREFIX + name for name in ("LIVEKIT_URL", "API_KEY", "API_SECRET", "WEBHOOK_PORT"))
FULL_URL = PREFIX + "FULL_LIVEKIT_URL"
FAR_END = PREFIX + "FAR_END"
SIPP = PREFIX + "SIPP"


class NotNamedError(Exception):
    """The environment does not name what is needed; the message says which variables to set."""


@dataclass(frozen=True, slots=True)
class SipEnvironment:
    """A LiveKit with its SIP service, and what plays the far end."""

    server: RealServer
    far_end_address: str
    """Address of this machine at which the SIP service reaches it."""
    sipp: str

    @property
    def full_server(self) -> RealServer:
        """Another LiveKit with the same key, whose SIP service is over its CPU guard. Raises NotNamedError."""
        url = os.environ.get(FULL_URL)
        if not url:
            raise NotNamedError(f"NO SIP SERVICE OVER ITS CPU GUARD: set {FULL_URL}, see tests/sip/README.md")
        return RealServer(
            http_url=_http(url), api_key=self.server.api_key, api_secret=self.server.api_secret, webhook_port=None
        )


def read_environment() -> SipEnvironment:
    """Raises NotNamedError."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise NotNamedError(f"NO REAL SIP SERVICE: set {', '.join(missing)}, see tests/sip/README.md")
    wanted = os.environ.get(SIPP, "sipp")
    sipp = shutil.which(wanted)
    if sipp is None:
        raise NotNamedError(f"NO SIPP: {wanted!r} is no program; install it (Debian's package sip-tester), or set {SIPP}")
    address = os.environ.get(FAR_END, "127.0.0.1")
    # A public address would take these calls out into the world.
    if not ipaddress.ip_address(address).is_private:
        raise ValueError(f"{FAR_END} is {address}: it must be an address of the loopback or of a private network")
    url, key, secret, port = (os.environ[name] for name in NEEDED)
    server = RealServer(http_url=_http(url), api_key=key, api_secret=secret, webhook_port=int(port))
    return SipEnvironment(server=server, far_end_address=address, sipp=sipp)


def _http(url: str) -> str:
    return url.replace("ws", "http", 1) if url.startswith("ws") else url
