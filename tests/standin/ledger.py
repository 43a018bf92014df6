"""Every dial that the stand-in received and what became of it: JSON Lines, a line for whatever happened, flushed at once.

The stand-in writes it; tests read it, also while it is being written.

    {"what": "dial", "dial": 1, "at_s": ..., "room": ..., "to": ..., ...}    the request was received
    {"what": "invite", "dial": 1, "at_s": ...}                                a phone may ring from here on
    {"what": "ringing"} {"what": "answered"}
    {"what": "end", "dial": 1, "at_s": ..., "how": "refused 486", "leave": "USER_REJECTED", "heard_s": 0.0, "digits": ""}
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Request:
    """What a dial request asked for."""

    room: str
    identity: str
    to: str
    trunk_id: str
    caller_id: str
    """As asked for; empty: the trunk's own."""
    display_name: str | None
    headers: Mapping[str, str]
    attributes: Mapping[str, str]
    dtmf: str
    ringing_timeout_s: float
    max_duration_s: float
    media_timeout_s: float
    wait_until_answered: bool
    script: str
    """Name of the script that the number selects; empty: nobody has this number."""


@dataclass(slots=True)
class Dial:
    """One dial as far as the ledger tells. Moments are seconds since the epoch."""

    number: int
    request: Request
    received_at_s: float
    invited_at_s: float | None = None
    ringing_at_s: float | None = None
    answered_at_s: float | None = None
    ended_at_s: float | None = None
    how: str = ""
    """`hung up by callee`, `refused 486`, `rang out`, `removed`, `not dialled: ...` ..."""
    leave: str = ""
    """Reason with which the participant left, by name; empty if it did not join or was removed."""
    heard_s: float = 0.0
    """How long the callee heard somebody in the room, after the answer."""
    digits: str = ""
    """Digits that somebody in the room sent to the callee."""


class LedgerWriter:
    """Appends to a ledger. One writer a file."""

    def __init__(self, *, path: Path) -> None:
        self._numbers = itertools.count(1)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def dial(self, request: Request) -> int:
        """A request was received; returns the dial's number."""
        number = next(self._numbers)
        self.note(number, "dial", **asdict(request))
        return number

    def note(self, number: int, what: str, **facts: object) -> None:
        """Something happened to a dial."""
        self._file.write(json.dumps({"what": what, "dial": number, "at_s": time.time(), **facts}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """No more lines."""
        self._file.close()


class Ledger:
    """Reads a ledger."""

    def __init__(self, *, path: Path) -> None:
        self._path = path

    def dials(self, *, to: str | None = None, room: str | None = None) -> Sequence[Dial]:
        """All dials so far, in the order in which they came; of one number or room, if given."""
        dials: dict[int, Dial] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True) if self._path.exists() else []
        for line in lines:
            if line.endswith("\n"):  # the last line may be half written
                _read(json.loads(line), dials)
        return [
            dial
            for dial in dials.values()
            if (to is None or dial.request.to == to) and (room is None or dial.request.room == room)
        ]

    async def wait_until(
        self,
        promise: Callable[[Sequence[Dial]], bool],
        *,
        to: str | None = None,
        room: str | None = None,
        timeout_s: float = 10.0,
    ) -> Sequence[Dial]:
        """The dials, as soon as they keep the promise. Raises TimeoutError with the ledger as it is then."""
        deadline_s = time.monotonic() + timeout_s
        while not promise(found := self.dials(to=to, room=room)):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"after {timeout_s} s the ledger says: {found}")
            await asyncio.sleep(_LOOK_S)
        return found


def _read(line: dict[str, object], dials: dict[int, Dial]) -> None:
    what, number, at_s = line.pop("what"), line.pop("dial"), line.pop("at_s")
    assert isinstance(number, int)
    assert isinstance(at_s, float)
    if what == "dial":
        dials[number] = Dial(number=number, request=Request(**line), received_at_s=at_s)  # type: ignore[arg-type]  # as written above
        return
    dial = dials[number]
    match what:
        case "invite":
            dial.invited_at_s = at_s
        case "ringing":
            dial.ringing_at_s = at_s
        case "answered":
            dial.answered_at_s = at_s
        case "end":
            dial.ended_at_s = at_s
            for name, value in line.items():
                setattr(dial, name, value)
