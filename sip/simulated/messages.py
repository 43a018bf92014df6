"""Messages that are left on a simulated line: nobody hears them, but they take their time."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import MessagePlayed, Moment, RoomEvent
from sip.simulated.agenda import Agenda


def duration_s(path: str) -> float:
    """How long an audio file lasts. Raises CarrierUnavailable for one that could not be played."""
    try:
        if Path(path).suffix.lower() == ".wav":
            try:
                with wave.open(path, "rb") as file:
                    lasts_s = file.getnframes() / file.getframerate()
            except wave.Error:  # compressed
                lasts_s = _duration_by_library_s(path)
        else:
            lasts_s = _duration_by_library_s(path)
    except (OSError, EOFError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise CarrierUnavailable(f"the message cannot be played: {error}") from None
    if not lasts_s > 0:
        raise CarrierUnavailable("the message cannot be played: there is no audio in the file")
    return lasts_s


def _duration_by_library_s(path: str) -> float:
    import soundfile  # noqa: PLC0415  whoever leaves no such message does not need it

    return float(soundfile.info(path).duration)  # its errors are RuntimeErrors


class SimulatedPlayer:
    """Plays one message at a time into one room."""

    def __init__(self, *, clock: Clock, agenda: Agenda, tell: Callable[[RoomEvent], None]) -> None:
        self._clock = clock
        self._agenda = agenda
        self._tell = tell
        self._began_s: float | None = None

    def play(self, path: str) -> None:
        """Play it. Raises CarrierUnavailable."""
        if self._began_s is not None:
            raise CarrierUnavailable("a message is being played already")
        lasts_s = duration_s(path)
        began_s = self._began_s = self._clock.now_s()

        def end(at_s: float) -> None:
            if self._began_s == began_s:
                self._began_s = None
                self._tell(MessagePlayed(at=Moment(at_s), complete=True, played_s=lasts_s))

        self._agenda.at(began_s + lasts_s, end)

    def stop(self) -> None:
        """Play no further; nothing if nothing plays."""
        if self._began_s is not None:
            now_s = self._clock.now_s()
            played_s, self._began_s = now_s - self._began_s, None
            self._tell(MessagePlayed(at=Moment(now_s), complete=False, played_s=played_s, why="stopped"))
