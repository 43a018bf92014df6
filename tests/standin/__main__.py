"""Run the stand-in as a process of its own: `python -m tests.standin --help`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog
from aiohttp import web
from livekit.protocol import sip as proto_sip

from tests.standin.ledger import LedgerWriter
from tests.standin.service import Server, StandIn
from tests.standin.trunks import DEFAULT_TRUNK, TrunkBook


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT. Prints one line once it can be asked."""
    trunks = TrunkBook()
    trunks.add(
        proto_sip.SIPOutboundTrunkInfo(
            sip_trunk_id=arguments.trunk, name="stand-in", address="trunk.invalid:5060", numbers=[arguments.trunk_number]
        )
    )
    standin = StandIn(
        server=Server(url=arguments.livekit_url, api_key=arguments.api_key, api_secret=arguments.api_secret),
        trunks=trunks,
        ledger=LedgerWriter(path=arguments.ledger),
        time_scale=arguments.time_scale,
        has_media=not arguments.no_media,
    )
    structlog.configure(
        processors=[structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(standin.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, arguments.host, arguments.port)
    await site.start()
    port = runner.addresses[0][1]
    print(f"listening on http://{arguments.host}:{port}", flush=True)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.standin", description="A stand-in for LiveKit's SIP service. No phone rings."
    )
    parser.add_argument("--livekit-url", required=True, help="the real livekit-server, http(s):// or ws(s)://")
    parser.add_argument("--api-key", default=os.environ.get("LIVEKIT_API_KEY", "devkey"))
    parser.add_argument(
        "--api-secret", default=os.environ.get("LIVEKIT_API_SECRET", ""), help="better given as LIVEKIT_API_SECRET"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--ledger", type=Path, required=True, help="file to which every dial is appended, as JSON Lines")
    parser.add_argument("--time-scale", type=float, default=1.0, help="how much faster than their scripts callees are")
    parser.add_argument("--trunk", default=DEFAULT_TRUNK, help="id of a trunk that exists from the start")
    parser.add_argument("--trunk-number", default="+12025550199", help="its number")
    parser.add_argument("--no-media", action="store_true", help="callees make no sound and hear none: for load")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments))
    # The client library's threads must not delay the end, nor a connection that is still being made.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
