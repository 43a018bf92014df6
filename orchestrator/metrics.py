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
from orchestrator.metrics_listening import ListeningMetrics
from orchestrator.metrics_queue import QueueMetrics
from orchestrator.outcomes import EndReason
from orchestrator.store.policy import Bottleneck, Bottlenecks, Circuit
from orchestrator.store.records import Occupancy

_WORD = re.compile(r"[A-Za-z][A-Za-z_ -]{0,59}")

CLAIM_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
WAIT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0)
RING_BUCKETS_S = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 75.0)
LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


_CIRCUIT_VALUES = {Circuit.CLOSED: 0, Circuit.HALF_OPEN: 1, Circuit.OPEN: 2}


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
        self._redialled = counter(
            "calls_redialled", "Calls that wait for their next attempt, by the redial class of the last one's end.", "redial"
        )
        self._gate_refusals = counter(
            "gate_refusals", "Calls that the last gate refused, already at the claim or at the intent to dial.", "gate", "at"
        )
        self._recovered = counter("calls_recovered", "Calls of dead workers, by what became of them.", "how")
        self._orders = counter("orders", "Our own decisions to end a call.", "order")
        self._slots_used = gauge("slots_used", "Account slots in use, over all accounts and workers.")
        self._slots_free = gauge("slots_free", "Account slots that are free.")
        self._channels_used = gauge("channels_used", "Trunk channels in use, over all trunks and workers.")
        self._channels_free = gauge("channels_free", "Trunk channels that are free, of enabled trunks.")

        circuit = "0 closed, 1 half open (one call at a time may try), 2 open"
        self._trunk_used = gauge("trunk_channels_used", "Channels of each trunk in use, over all workers.", "trunk")
        self._trunk_most = gauge("trunk_channels_limit", "Channels of each trunk; 0 while it is disabled.", "trunk")
        self._trunk_circuit = gauge("trunk_circuit", f"Circuit of each trunk: {circuit}.", "trunk")
        self._trunk_openings = counter("trunk_circuit_openings", "Times that the circuit of each trunk opened.", "trunk")
        self._agents_used = gauge("agents_used", "Calls that hold an agent of each pool with a capacity.", "agent")
        self._agents_most = gauge("agents_limit", "Capacity of each pool that has one; 0 while it is paused.", "agent")
        self._agents_absences = gauge("agents_absences", "Agents that did not come since one came.", "agent")
        self._agents_circuit = gauge("agents_circuit", f"Circuit of each agent pool: {circuit}.", "agent")
        self._agents_openings = counter("agents_circuit_openings", "Times that the circuit of each pool opened.", "agent")
        self._openings: dict[tuple[str, str], int] = {}

        self._claim = histogram("claim_seconds", "How long a claim took.", CLAIM_BUCKETS_S)
        self._claimed = counter("calls_claimed", "Calls that this process claimed.")
        self._claims_lost = counter("claims_lost", "Claims that were found not to be ours any more.")
        self._enqueue_to_dial = histogram(
            "enqueue_to_dial_seconds", "From when a call was due to its dial request.", WAIT_BUCKETS_S
        )
        self._dial_to_ringing = histogram("dial_to_ringing_seconds", "From the dial request to the first ring.", RING_BUCKETS_S)
        self._dial_to_answer = histogram("dial_to_answer_seconds", "From the dial request to the answer.", RING_BUCKETS_S)

        self._leader = gauge("leader", "1 on the worker that sweeps, compares counters and ages data, 0 on the others.")
        self._held = gauge("dialling_held", "1 while dialling is held after a restore, until `orchestrator confirm-restore`.")
        self._counters_repaired = counter("counters_repaired", "Counters that were wrong and were put right; stays 0.", "kind")
        self._rooms_swept = counter("rooms_swept", "Rooms without a live call that were ended.")
        self._sweep_stopped = gauge("sweep_stopped_rooms", "Rooms that a sweep found and did not end: unusually many; else 0.")

        self._carrier_errors = counter("carrier_errors", "What the carrier could not do.", "kind")
        self._looks = counter("carrier_looks", "Looks at single rooms.")
        self._webhooks = counter("webhooks", "LiveKit webhooks that came, by what became of them.", "result")
        self._database_errors = counter("database_errors", "Statements that failed since the database could not be used.")
        self._writes_refused = counter("writes_refused", "What happened to a call and the database refused to note; stays 0.")

        self._pruned = counter("pruned", "Rows that were removed since they were old.", "what")
        self.queue = QueueMetrics(registry=registry)
        """How the queue stands; a collector of its own, since its figures are replaced as a whole."""
        self.listening = ListeningMetrics(registry=registry)
        """What is heard in calls."""

        self._loop_steps = counter("loop_steps", "Steps of each loop.", "loop", "result")
        self._loop_success = gauge("loop_last_success_timestamp_seconds", "When each loop last succeeded, Unix time.", "loop")
        self._lag = histogram("event_loop_lag_seconds", "How late the event loop wakes a sleeper.", LAG_BUCKETS_S)

        # All reasons are there from the start: a rate over a series that begins with its first event misses that event.
        for reason in EndReason:
            self._ended.labels(reason.value)
        for kind in ("inflight", "inbound", "lanes", "agents", "channels"):
            self._counters_repaired.labels(kind)

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

    def bottlenecks(self, bottlenecks: Bottlenecks) -> None:
        """How full each trunk and each agent pool is that operators configured; what is gone is no longer shown.

        Openings are counted from the first look of this process on.
        """
        for gauge in (self._trunk_used, self._trunk_most, self._trunk_circuit):
            gauge.clear()
        for gauge in (self._agents_used, self._agents_most, self._agents_absences, self._agents_circuit):
            gauge.clear()
        for trunk in bottlenecks.trunks:
            self._trunk_used.labels(trunk.name).set(trunk.used)
            self._trunk_most.labels(trunk.name).set(trunk.most or 0)
            self._trunk_circuit.labels(trunk.name).set(_CIRCUIT_VALUES[trunk.circuit])
            self._count_openings(self._trunk_openings, "trunk", trunk, label=trunk.name)
        for pool in bottlenecks.agent_pools:
            label = pool.name or "*"
            if pool.most is not None:
                self._agents_used.labels(label).set(pool.used)
                self._agents_most.labels(label).set(pool.most)
            self._agents_absences.labels(label).set(pool.absences)
            self._agents_circuit.labels(label).set(_CIRCUIT_VALUES[pool.circuit])
            self._count_openings(self._agents_openings, "agents", pool, label=label)

    def _count_openings(self, counter: Counter, kind: str, bottleneck: Bottleneck, *, label: str) -> None:
        before = self._openings.get((kind, bottleneck.name), bottleneck.openings)
        self._openings[kind, bottleneck.name] = bottleneck.openings
        counter.labels(label).inc(max(0, bottleneck.openings - before))

    def claimed(self, *, calls: int, took_s: float) -> None:
        """A claim returned `calls` calls after `took_s`."""
        if calls:
            # While there are calls a step of the claimer goes on; each claim is progress.
            self._progress["claimer"] = LoopProgress(last_end_s=time.monotonic(), failures=0)
        self._claim.observe(took_s)
        self._claimed.inc(calls)

    def claim_lost(self) -> None:
        """A conductor found that its claim is not ours any more."""
        self._claims_lost.inc()

    def requeued(self, waiting_for: str) -> None:
        """A claimed call went back to the queue, unspent."""
        self._requeued.labels(_word(waiting_for)).inc()

    def redialled(self, redial: str) -> None:
        """An attempt ended and another one follows."""
        self._redialled.labels(_word(redial)).inc()

    def gate_refused(self, gate: str, *, at: str) -> None:
        """The last gate refused a dial, `at` the `claim` or the `intent`."""
        self._gate_refusals.labels(_word(gate), _word(at)).inc()

    def recovered(self, how: str) -> None:
        """A call of a dead worker was `requeued`, `adopted` with its leg alive, or `ended` without."""
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

    # -- many workers

    def leads(self, leads: bool) -> None:
        """Whether this worker does what must not be done twice."""
        self._leader.set(1 if leads else 0)

    def dialling_held(self, held: bool) -> None:
        """Whether dialling waits for an operator's word after a restore."""
        self._held.set(1 if held else 0)

    def counters_repaired(self, kind: str, count: int) -> None:
        """So many counters were wrong: a defect, or rows were changed by hand."""
        self._counters_repaired.labels(_word(kind)).inc(count)

    def room_swept(self) -> None:
        """A room without a live call was ended."""
        self._rooms_swept.inc()

    def sweep_stopped(self, rooms: int) -> None:
        """A sweep found so many rooms to end that it waits for an operator; 0: it does not."""
        self._sweep_stopped.set(rooms)

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

    def write_refused(self) -> None:
        """The database refused to write what happened to a call: a defect."""
        self._writes_refused.inc()

    def pruned(self, what: str, count: int) -> None:
        """Retention removed so many rows."""
        self._pruned.labels(_word(what)).inc(count)

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
