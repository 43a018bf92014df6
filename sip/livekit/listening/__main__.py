"""A listener process: `python -m sip.livekit.listening --socket FD --beat S`. The daemon starts it, and ends it by hanging up.

It ignores SIGINT and SIGTERM, which a terminal or a service manager sends to the daemon's children too: the daemon may have
calls to finish. Only the client library's own SIGTERM, after a panic, ends it: what is left of the process then hears nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import threading

PANICKED = 70
"""Exit code (sysexits: internal software error)."""


def main() -> None:
    """Listen until the daemon hangs up."""
    parser = argparse.ArgumentParser(prog="python -m sip.livekit.listening", description="A listener; started by the daemon.")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the socket to the daemon")
    parser.add_argument("--beat", type=float, required=True, help="seconds between signs of life")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before any thread is started, so that all of them inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_await_panic, daemon=True, name="await-panic").start()
    # Not asyncio.run: it would cancel what is left, and a connection that is being made must not be.
    asyncio.new_event_loop().run_until_complete(_serve(socket.socket(fileno=arguments.socket), arguments.beat))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _await_panic() -> None:
    while True:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == os.getpid():
            os._exit(PANICKED)


async def _serve(daemon: socket.socket, beat_s: float) -> None:
    from sip.livekit.listening.logs import log_to_stderr  # noqa: PLC0415  the heavy imports come after the signals are in order
    from sip.livekit.listening.station import Station  # noqa: PLC0415
    from sip.livekit.listening.wire import LONGEST_LINE  # noqa: PLC0415

    log_to_stderr()
    reader, writer = await asyncio.open_connection(sock=daemon, limit=LONGEST_LINE)
    await Station(reader=reader, writer=writer, beat_s=beat_s).run()


if __name__ == "__main__":
    main()
