"""A worker whose every named step has a switch: `python -m tests.chaos.worker --config FILE --switches SOCKET --hits FILE`.

The harness arms a step by a datagram (`{"step": "after begin_dial", "what": "kill"}`); the next time a call comes to it, the
process kills or stops itself there. What is done to it is written to the hits file first. `--without NAME` takes one
protection out (tests.chaos.breaches). Everything else is the program as it is.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from orchestrator import logs
from orchestrator.app import run_daemon
from orchestrator.calls import adoption
from orchestrator.settings import load_settings
from orchestrator.store.pool import Session
from sip.livekit.carrier import LiveKitCarrier
from sip.livekit.leg import LiveKitLeg
from tests.chaos import removals
from tests.chaos.steps import REQUESTS, STATEMENTS

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Switches:
    """Which steps are armed, and with what."""

    def __init__(self, *, path: Path, hits: Path) -> None:
        self._armed: dict[str, str] = {}
        self._hits = hits
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, name="switches", daemon=True).start()

    def pass_by(self, step: str) -> None:
        """A call has come to this step."""
        what = self._armed.pop(step, None)
        if what is None:
            return
        with self._hits.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "what": what, "at_s": time.time(), "pid": os.getpid()}) + "\n")
        os.kill(os.getpid(), SIGNALS[what])

    def _listen(self) -> None:
        while True:
            order = json.loads(self._socket.recv(4096))
            if order["what"] == "disarm":
                if order["step"]:
                    self._armed.pop(order["step"], None)
                else:
                    self._armed.clear()
            else:
                self._armed[order["step"]] = order["what"]


def wire_up(switches: Switches) -> None:
    """Put the switches around statements and requests."""

    def around(method: Callable[..., Awaitable[Any]], name: Callable[..., str]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def stepped(self: Any, *arguments: Any, **keywords: Any) -> Any:
            what = name(*arguments)
            switches.pass_by(f"before {what}")
            result = await method(self, *arguments, **keywords)
            switches.pass_by(f"after {what}")
            return result

        return stepped

    known = frozenset(STATEMENTS)

    def statement(name: str, *_: object) -> str:
        return name if name in known else "another statement"

    for method in ("fetch", "fetch_one"):
        setattr(Session, method, around(getattr(Session, method), statement))
    for name in REQUESTS:
        for owner in (LiveKitCarrier, LiveKitLeg):
            if hasattr(owner, name):
                setattr(owner, name, around(getattr(owner, name), lambda *_, name=name: name))


def main() -> int:
    """Run the daemon until it is told to stop, or ends itself at a step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--switches", type=Path, required=True)
    parser.add_argument("--hits", type=Path, required=True)
    parser.add_argument("--without", default="")
    parser.add_argument("--hurry", action="store_true", help="look less long for the leg of a dead worker's call")
    arguments = parser.parse_args()
    settings = load_settings(arguments.config, os.environ)
    logs.configure(format=settings.log.format, level=settings.log.level, mask_numbers=settings.log.mask_numbers)
    wire_up(Switches(path=arguments.switches, hits=arguments.hits))
    if arguments.hurry:
        adoption.ON_ITS_WAY_S, adoption.AGAIN_S, adoption.REVIVED_S = 2.0, 0.5, 1.0
    if arguments.without:
        removals.take_out_of_the_program(arguments.without)
    return run_daemon(settings)


if __name__ == "__main__":
    sys.exit(main())
