"""One dial: the callee does what the script says, and everybody is told in LiveKit's words.

The order is the SIP service's (outbound.go): join the room, publish, INVITE; status `ringing` with the first 18x, `active` with
the 200; at the end the status if it has one, the leave, and only then the answer to the request that waits.
"""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from livekit.protocol import sip as proto_sip

from sip.simulated.audio import frames
from sip.simulated.steps import (
    Answer,
    HangUp,
    LoseLeg,
    LoseMedia,
    NotTaken,
    PressDigit,
    Refuse,
    Ring,
    Script,
    StartEarlyMedia,
    Step,
)
from tests.standin.callee import CALL_STATUS, RATE_HZ, Callee, NotJoinedError
from tests.standin.ledger import LedgerWriter
from tests.standin.refusals import (
    CPU_EXHAUSTED,
    ROOM_GONE,
    SHUTTING_DOWN,
    SIP_REQUEST_TIMED_OUT,
    Leave,
    leave_of_refusal,
    refusal,
)
from tests.standin.twirp import TwirpError, from_sip_service

_DIGIT_S = 0.25
_PAUSE_S = 0.5
"""`w` among digits that are sent."""

JOIN_TIMEOUT_S = 5.0
"""The SIP service gives up joining after so long; it dials nobody then."""
_SHOWN_S = 2.0
_LOOK_S = 0.01


def new_call_id() -> str:
    """An id as LiveKit gives each SIP call."""
    letters = string.ascii_letters + string.digits
    return "SCL_" + "".join(secrets.choice(letters) for _ in range(12))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request allows, in seconds: ringing and duration from just before the INVITE, after the room was joined."""

    ringing_s: float
    duration_s: float
    media_s: float


@dataclass(frozen=True)
class _Over(Exception):  # it is not an error
    """The dial or call is over."""

    how: str
    leave: Leave | None
    """None: it was taken out of the room."""
    error: TwirpError | None = None
    """For the request, if it still waits."""
    status: str = ""
    """The last status that is shown; empty: none is."""


class Leg:
    """One dial and what follows from it. `run` must not be cancelled; `shut_down` ends it."""

    def __init__(
        self,
        *,
        number: int,
        script: Script,
        dtmf: str,
        limits: Limits,
        callee: Callee,
        ledger: LedgerWriter,
        is_shown: Callable[[], Awaitable[bool]],
        info: Callable[[str], proto_sip.SIPParticipantInfo],
    ) -> None:
        """`number`: of the dial in the ledger. `is_shown`: whether the server shows the callee to others.

        `info`: the answer to the request, from the participant's id.
        """
        loop = asyncio.get_running_loop()
        self.joined: asyncio.Future[proto_sip.SIPParticipantInfo] = loop.create_future()
        self.answered: asyncio.Future[proto_sip.SIPParticipantInfo] = loop.create_future()
        """What waits for the answer gets this, or its TwirpError."""
        self._loop = loop
        self._number = number
        self._script = script
        self._dtmf = dtmf
        self._limits = limits
        self._callee = callee
        self._ledger = ledger
        self._is_shown = is_shown
        self._info = info
        self._stopped = asyncio.Event()
        self._invited_s = self._answered_s = loop.time()
        self._transcribing: asyncio.Task[None] | None = None
        for waiting in (self.joined, self.answered):
            waiting.add_done_callback(lambda done: done.exception())  # whoever asked may be gone

    async def run(self) -> None:
        """The whole dial, to its end."""
        try:
            await self._join()
            await self._follow_script()
        except _Over as over:
            await self._end(over)
        except BaseException as error:
            self._fail(from_sip_service("internal", f"the stand-in failed: {error!r}"))
            self._ledger.note(self._number, "end", how=f"failed: {error!r}")
            raise

    def shut_down(self) -> None:
        """The SIP service is told to stop."""
        self._stopped.set()

    async def _join(self) -> None:
        match self._script.steps[:1]:
            case (NotTaken(after_s=after_s, text=text),):
                await asyncio.sleep(after_s)
                error = CPU_EXHAUSTED if text == "cpu exhausted" else from_sip_service("unavailable", text)
                raise _Over(f"not dialled: {text}", leave=None, error=error)
        asked_s = self._loop.time()
        try:
            await self._callee.join()
        except NotJoinedError as error:
            raise _Over(f"not dialled: {error}", leave=None, error=ROOM_GONE) from error
        if self._loop.time() - asked_s > JOIN_TIMEOUT_S:
            error = from_sip_service("unavailable", "joining the room timed out")
            raise _Over("not dialled: joined too late", leave=Leave.DROPPED, error=error)
        # A real INVITE takes long enough for everybody to have seen the participant before its answer comes.
        shown_by_s = self._loop.time() + _SHOWN_S
        while not await self._is_shown() and self._loop.time() < shown_by_s:
            await asyncio.sleep(_LOOK_S)
        if self._callee.gone.is_set():
            raise _Over("not dialled: removed", leave=None, error=ROOM_GONE)
        self.joined.set_result(self._info(self._callee.sid))

    async def _follow_script(self) -> None:
        self._ledger.note(self._number, "invite")
        self._invited_s = self._loop.time()
        for at_s, step in self._script.timeline():
            await self._pass_until(self._invited_s + at_s)
            await self._take(step)
        await self._pass_until(None)

    async def _take(self, step: Step) -> None:
        callee = self._callee
        match step:
            case Ring() | StartEarlyMedia():
                # Audio before the answer is dropped by the SIP service: the track stays silent.
                await callee.tell({CALL_STATUS: "ringing"})
                self._ledger.note(self._number, "ringing")
            case Answer():
                await self._answer()
            case Refuse():
                raise _Over(
                    f"refused {step.sip_code}",
                    leave=leave_of_refusal(step.sip_code, step.sip_reason),
                    error=refusal(step.sip_code, step.sip_reason, step.headers),
                )
            case PressDigit():
                await callee.press(step.digit)
            case HangUp():
                raise _Over("hung up by callee", leave=Leave.HANGUP, status="hangup")
            case LoseMedia():
                callee.lose_media()
                await self._pass_until(self._loop.time() + min(step.noticed_after_s, self._limits.media_s))
                raise _Over("media timeout", leave=Leave.DROPPED)
            case LoseLeg():
                raise _Over("lost", leave=Leave.DROPPED)
            case NotTaken():
                raise AssertionError("NotTaken can only be a script's first step")

    async def _answer(self) -> None:
        callee = self._callee
        self._ledger.note(self._number, "answered")
        self._answered_s = self._loop.time()
        callee.play(frames(self._script.audio, seed=self._script.name, sample_rate_hz=RATE_HZ))
        ids = {"sip.callIDFull": secrets.token_urlsafe(20), "sip.callTag": secrets.token_hex(5)}
        if self._dtmf:
            await callee.tell({CALL_STATUS: "automation", **ids})
            await asyncio.sleep(sum(_PAUSE_S if digit in "wW" else _DIGIT_S for digit in self._dtmf))
        await callee.tell({CALL_STATUS: "active", **ids})
        self._transcribing = asyncio.create_task(self._transcribe())
        callee.listen()
        self.answered.set_result(self._info(callee.sid))

    async def _transcribe(self) -> None:
        """What somebody who transcribes makes of the callee."""
        for words in self._script.words:
            await asyncio.sleep(max(0.0, self._answered_s + words.at_s - self._loop.time()))
            await self._callee.transcribe(words.text)

    async def _pass_until(self, at_s: float | None) -> None:
        """Let time pass until then (None: for ever), unless something ends the dial before."""
        limit_s = self._invited_s + (self._limits.duration_s if self.answered.done() else self._limits.ringing_s)
        end_s = limit_s if at_s is None else min(at_s, limit_s)
        watched = [asyncio.ensure_future(self._callee.gone.wait()), asyncio.ensure_future(self._stopped.wait())]
        try:
            await asyncio.wait(watched, timeout=max(0.0, end_s - self._loop.time()), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in watched:
                one.cancel()
        if self._callee.gone.is_set():
            raise _Over("removed", leave=None, error=SIP_REQUEST_TIMED_OUT)
        if self._stopped.is_set():
            raise _Over("shut down", leave=Leave.DROPPED, error=SHUTTING_DOWN)
        if at_s is None or at_s > limit_s:
            if self.answered.done():
                raise _Over("maximum duration", leave=Leave.HANGUP, status="hangup")
            raise _Over("rang out", leave=Leave.UNAVAILABLE, error=SIP_REQUEST_TIMED_OUT)

    async def _end(self, over: _Over) -> None:
        if self._transcribing is not None:
            self._transcribing.cancel()
        if over.status:
            await self._callee.tell({CALL_STATUS: over.status})
        await self._callee.leave(over.leave or Leave.HANGUP)
        self._ledger.note(
            self._number,
            "end",
            how=over.how,
            leave="" if over.leave is None else over.leave.name.lower(),
            heard_s=self._callee.heard_s,
            digits=self._callee.digits,
        )
        if over.error is not None:
            self._fail(over.error)

    def _fail(self, error: TwirpError) -> None:
        for waiting in (self.joined, self.answered):
            if not waiting.done():
                waiting.set_exception(error)
