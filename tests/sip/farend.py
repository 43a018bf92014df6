"""The far end: SIPp as the carrier's switch, one process for each scenario, and what its log says that it received.

SIPp logs every message with the time; that log, not SIPp's own judgement, is what tests read.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.fixtures.processes import RunningProcess, free_port
from tests.sip.phone import Phone, Talk

SCENARIOS = Path(__file__).with_name("scenarios")
_RULE = re.compile(r"^-{20,} (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d\.\d+)\s*$", re.MULTILINE)
_START_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Message:
    """A SIP message at the far end."""

    at_s: float
    """Seconds since the epoch."""
    received: bool
    """By the far end; else it was sent by it."""
    text: str

    @property
    def opening(self) -> str:
        """Request or status line."""
        return self.text.partition("\n")[0].strip()

    @property
    def method(self) -> str:
        """Of the request; of a response's request."""
        return self.header("CSeq").split()[-1]

    @property
    def status(self) -> int | None:
        """None: it is a request."""
        return int(self.opening.split()[1]) if self.opening.startswith("SIP/2.0 ") else None

    def header(self, name: str) -> str:
        """The first header of that name; empty if there is none."""
        found = re.search(rf"^{re.escape(name)}:[ \t]*(.*?)\s*$", self.text, re.MULTILINE | re.IGNORECASE)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class FarCall:
    """One SIP call (one Call-ID) at the far end."""

    call_id: str
    messages: tuple[Message, ...]

    @property
    def invites(self) -> list[Message]:
        """The first message of each INVITE transaction; what is sent again has the same branch (RFC 3261, section 17)."""
        branches: dict[str, Message] = {}
        for message in self.requests("INVITE", received=True):
            branches.setdefault(message.header("Via"), message)
        return list(branches.values())

    @property
    def to(self) -> str:
        """The number that was dialled."""
        return re.split(r"[:@;]", self.invites[0].opening)[1]

    @property
    def caller_media_port(self) -> int:
        """Where the caller's audio comes from and goes to, by its offer."""
        found = re.search(r"^m=audio (\d+) ", self.invites[0].text, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def requests(self, method: str, *, received: bool) -> list[Message]:
        """All requests of that method, those sent again too."""
        return [
            message
            for message in self.messages
            if message.status is None and message.received == received and message.method == method
        ]

    def answers(self, *, to: str = "INVITE") -> list[Message]:
        """What the far end answered to requests of this method."""
        return [message for message in self.messages if message.status and not message.received and message.method == to]

    @property
    def ringing_at_s(self) -> float | None:
        """When the first 18x left."""
        return next((answer.at_s for answer in self.answers() if 180 <= (answer.status or 0) < 200), None)

    @property
    def final(self) -> Message | None:
        """The final response to the INVITE."""
        return next((answer for answer in self.answers() if (answer.status or 0) >= 200), None)


class FarEnd:
    """One SIPp with one scenario, and its phone."""

    def __init__(
        self,
        *,
        name: str,
        scenario: str,
        address: str,
        sipp: str,
        directory: Path,
        talk_limit_s: float | None = None,
        says: Callable[[], Iterator[bytes]] | None = None,
    ) -> None:
        """`scenario`: name of a file in scenarios/. `directory`: gets the logs, and has the audio that scenarios play.

        `talk_limit_s`, `says`: see `Phone`.
        """
        self.name = name
        self.phone = Phone(address=address, talk_limit_s=talk_limit_s, says=says)
        self._port = free_port(socket.SOCK_DGRAM)
        self.trunk_address = f"{address}:{self._port}"
        self._log = directory / f"{name}.msg"
        self.process = RunningProcess(
            [
                *(sipp, "-sf", SCENARIOS / f"{scenario}.xml", "-i", address, "-p", str(self._port)),
                *("-mi", address, "-mp", str(_media_port()), "-key", "phone_port", str(self.phone.port)),
                *("-ci", "127.0.0.1", "-cp", str(free_port(socket.SOCK_DGRAM))),
                *("-default_behaviors", "none", "-nostdin", "-skip_rlimit"),
                *("-trace_msg", "-message_file", self._log, "-trace_err", "-error_file", directory / f"{name}.err"),
            ],
            name=f"sipp-{name}",
            directory=directory,
            cwd=directory,
        )

    def wait_until_ready(self) -> None:
        """Until it listens."""
        self.process.wait_until(self._listens, what="listening", timeout_s=_START_TIMEOUT_S)

    def stop(self) -> None:
        self.process.stop()
        self.phone.close()

    def calls(self, *, to: str | None = None) -> list[FarCall]:
        """What has reached it, in order; only calls of this number, if given."""
        calls: dict[str, list[Message]] = {}
        for message in self._messages():
            calls.setdefault(message.header("Call-ID"), []).append(message)
        found = [FarCall(call_id=call_id, messages=tuple(messages)) for call_id, messages in calls.items()]
        return [call for call in found if to is None or call.to == to]

    def talk(self, call: FarCall) -> Talk:
        """The call's audio."""
        return self.phone.talk(call.caller_media_port)

    def _messages(self) -> list[Message]:
        if not self._log.exists():
            return []
        parts = _RULE.split(self._log.read_text(encoding="utf-8", errors="replace"))
        messages = []
        for day, time, entry in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            what, _, text = entry.strip().partition("\n")
            at = datetime.fromisoformat(f"{day} {time[:15]}").astimezone()
            messages.append(Message(at_s=at.timestamp(), received="received" in what, text=text.strip().replace("\r", "")))
        return messages

    def _listens(self) -> bool:
        return _is_taken(self._port)


def _media_port() -> int:
    """Of SIPp's own audio; it takes the second next for video."""
    while True:
        port = free_port(socket.SOCK_DGRAM)
        if not _is_taken(port + 2):
            return port


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False
