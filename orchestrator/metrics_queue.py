"""How the queue stands, as metrics: for each account, trunk and agent pool what runs, is ready, and waits for what.

Labels are names that operators gave, and words of ours; never a number or a call. Of accounts only those with the most work
are shown, so that their series do not grow without bound. Figures are replaced as a whole at each look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orchestrator.store.age import Snapshot
from orchestrator.store.queue_view import AccountQueue, Count, PoolQueue, SystemQueue, TrunkQueue
from orchestrator.store.records import WaitingFor

MOST_ACCOUNTS = 200
"""Accounts that have series of their own: those with the most work."""


class QueueMetrics(Collector):
    """What the last look at the queue found."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._families: tuple[GaugeMetricFamily, ...] = ()
        self._families = tuple(self._of_system(None)) + tuple(self._of_rows((), (), (), {}))
        self._snapshot = tuple(self._of_snapshot(None))
        registry.register(self)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """All families; without samples until the first look."""
        return (*self._families, *self._snapshot)

    def look(
        self,
        *,
        system: SystemQueue,
        accounts: Sequence[AccountQueue],
        trunks: Sequence[TrunkQueue],
        agent_pools: Sequence[PoolQueue],
        held: Mapping[WaitingFor, Count],
    ) -> None:
        """Replace all figures of the queue by what was just seen."""
        self._families = (*self._of_system(system), *self._of_rows(accounts, trunks, agent_pools, held))

    def snapshot(self, snapshot: Snapshot) -> None:
        """The oldest snapshot that was just seen."""
        self._snapshot = tuple(self._of_snapshot(snapshot))

    def _of_system(self, system: SystemQueue | None) -> Iterable[GaugeMetricFamily]:
        stopped = _gauge("dialling_stopped", "1 while the kill switch is on: `orchestrator stop`.")
        workers = _gauge("workers", "Workers that give signs of life.", "state")
        seats = _gauge("workers_seats", "Calls that all workers together may hold.")
        scheduled = _gauge("calls_scheduled", "Calls that wait for their time or for something else, counted up to 20,000.")
        if system is not None:
            stopped.add_metric([], float(system.stopped_at is not None))
            workers.add_metric(["taking_calls"], system.workers)
            workers.add_metric(["draining"], system.draining)
            seats.add_metric([], system.seats)
            scheduled.add_metric([], system.scheduled.calls)
        return (stopped, workers, seats, scheduled)

    def _of_rows(
        self,
        accounts: Sequence[AccountQueue],
        trunks: Sequence[TrunkQueue],
        agent_pools: Sequence[PoolQueue],
        held: Mapping[WaitingFor, Count],
    ) -> Iterable[GaugeMetricFamily]:
        waiting = _gauge("calls_waiting", "Calls that wait for more than their turn, each counted up to 20,000.", "waiting_for")
        for waiting_for in WaitingFor:
            if waiting_for is not WaitingFor.SLOT and held:
                waiting.add_metric([waiting_for.value], held[waiting_for].calls)
        running = _gauge("account_running", "Slots in use, of the 200 accounts with the most work.", "account")
        slots = _gauge("account_slots", "Slots of each of these accounts; 0 while it is paused.", "account")
        ready = _gauge("account_ready", "Ready calls of each of these accounts.", "account")
        account_waiting = _gauge(
            "account_waiting",
            "Waiting calls of each of these accounts, each counted up to 1,000.",
            "account",
            "waiting_for",
        )
        for account in accounts:
            running.add_metric([account.name], account.running)
            slots.add_metric([account.name], 0 if account.paused else account.max_concurrent)
            ready.add_metric([account.name], account.ready)
            for item in account.held:
                account_waiting.add_metric([account.name, item.waiting_for.value], item.count.calls)
        trunk_ready = _gauge("trunk_ready", "Ready calls that each trunk could take; one may count at several.", "trunk")
        for trunk in trunks:
            trunk_ready.add_metric([trunk.name], trunk.ready)
        pool_ready = _gauge(
            "agents_ready", "Ready calls of each agent pool that is configured or paused; else `other`.", "agent"
        )
        pool_running = _gauge("agents_running", "Calls that run with an agent of each of these pools.", "agent")
        absent = _gauge("agents_absent_calls", "Calls of each of these pools that wait because no agent came.", "agent")
        sums: dict[str, list[int]] = {}
        for pool in agent_pools:
            # Names of pools that nobody configured come with calls: enqueuers make them up, and they may hold anything.
            name = pool.name if pool.capacity is not None or pool.paused else "other"
            before = sums.setdefault(name, [0, 0, 0])
            sums[name] = [before[0] + pool.ready, before[1] + pool.running, before[2] + pool.absent.calls]
        for name, figures in sums.items():
            for family, figure in zip((pool_ready, pool_running, absent), figures, strict=True):
                family.add_metric([name], figure)
        return (waiting, running, slots, ready, account_waiting, trunk_ready, pool_ready, pool_running, absent)

    def _of_snapshot(self, snapshot: Snapshot | None) -> Iterable[GaugeMetricFamily]:
        age = _gauge("oldest_snapshot_age_seconds", "Age of the oldest snapshot that a session holds, as far as our role sees.")
        transactions = _gauge("oldest_snapshot_age_transactions", "The same in transactions; counts replication slots too.")
        if snapshot is not None:
            age.add_metric([], snapshot.age_s)
            transactions.add_metric([], snapshot.transactions)
        return (age, transactions)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"orchestrator_{name}", text, labels=labels)
