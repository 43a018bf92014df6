"""One callee's audio as it comes in: the detector that hears it, gaps, the answer, and when all has been said.

Stream time runs with the clock: what was lost on the way, or while the track was away, is told to the detector as missed. A
jump so long that a greeting may have passed in it ends detection, as does an answer that was not heard from its beginning: a
greeting half heard must not produce a verdict. Pure: takes samples and moments (clock seconds), sends nothing.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from sip.leg import ListeningPlan
from sip.voicemail.events import DetectorEvent, DetectorSettings, PhraseHeard, Stage, Verdict, WordsHeard

RATE_HZ = 8_000
GAP_S = 0.3
"""A stream that has been this far behind the clock for a whole second has lost so much; less is jitter."""
STEADY_S = 1.0
STARVED_S = 1.0
"""Without frames for so long, time goes on without them."""
JUMP_S = 3.0
"""What is longer is no gap that could be bridged before the final verdict."""
LATE_S = 1.0
"""The first frame may come so long after the answer."""

log = structlog.get_logger(__name__)


class Detector(Protocol):
    """What is needed of `sip.voicemail.detector.CallDetector`."""

    @property
    def now_s(self) -> float:
        """The end of what was fed."""
        ...

    @property
    def is_done(self) -> bool:
        """Nothing more will be told."""
        ...

    def feed(self, samples: Any) -> list[DetectorEvent]:
        """Take mono int16 samples at RATE_HZ."""
        ...

    def miss(self, duration_s: float) -> list[DetectorEvent]:
        """So much was lost."""
        ...

    def answer(self) -> list[DetectorEvent]:
        """The callee answered at the end of what was fed."""
        ...

    def hear_words(self, text: str, *, language: str | None, final: bool) -> list[DetectorEvent]:
        """Take a piece of a transcript."""
        ...

    def finish(self) -> list[DetectorEvent]:
        """No more audio."""
        ...


class Audience(Protocol):
    """Who is told what was heard."""

    def told(self, what: DetectorEvent, answered_s: float | None) -> None:
        """A detector tells something."""
        ...

    def detection_lost(self, why: str) -> None:
        """No verdict is to be expected."""
        ...

    def detection_over(self) -> None:
        """All has been said."""
        ...


class Reception:
    """Hears one callee. Knows neither rooms nor tracks."""

    def __init__(
        self,
        *,
        plan: ListeningPlan,
        detect: bool,
        audience: Audience,
        new_detector: Callable[[DetectorSettings], Detector],
    ) -> None:
        """`detect` False: no verdicts are told, only tones and speech."""
        self._settings = plan.detector
        self._verdicts = detect
        self._audience = audience
        self._detector: Detector | None = None
        self._new_detector = new_detector
        self._began_s: float | None = None  # clock, at stream time 0
        self._frame_s: float | None = None  # clock, the last frame's
        self._answered_s: float | None = None  # clock
        self._answered_stream_s: float | None = None
        self._over_stream_s: float | None = None if detect else plan.detector.beep_wait_s
        self._lags: collections.deque[tuple[float, float]] = collections.deque()  # (clock, how far behind it)
        self._is_decided = False  # the final verdict has been given
        self.is_over = False
        """Nothing more will be told."""
        self._attempt(self._begin_detector)

    @property
    def has_heard(self) -> bool:
        """A frame has come."""
        return self._frame_s is not None

    @property
    def gives_verdicts(self) -> bool:
        """Verdicts are to be expected."""
        return self._verdicts and not self.is_over

    def take(self, samples: Any, now_s: float) -> None:
        """Frames have come; `samples`: mono int16 at RATE_HZ, the last of them just now."""
        if self.is_over or self._detector is None:
            return
        if self._frame_s is None and self._answered_s is not None and now_s - self._answered_s > LATE_S:
            self.lose(f"the first audio came {now_s - self._answered_s:.1f} s after the answer")
        if self._began_s is None:
            self._began_s = now_s - len(samples) / RATE_HZ
        self._frame_s = now_s
        detector = self._detector
        self._attempt(lambda: detector.feed(samples))
        self._follow_clock(detector.now_s, now_s)

    def pass_time(self, now_s: float) -> None:
        """Nothing has to have happened."""
        if self.is_over or self._detector is None or self._began_s is None:
            return
        if now_s - (self._frame_s or self._began_s) > STARVED_S:
            self._miss(now_s - self._began_s - self._detector.now_s)

    def answer(self, now_s: float) -> None:
        """The callee has answered."""
        if self.is_over or self._answered_s is not None or self._detector is None:
            return
        if self._began_s is None:
            self._began_s = now_s
        self.pass_time(now_s)
        self._answered_s, self._answered_stream_s = now_s, self._detector.now_s
        self._attempt(self._detector.answer)

    def hear_words(self, text: str, *, language: str | None, final: bool) -> None:
        """Somebody transcribes the callee."""
        detector = self._detector
        if not self.is_over and detector is not None:
            self._attempt(lambda: detector.hear_words(text, language=language, final=final))

    def end(self) -> None:
        """The callee is gone."""
        detector = self._detector
        if not self.is_over and detector is not None:
            if self._answered_s is not None:
                self._attempt(detector.finish)
            self._finish()

    def lose(self, why: str) -> None:
        """No verdict can be trusted from now on; tones and speech are told on."""
        if self.is_over or not self._verdicts:
            return
        self._verdicts = False
        self._audience.detection_lost(why)
        if self._over_stream_s is None:
            self._over_stream_s = self._settings.beep_wait_s + (0.0 if self._detector is None else self._detector.now_s)

    def _begin_detector(self) -> Sequence[DetectorEvent]:
        self._detector = self._new_detector(self._settings)
        return ()

    def _follow_clock(self, stream_s: float, now_s: float) -> None:
        """Tell the detector of what got lost on the way."""
        if self._began_s is None:
            return
        lag_s = now_s - self._began_s - stream_s
        if lag_s < -GAP_S:  # what was taken for lost came after all
            self._began_s = now_s - stream_s
            self._lags.clear()
            return
        self._lags.append((now_s, lag_s))
        while now_s - self._lags[0][0] > STEADY_S:
            self._lags.popleft()
        if now_s - self._lags[0][0] < 0.9 * STEADY_S:  # frames that had to wait come all at once
            return
        least_s = min(lag for _, lag in self._lags)
        if least_s > GAP_S:
            self._miss(least_s)

    def _miss(self, gap_s: float) -> None:
        self._lags.clear()
        if gap_s <= 0 or self._detector is None or self._began_s is None:
            return
        if gap_s > JUMP_S:
            if self._answered_s is not None and not self._is_decided:
                self.lose(f"nothing was heard for {gap_s:.1f} s at once")
            self._began_s += gap_s  # a detector need not live through hours
            return
        detector = self._detector
        self._attempt(lambda: detector.miss(gap_s))

    def _attempt(self, do: Callable[[], Sequence[DetectorEvent]]) -> None:
        try:
            events = do()
        except Exception as error:
            # A detector that fails ends its own call's detection only.
            log.exception("detector_failed")
            self.lose(f"the detector failed: {type(error).__name__}: {error}")
            self._finish()
            return
        for event in events:
            self._pass_on(event)
        detector = self._detector
        if detector is None:
            return
        if detector.is_done or (self._over_stream_s is not None and detector.now_s >= self._over_stream_s):
            self._finish()

    def _pass_on(self, event: DetectorEvent) -> None:
        if self._verdicts or not isinstance(event, Verdict | PhraseHeard | WordsHeard):
            self._audience.told(event, self._answered_stream_s)
        if isinstance(event, Verdict) and event.stage is not Stage.FIRST:
            self._is_decided = True

    def _finish(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._detector = None
            self._audience.detection_over()
