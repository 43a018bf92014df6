"""What is heard in calls, as figures: counted under words of ours, however many calls there are."""

from __future__ import annotations

import pytest

from orchestrator.metrics import Metrics
from sip.events import Heard, ListeningLost, Moment
from sip.livekit.listening.limits import ListenerObserver
from sip.voicemail.events import Kind, Stage, Verdict
from tests.fixtures.heard import Line

LINE = Line(answer_s=100.0)


def figures(metrics: Metrics) -> dict[str, float]:
    """Every sample of ours by name and labels."""
    lines = metrics.exposition("text/plain")[0].decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line.startswith("orchestrator_"))
    }


def test_verdicts_are_counted_by_kind_stage_and_rule_and_timed_from_the_answer():
    metrics = Metrics()
    metrics.listening.count(LINE.verdict(4.2, Kind.VOICEMAIL, rule="beep"), late_s=0.02)
    seen = figures(metrics)
    assert seen['orchestrator_verdicts_total{kind="voicemail",rule="beep",stage="final"}'] == 1
    assert seen['orchestrator_verdict_seconds_sum{stage="final"}'] == pytest.approx(4.2)
    assert seen["orchestrator_heard_late_seconds_sum"] == pytest.approx(0.02)


def test_a_verdict_before_the_answer_has_no_time_since_it():
    metrics = Metrics()
    verdict = Verdict(stage=Stage.FINAL, kind=Kind.ANNOUNCEMENT, machine_probability=1.0, told_s=3.0, rule="sit")
    metrics.listening.count(Heard(at=Moment(95.0), what=verdict), late_s=0.0)
    assert figures(metrics)['orchestrator_verdict_seconds_count{stage="final"}'] == 0


def test_no_rule_makes_the_number_of_series_grow():
    metrics = Metrics()
    for rule in ("call 17", "+12125550100", "x" * 100, "beep;drop"):
        metrics.listening.count(LINE.verdict(4.0, Kind.MACHINE, rule=rule), late_s=0.0)
    assert figures(metrics)['orchestrator_verdicts_total{kind="machine",rule="other",stage="final"}'] == 4


def test_calls_without_a_listener_messages_and_listeners_are_counted():
    metrics = Metrics()
    metrics.listening.count(ListeningLost(at=Moment(1.0), why="it died"), late_s=0.0)
    metrics.listening.count(LINE.played(9.0, complete=False), late_s=0.0)
    observer: ListenerObserver = metrics.listening
    observer.listeners_changed(children=2, rooms=31)
    observer.listener_died()
    observer.listening_lost("full")
    seen = figures(metrics)
    assert seen["orchestrator_listening_lost_total"] == 1
    assert (seen['orchestrator_messages_total{complete="no"}'], seen['orchestrator_messages_total{complete="yes"}']) == (1, 0)
    assert (seen["orchestrator_listeners"], seen["orchestrator_rooms_listened"]) == (2, 31)
    assert seen["orchestrator_listener_deaths_total"] == 1
    assert seen['orchestrator_listening_failures_total{kind="full"}'] == 1
