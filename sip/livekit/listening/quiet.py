"""Silence of the callee, idleness of both, and lost media: timers over what is heard. Pure; moments are clock seconds."""

from __future__ import annotations

from collections.abc import Iterator

from sip.events import Quiet
from sip.leg import ListeningPlan


class QuietWatch:
    """The timers of one call, since its answer at most."""

    def __init__(self, *, plan: ListeningPlan) -> None:
        self._plan = plan
        self._answered_s: float | None = None
        self._callee_s = self._agents_s = self._packets_s = 0.0  # when last heard; before the answer of no matter
        self._told: set[Quiet] = set()

    @property
    def wants_callee(self) -> bool:
        """Somebody wants to know whether the callee is heard."""
        plan = self._plan
        return any(limit_s is not None for limit_s in (plan.silence_warning_s, plan.silence_s, plan.idle_s))

    @property
    def wants_agents(self) -> bool:
        """Somebody wants to know whether agents are heard."""
        return self._plan.idle_s is not None

    @property
    def wants_packets(self) -> bool:
        """Somebody wants to know whether packets come."""
        return self._plan.media_lost_s is not None

    @property
    def wants_anything(self) -> bool:
        """There is a timer."""
        return self.wants_callee or self.wants_packets

    def answered(self, now_s: float) -> None:
        """The callee has answered; nothing counts from before."""
        if self._answered_s is None:
            self._answered_s = self._callee_s = self._agents_s = self._packets_s = now_s

    def callee_heard(self, now_s: float) -> None:
        """The callee is heard."""
        self._callee_s = max(self._callee_s, now_s)
        self._told.discard(Quiet.CALLEE_WARNING)

    def agents_heard(self, now_s: float) -> None:
        """An agent is heard."""
        self._agents_s = max(self._agents_s, now_s)

    def packets_came(self, now_s: float) -> None:
        """The callee's packets come."""
        self._packets_s = max(self._packets_s, now_s)

    def time_jumped(self, by_s: float) -> None:
        """Nobody listened for so long: that was not silence."""
        self._callee_s += by_s
        self._agents_s += by_s
        self._packets_s += by_s

    def look(self, now_s: float) -> Iterator[tuple[Quiet, float]]:
        """What has lasted too long, each told once (the warning: once for each silence)."""
        if self._answered_s is None:
            return
        plan = self._plan
        callee_s, agents_s = now_s - self._callee_s, now_s - self._agents_s
        for quiet, for_s, limit_s in (
            (Quiet.CALLEE_WARNING, callee_s, plan.silence_warning_s),
            (Quiet.CALLEE, callee_s, plan.silence_s),
            (Quiet.BOTH, min(callee_s, agents_s), plan.idle_s),
            (Quiet.MEDIA, now_s - self._packets_s, plan.media_lost_s),
        ):
            if limit_s is not None and for_s >= limit_s and quiet not in self._told:
                self._told.add(quiet)
                yield quiet, for_s
