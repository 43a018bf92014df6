"""What listeners hear, as metrics: verdicts, how soon they come, and calls that nobody listens to.

Labels come from closed sets: kinds and stages of `sip.voicemail.events`, and rules, which are words of the detectors.
"""

from __future__ import annotations

import re
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sip.events import Heard, ListeningLost, ListeningStarted, MessagePlayed, WentQuiet
from sip.voicemail.events import Stage, Verdict

VERDICT_BUCKETS_S = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 15.0, 30.0, 60.0)
LATE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0)
_RULE = re.compile(r"[a-z][a-z_]{0,39}")


class ListeningMetrics:
    """What is heard in the calls of this process. The `ListenerObserver` of LiveKit's listeners."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._verdicts = Counter(
            "orchestrator_verdicts",
            "Verdicts on who answered, by kind, stage and the rule that decided.",
            ("kind", "stage", "rule"),
            registry=registry,
        )
        self._verdict_s = Histogram(
            "orchestrator_verdict_seconds",
            "From the answer to a verdict, by stage.",
            ("stage",),
            buckets=VERDICT_BUCKETS_S,
            registry=registry,
        )
        self._late_s = Histogram(
            "orchestrator_heard_late_seconds",
            "From when a listener told something of a call until this process took it in.",
            buckets=LATE_BUCKETS_S,
            registry=registry,
        )
        self._lost = Counter("orchestrator_listening_lost", "Calls that went on without detection.", registry=registry)
        self._failures = Counter(
            "orchestrator_listening_failures", "Why listeners could not hear a call, by kind.", ("kind",), registry=registry
        )
        self._messages = Counter(
            "orchestrator_messages",
            "Recorded messages, by whether they were played to their end.",
            ("complete",),
            registry=registry,
        )
        self._children = Gauge("orchestrator_listeners", "Child processes that listen.", registry=registry)
        self._rooms = Gauge("orchestrator_rooms_listened", "Rooms that are listened in.", registry=registry)
        self._deaths = Counter(
            "orchestrator_listener_deaths", "Child processes that died while they listened.", registry=registry
        )
        for stage in Stage:
            self._verdict_s.labels(stage.value)
        for complete in ("yes", "no"):
            self._messages.labels(complete)

    def count(self, event: ListeningStarted | ListeningLost | Heard | WentQuiet | MessagePlayed, *, late_s: float) -> None:
        """An event came, `late_s` after it happened."""
        match event:
            case Heard(what=what):
                self._late_s.observe(max(0.0, late_s))
                if isinstance(what, Verdict):
                    self._count_verdict(what, answered_s=event.answered_s)
            case ListeningLost():
                self._lost.inc()
            case MessagePlayed():
                self._messages.labels("yes" if event.complete else "no").inc()
            case ListeningStarted() | WentQuiet():
                pass
            case _:
                assert_never(event)

    def _count_verdict(self, verdict: Verdict, *, answered_s: float | None) -> None:
        rule = verdict.rule if _RULE.fullmatch(verdict.rule) else "other"
        self._verdicts.labels(verdict.kind.value, verdict.stage.value, rule).inc()
        if answered_s is not None:
            self._verdict_s.labels(verdict.stage.value).observe(max(0.0, verdict.told_s - answered_s))

    def listeners_changed(self, *, children: int, rooms: int) -> None:
        """So many child processes listen, in so many rooms."""
        self._children.set(children)
        self._rooms.set(rooms)

    def listening_lost(self, kind: str) -> None:
        """No listener could hear a call; `kind` is from a closed set."""
        self._failures.labels(kind if _RULE.fullmatch(kind) else "other").inc()

    def listener_died(self) -> None:
        """A child process died while it listened."""
        self._deaths.inc()
