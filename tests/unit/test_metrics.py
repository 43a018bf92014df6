from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.lifecycle import State
from orchestrator.looper import LoopWatch
from orchestrator.metrics import LoopLag, Metrics
from orchestrator.outcomes import EndReason
from orchestrator.store.records import Occupancy
from sip.livekit.timings import Observer

NUMBER = "+14155552671"


def figures(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample, by name and label values."""
    text = metrics.exposition("")[0].decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("happen", "series", "value"),
    [
        (lambda m: m.call_ended("USER_BUSY"), ("orchestrator_calls_ended_total", "USER_BUSY"), 1),
        (lambda m: m.live_calls(17), ("orchestrator_calls_live",), 17),
        (lambda m: m.calls_by_state({State.RINGING: 3}), ("orchestrator_calls", "ringing"), 3),
        (lambda m: m.claimed(calls=20, took_s=0.004), ("orchestrator_calls_claimed_total",), 20),
        (lambda m: m.claimed(calls=20, took_s=0.004), ("orchestrator_claim_seconds_bucket", "0.005"), 1),
        (lambda m: m.claim_lost(), ("orchestrator_claims_lost_total",), 1),
        (lambda m: m.requeued("media_server"), ("orchestrator_calls_requeued_total", "media_server"), 1),
        (lambda m: m.recovered("ended"), ("orchestrator_calls_recovered_total", "ended"), 1),
        (lambda m: m.ordered("ring_timeout"), ("orchestrator_orders_total", "ring_timeout"), 1),
        (lambda m: m.dialled(after_s=0.02), ("orchestrator_enqueue_to_dial_seconds_bucket", "0.025"), 1),
        (lambda m: m.dial_to_ringing(2.5), ("orchestrator_dial_to_ringing_seconds_sum",), 2.5),
        (lambda m: m.dial_to_answer(9.0), ("orchestrator_dial_to_answer_seconds_count",), 1),
        (lambda m: m.carrier_error("unreachable"), ("orchestrator_carrier_errors_total", "unreachable"), 1),
        (lambda m: m.looked(5), ("orchestrator_carrier_looks_total",), 5),
        (lambda m: m.webhook("signature"), ("orchestrator_webhooks_total", "signature"), 1),
        (lambda m: m.database_error(), ("orchestrator_database_errors_total",), 1),
        (lambda m: m.loop_succeeded("claimer"), ("orchestrator_loop_steps_total", "claimer", "succeeded"), 1),
        (lambda m: m.loop_failed("claimer"), ("orchestrator_loop_steps_total", "claimer", "failed"), 1),
        (lambda m: m.event_loop_lag(0.3), ("orchestrator_event_loop_lag_seconds_sum",), 0.3),
    ],
)
def test_what_happened_is_counted(happen: Callable[[Metrics], None], series: tuple[str, ...], value: float) -> None:
    metrics = Metrics()
    before = figures(metrics).get(series, 0)
    happen(metrics)
    assert figures(metrics)[series] - before == value


def test_slots_and_channels_are_used_and_free_and_never_less_than_none_free() -> None:
    metrics = Metrics()
    metrics.occupancy(Occupancy(ready=9, slots_used=4, slots_total=10, channels_used=7, channels_total=5))
    found = figures(metrics)
    assert found["orchestrator_calls", "ready"] == 9
    assert (found["orchestrator_slots_used",], found["orchestrator_slots_free",]) == (4, 6)
    assert (found["orchestrator_channels_used",], found["orchestrator_channels_free",]) == (7, 0)


def test_a_state_without_calls_any_more_is_shown_with_none() -> None:
    metrics = Metrics()
    metrics.calls_by_state({State.RINGING: 3})
    metrics.calls_by_state({State.ACTIVE: 2})
    found = figures(metrics)
    assert (found["orchestrator_calls", "ringing"], found["orchestrator_calls", "active"]) == (0, 2)
    assert ("orchestrator_calls", "ended") not in found


def test_every_end_reason_is_there_from_the_start() -> None:
    found = figures(Metrics())
    assert {labels[0] for name, *labels in found if name == "orchestrator_calls_ended_total"} == {
        reason.value for reason in EndReason
    }


def test_every_end_reason_order_and_state_counts_under_its_own_name() -> None:
    metrics = Metrics()
    for reason in EndReason:
        metrics.call_ended(reason.value)
    assert all(figures(metrics)["orchestrator_calls_ended_total", reason.value] == 1 for reason in EndReason)


@pytest.mark.parametrize("value", [NUMBER, "call 4711", "8f14e45f-ceea", "", "x" * 80, "sip:bob@example.com", "a\nb"])
def test_ids_and_numbers_never_become_labels(value: str) -> None:
    metrics = Metrics()
    before = len(figures(metrics))
    metrics.call_ended(value)
    for record in (metrics.requeued, metrics.recovered, metrics.ordered, metrics.carrier_error, metrics.webhook):
        record(value)
    metrics.loop_succeeded(value)
    labels = {
        label
        for name, *labels in figures(metrics)
        for label in labels
        if name.startswith("orchestrator_") and "bucket" not in name
    }
    assert "other" in labels
    assert not [label for label in labels if re.search(r"[0-9@]", label)]
    assert len(figures(metrics)) - before < 20


def test_a_registry_of_its_own_is_shared_with_nobody() -> None:
    """Two daemons in one process, as in tests, do not meet."""
    first, second = Metrics(), Metrics()
    first.live_calls(1)
    assert figures(second)["orchestrator_calls_live",] == 0
    assert not [family for family in REGISTRY.collect() if family.name.startswith("orchestrator")]


def test_the_process_itself_is_measured() -> None:
    assert figures(Metrics())["process_resident_memory_bytes",] > 1_000_000


def test_the_text_is_what_the_asker_accepts() -> None:
    metrics = Metrics()
    assert metrics.exposition("")[1].startswith("text/plain")
    body, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_a_loops_progress_tells_failing_from_silent() -> None:
    metrics = Metrics()
    assert metrics.progress("claimer") is None
    metrics.loop_failed("claimer")
    metrics.loop_failed("claimer")
    progress = metrics.progress("claimer")
    assert progress is not None
    assert progress.failures == 2
    assert progress.last_end_s <= time.monotonic()
    metrics.loop_succeeded("claimer")
    progress = metrics.progress("claimer")
    assert progress is not None
    assert progress.failures == 0


@pytest.mark.parametrize("protocol", [LoopWatch, Observer])
def test_it_is_what_loopers_and_the_livekit_carrier_report_to(protocol: type) -> None:
    asked = [name for name in vars(protocol) if not name.startswith("_")]
    assert asked
    assert [name for name in asked if not callable(getattr(Metrics, name, None))] == []


async def test_a_blocked_event_loop_shows_as_lag() -> None:
    measured = asyncio.Event()
    lags_s: list[float] = []

    class Heard(Metrics):
        def event_loop_lag(self, lag_s: float) -> None:
            lags_s.append(lag_s)
            measured.set()

    task = asyncio.create_task(LoopLag(metrics=Heard(), interval_s=0.01).run())
    await measured.wait()
    lags_s.clear()
    measured.clear()
    time.sleep(0.2)  # the blocking under test
    await measured.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lags_s[0] > 0.1
