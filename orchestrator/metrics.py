"""What is measured: every figure that this process exports, in a registry of its own.

Each method is named after what happened, and whoever it happened to calls it; nothing here blocks or raises. `Metrics` serves
as the `LoopWatch` of loopers and as the `Observer` of the LiveKit carrier.

Label values come from closed sets. What does not look like a word of ours (a number, an id) is counted as `other`, so that no
mistake elsewhere can make the number of series grow or show a phone number.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.records import Occupancy

_WORD = re.compile(r"[A-Za-z][A-Za-z_ -]{0,59}")

CLAIM_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
WAIT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0)
RING_BUCKETS_S = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 75.0)
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


def _word(value: str) -> str:
    return value if _WORD.fullmatch(value) else "other"


@dataclass(frozen=True, slots=True)
class LoopProgress:
    """How one loop fares."""

    last_end_s: float
    """`time.monotonic()` of the end of its last step, good or bad."""
    failures: int
    """Steps that failed since the last good one."""


class Metrics:
    """Every figure that this process exports."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._progress: dict[str, LoopProgress] = {}
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"orchestrator_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"orchestrator_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"orchestrator_{name}", text, buckets=buckets, registry=registry)

        self._calls = gauge("calls", "Calls that have not ended, by state, over all workers.", "state")
        self._live = gauge("calls_live", "Calls that this process conducts.")
        self._ended = counter("calls_ended", "Calls that ended here, by end reason.", "end_reason")
        self._requeued = counter(
            "calls_requeued", "Calls that went back to the queue unspent, by what they wait for.", "waiting_for"
        )
        self._recovered = counter("calls_recovered", "Calls of dead workers, by what became of them.", "how")
        self._orders = counter("orders", "Our own decisions to end a call.", "order")
        self._slots_used = gauge("slots_used", "Account slots in use, over all accounts and workers.")
        self._slots_free = gauge("slots_free", "Account slots that are free.")
        self._channels_used = gauge("channels_used", "Trunk channels in use, over all trunks and workers.")
        self._channels_free = gauge("channels_free", "Trunk channels that are free, of enabled trunks.")

        self._claim = histogram("claim_seconds", "How long a claim took.", CLAIM_BUCKETS_S)
        self._claimed = counter("calls_claimed", "Calls that this process claimed.")
        self._claims_lost = counter("claims_lost", "Claims that were found not to be ours any more.")
        self._enqueue_to_dial = histogram(
            "enqueue_to_dial_seconds", "From when a call was due to its dial request.", WAIT_BUCKETS_S
        )
        self._dial_to_ringing = histogram("dial_to_ringing_seconds", "From the dial request to the first ring.", RING_BUCKETS_S)
        self._dial_to_answer = histogram("dial_to_answer_seconds", "From the dial request to the answer.", RING_BUCKETS_S)

        self._carrier_errors = counter("carrier_errors", "What the carrier could not do.", "kind")
        self._looks = counter("carrier_looks", "Looks at single rooms.")
        self._webhooks = counter("webhooks", "LiveKit webhooks that came, by what became of them.", "result")
        self._database_errors = counter("database_errors", "Statements that failed since the database could not be used.")

        self._loop_steps = counter("loop_steps", "Steps of each loop.", "loop", "result")
        self._loop_success = gauge("loop_last_success_timestamp_seconds", "When each loop last succeeded, Unix time.", "loop")
        self._lag = histogram("event_loop_lag_seconds", "How late the event loop wakes a sleeper.", LAG_BUCKETS_S)

        # All reasons are there from the start: a rate over a series that begins with its first event misses that event.
        for reason in EndReason:
            self._ended.labels(reason.value)

    # -- calls

    def calls_by_state(self, counts: Mapping[State, int]) -> None:
        """So many calls hold a slot in each state, over all workers; states that are missing have none."""
        for state in State:
            if state.holds_a_slot:
                self._calls.labels(state.value).set(counts.get(state, 0))

    def live_calls(self, count: int) -> None:
        """So many calls are being conducted in this process."""
        self._live.set(count)

    def occupancy(self, occupancy: Occupancy) -> None:
        """How full everything is. More may be used than there are: limits that were lowered take effect as calls end."""
        self._calls.labels(State.READY.value).set(occupancy.ready)
        self._slots_used.set(occupancy.slots_used)
        self._slots_free.set(max(0, occupancy.slots_total - occupancy.slots_used))
        self._channels_used.set(occupancy.channels_used)
        self._channels_free.set(max(0, occupancy.channels_total - occupancy.channels_used))

    def claimed(self, *, calls: int, took_s: float) -> None:
        """A claim returned `calls` calls after `took_s`."""
        self._claim.observe(took_s)
        self._claimed.inc(calls)

    def claim_lost(self) -> None:
        """A conductor found that its claim is not ours any more."""
        self._claims_lost.inc()

    def requeued(self, waiting_for: str) -> None:
        """A claimed call went back to the queue, unspent."""
        self._requeued.labels(_word(waiting_for)).inc()

    def recovered(self, how: str) -> None:
        """A call of a dead worker was `requeued` or `ended`."""
        self._recovered.labels(_word(how)).inc()

    def dialled(self, *, after_s: float) -> None:
        """A request to dial was sent, `after_s` after the call was due."""
        self._enqueue_to_dial.observe(after_s)

    def dial_to_ringing(self, duration_s: float) -> None:
        """The first 18x came this long after the request."""
        self._dial_to_ringing.observe(duration_s)

    def dial_to_answer(self, duration_s: float) -> None:
        """The answer came this long after the request."""
        self._dial_to_answer.observe(duration_s)

    def ordered(self, order: str) -> None:
        """We decided to end a call ourselves."""
        self._orders.labels(_word(order)).inc()

    def call_ended(self, end_reason: str) -> None:
        """A call ended."""
        self._ended.labels(_word(end_reason)).inc()

    # -- what we depend on

    def carrier_error(self, kind: str) -> None:
        """The carrier could not do something; `kind` is from a closed set."""
        self._carrier_errors.labels(_word(kind)).inc()

    def looked(self, count: int) -> None:
        """So many looks at single rooms were made."""
        self._looks.inc(count)

    def webhook(self, outcome: str) -> None:
        """A webhook came, and this became of it."""
        self._webhooks.labels(_word(outcome)).inc()

    def database_error(self) -> None:
        """A statement failed since the database could not be used."""
        self._database_errors.inc()

    # -- ourselves

    def loop_succeeded(self, name: str) -> None:
        """A step of the loop `name` has just ended well."""
        self._progress[name] = LoopProgress(last_end_s=time.monotonic(), failures=0)
        self._loop_steps.labels(_word(name), "succeeded").inc()
        self._loop_success.labels(_word(name)).set_to_current_time()

    def loop_failed(self, name: str) -> None:
        """A step of the loop `name` has just failed."""
        before = self._progress.get(name)
        self._progress[name] = LoopProgress(last_end_s=time.monotonic(), failures=before.failures + 1 if before else 1)
        self._loop_steps.labels(_word(name), "failed").inc()

    def progress(self, name: str) -> LoopProgress | None:
        """How the loop `name` fares; None if it has not ended a step yet."""
        return self._progress.get(name)

    def event_loop_lag(self, lag_s: float) -> None:
        """The event loop woke a sleeper `lag_s` too late."""
        self._lag.observe(lag_s)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All figures as text, and its content type, as the client's `Accept` header wishes."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class LoopLag:
    """Measures how late the event loop wakes a sleeper: what every other timer and answer in this process waits too."""

    def __init__(self, *, metrics: Metrics, interval_s: float = 0.25) -> None:
        self._metrics = metrics
        self._interval_s = interval_s

    async def run(self) -> None:
        """Loop until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + self._interval_s
            await asyncio.sleep(self._interval_s)
            self._metrics.event_loop_lag(max(0.0, loop.time() - due_s))
