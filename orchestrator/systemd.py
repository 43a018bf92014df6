"""What the service manager is told (sd_notify(3)), and how often it wants to hear that we live (sd_watchdog_enabled(3)).

    READY=1                    calls are taken; also after a reload
    RELOADING=1                the settings are being read anew (with MONOTONIC_USEC, as Type=notify-reload wants it)
    STOPPING=1                 draining
    STATUS=...                 one line for `systemctl status`
    WATCHDOG=1                 we live (orchestrator.watchdog says when that is true)
    EXTEND_TIMEOUT_USEC=...    starting or draining takes longer, and goes on

Never blocks and never fails: where nobody listens nothing is sent, and a message that cannot be delivered is logged once.
Knows nothing of what is told.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

log = structlog.get_logger(__name__)

SOCKET_VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE = "WATCHDOG_PID"


class ServiceManager:
    """systemd, or whatever else gave us a notify socket; or nobody."""

    def __init__(self, *, address: str = "", watchdog_s: float | None = None) -> None:
        """`address`: path of a Unix datagram socket, `@name` for an abstract one; empty: nobody listens."""
        self.watchdog_s = watchdog_s
        """The service manager ends us when it has not heard WATCHDOG=1 for so long; None: it does not watch."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._told_of_failure = False

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """The one that the environment names. Takes the variables out of it, so that no child process speaks for us."""
        address = environ.pop(SOCKET_VARIABLE, "")
        usec = environ.pop(WATCHDOG_VARIABLE, "")
        meant_for = environ.pop(WATCHDOG_PID_VARIABLE, "")
        watched = usec.isdecimal() and int(usec) > 0 and meant_for in {"", str(os.getpid())}
        return cls(address=address, watchdog_s=int(usec) / 1_000_000 if watched and address else None)

    def ready(self, status: str) -> None:
        """Calls are taken."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The settings are being read anew; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """We are about to leave."""
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """What we are doing, one line for people."""
        self._send(f"STATUS={text}")

    def alive(self, status: str) -> None:
        """We make progress."""
        self._send("WATCHDOG=1", f"STATUS={status}")

    def patience(self, patience_s: float, status: str) -> None:
        """Starting or stopping is still under way: wait for so long from now before giving us up."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(patience_s * 1_000_000)}", f"STATUS={status}")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines).encode()
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            self._socket.sendto(message, self._address)
        except OSError as error:
            if not self._told_of_failure:
                log.warning("service_manager_not_told", error=str(error))
            self._told_of_failure = True
        else:
            self._told_of_failure = False
