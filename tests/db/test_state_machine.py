"""Whatever is done, in whatever order, by however many workers that die at any moment: the invariants hold after each step.

Hypothesis draws the steps; all of them are operations of the store on a real database. Time does not pass by itself: a step
moves the database's moments into the past instead. What failed is printed as the shortest program of steps that still fails.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from orchestrator.errors import DestinationForbidden
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.ends import EndsStore
from orchestrator.store.gate import GateStore
from orchestrator.store.placements import DueCall, Placement
from orchestrator.store.policy import TrunkChange
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import (
    Aftermath,
    CancelResult,
    Claim,
    ClaimedCall,
    DialForbidden,
    DialGranted,
    Gate,
    Outcome,
    TrunkVerdict,
    WaitingFor,
)
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.switches import SwitchStore
from orchestrator.store.upkeep import UpkeepStore
from sip.events import Dialled
from tests.db.invariants import INVARIANTS
from tests.db.office import Office
from tests.fixtures.database import EMBEDDED, PostgresServers

T = TypeVar("T")

ACCOUNTS = ("acme", "globex")
NUMBERS = tuple(f"+1212555010{digit}" for digit in range(4))
WORKERS = 3
CHANNELS = 4
LEASE_S = 3600.0

HUNG_UP = Outcome(
    state=State.ENDED, reason=EndReason.USER_HUNG_UP_IN_CALL, dialled=Dialled.YES, answered_by=AnsweredBy.HUMAN, talk_ms=1000
)
MACHINE = Outcome(
    state=State.ENDED, reason=EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED, dialled=Dialled.YES, answered_by=AnsweredBy.MACHINE
)
BUSY = Outcome(state=State.NOT_CONNECTED, reason=EndReason.USER_BUSY, dialled=Dialled.YES, sip_code=486)
LOST = Outcome(state=State.NOT_CONNECTED, reason=EndReason.WORKER_LOST, dialled=Dialled.UNKNOWN)
WRONG = Outcome(state=State.NOT_CONNECTED, reason=EndReason.SIP_FAILED_WRONG_NUMBER, dialled=Dialled.YES, sip_code=404)
STEPS = ("on", "on", "on", "on", "answer", "finish", "requeue")
"""What a worker does with a call; mostly what follows from where the call is."""

FORBIDS = (
    "stopped", "held", "canceled", "expired", "account_paused", "trunk_disabled", "trunk_circuit", "agents_paused",
    "do_not_call", "calling_window", "number_busy", "number_gap", "number_cap", "caller_id_cap",
)  # fmt: skip
"""Gates of which the test knows for itself whether they are shut, in the order in which they forbid."""

MOMENTS = {
    "calls": "run_at expires_at created_at window_from window_until claimed_at dialed_at ringing_at answered_at",
    "dials": "intent_at dial_at",
    "trunk_channels": "circuit_until circuit_opened_at probe_until",
    "agent_pools": "circuit_until circuit_opened_at probe_until",
    "trunk_health": "good_at answered_at",
    "trunk_failures": "at",
    "do_not_call": "expires_at",
}
"""What time passing means: these move into the past."""


ACTIONS: Mapping[str, tuple[int, Mapping[str, st.SearchStrategy[Any]]]] = {
    "enqueue": (
        2,
        {
            "account": st.sampled_from(ACCOUNTS),
            "to": st.sampled_from(NUMBERS),
            "priority": st.integers(-1, 2),
            "n": st.integers(1, 3),
            "staged": st.booleans(),
        },
    ),
    "claim": (3, {"worker": st.integers(0, WORKERS - 1), "limit": st.integers(1, 4)}),
    "conduct": (
        10,
        {
            "which": st.integers(0, 20),
            "steps": st.lists(st.sampled_from(STEPS), min_size=1, max_size=4),
            "worker": st.integers(0, WORKERS - 1),
            "redial_s": st.sampled_from((None, 0.0, 60.0)),
            "verdict": st.sampled_from((TrunkVerdict.NOTHING, TrunkVerdict.GOOD, TrunkVerdict.TRUNK, TrunkVerdict.NUMBER)),
            "suppress_s": st.sampled_from((None, 300.0)),
        },
    ),
    "dial_again": (
        2,
        {
            "account": st.sampled_from(ACCOUNTS),
            "to": st.sampled_from(NUMBERS),
            "worker": st.integers(0, WORKERS - 1),
            "times": st.integers(2, 4),
            "minutes": st.sampled_from((1, 6, 20)),
            "lost": st.booleans(),
        },
    ),
    "write": (2, {"which": st.integers(0, 1000), "step": st.sampled_from(("dial", "ring", "answer", "finish", "requeue"))}),
    "cancel": (1, {"which": st.integers(0, 1000)}),
    "switch_off": (
        1,
        {
            "what": st.sampled_from(("pause", "kill switch", "hold", "trunk", "circuit", "agents", "list", "hours")),
            "account": st.sampled_from(ACCOUNTS),
            "to": st.sampled_from(NUMBERS),
        },
    ),
    "switch_all_on": (2, {}),
    "limit": (
        2,
        {
            "what": st.sampled_from(("account", "channels", "agents", "spacing", "caller id")),
            "account": st.sampled_from(ACCOUNTS),
            "limit": st.integers(2, 5),
            "reserved": st.sampled_from((0, 0, 1)),
            "capacity": st.sampled_from((None, 1, 3)),
            "gap_min": st.sampled_from((0, 5)),
        },
    ),
    "disturb": (
        4,
        {
            "what": st.sampled_from(
                (
                    *("time passes", "time passes", "expire", "windows close", "windows end"),
                    *("crash", "crash", "restart", "beat", "forget"),
                )
            ),
            "minutes": st.sampled_from((1, 10, 40, 70, 1500)),
            "worker": st.integers(0, WORKERS - 1),
        },
    ),
    "recover": (3, {"worker": st.integers(0, WORKERS - 1)}),
}
"""What can be done, how often, and with which arguments. One rule draws among them: of many rules hypothesis leaves out most in
each of its programs, and without claims, dials and deaths together nothing happens."""


def drawn(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(dict(ACTIONS[name][1])))


ANY_ACTION = st.sampled_from([name for name, (weight, _) in ACTIONS.items() for _ in range(weight)]).flatmap(drawn)


@dataclass(slots=True)
class Held:
    """A claim that some worker believes to have."""

    call: ClaimedCall
    worker: int


class Hours:
    """Windows of an hour that open now, or in half an hour for the numbers that are closed."""

    def __init__(self) -> None:
        self.closed: set[str] = set()

    def place(self, due: Sequence[DueCall]) -> list[Placement]:
        return [self._place(call) for call in due]

    def _place(self, call: DueCall) -> Placement:
        known = call.placement
        if known is not None and known.hours_version == call.account_version:
            assert known.window_from is not None
            assert known.window_until is not None
            if known.window_from <= call.asked_at < known.window_until:
                return known
        opens = call.asked_at + timedelta(minutes=30 if call.to in self.closed else -1)
        return Placement(
            call_id=call.call_id,
            window_from=opens,
            window_until=opens + timedelta(hours=1),
            hours_version=call.account_version,
            time_zone="UTC",
        )


class Queue(RuleBasedStateMachine):
    """The queue under everything that can be done to it."""

    runner: asyncio.Runner
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[CallId] = []
        self.hours = Hours()
        self.conducts: list[set[tuple[CallId, int]]] = [set() for _ in range(WORKERS)]
        """The claims that each worker believes to have a conductor for."""
        self.held: list[Held] = []
        self.shown: Counter[date] = Counter()
        """Dials of a day with the one caller id while it had a cap: only these are counted."""
        self.silent: set[int] = set()
        """Workers that have not given a sign of life for longer than the lease."""

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        self.do(self._open())

    async def _open(self) -> None:
        self.database = Database(self.url, min_size=1, max_size=2)
        await self.database.open()
        self.connection = await asyncpg.connect(self.url)
        await self.connection.execute(
            """TRUNCATE calls, attempts, dials, call_events, lanes, routes, agent_pools, accounts, account_slots, trunks,
                        trunk_channels, trunk_groups, trunk_group_members, trunk_health, trunk_failures, workers, leases,
                        do_not_call, caller_id_days, system_events RESTART IDENTITY CASCADE"""
        )
        await self.connection.execute("UPDATE switches SET stopped_at = NULL, stopped_why = '', held_at = NULL, held_why = ''")
        self.office = await Office.furnish(self.database)
        self.office.placer = self.hours
        await self.office.change_account(
            "acme", max_concurrent=3, number_gap_s=300.0, number_most_dials=2, number_window_s=3600.0
        )
        await self.office.open_account("globex", max_concurrent=3, weight=2.0)
        await self.office.trunks.update("main", TrunkChange(max_channels=CHANNELS, caller_id_cap=6))
        self.queues = [self.office.queue] + [await self.office.another_worker() for _ in range(WORKERS - 1)]
        self.recoveries = [self._recovery_of(queue) for queue in self.queues]
        self.upkeep, self.cluster = UpkeepStore(database=self.database), ClusterStore(database=self.database)
        self.gate, self.ends = GateStore(database=self.database), EndsStore(database=self.database)
        self.switches, self.agents = SwitchStore(database=self.database), AgentPoolStore(database=self.database)
        for account in ACCOUNTS:
            for to in NUMBERS:
                self.calls += await self.office.ready(1, account=account, to=to)

    def _recovery_of(self, queue: QueueStore) -> RecoveryStore:
        return RecoveryStore(database=self.database, worker_id=queue._worker_id)

    def teardown(self) -> None:
        async def close() -> None:
            await self.connection.close()
            await self.database.close()

        if hasattr(self, "connection"):
            self.do(close())

    @rule(action=ANY_ACTION)
    def act(self, action: tuple[str, dict[str, Any]]) -> None:
        name, arguments = action
        getattr(self, name)(**arguments)

    # -- calls

    def enqueue(self, account: str, to: str, priority: int, n: int, staged: bool) -> None:
        listed = self.do(self._is_listed(account, to))
        try:
            self.calls += self.do(self.office.enqueue(n, account=account, to=to, priority=priority))
        except DestinationForbidden:
            assert listed
        else:
            assert not listed
        if staged:
            self.do(self.office.stage())

    async def _is_listed(self, account: str, to: str) -> bool:
        return bool(
            await self.connection.fetchval("SELECT is_listed((SELECT id FROM accounts WHERE name = $1), $2)", account, to)
        )

    def claim(self, worker: int, limit: int) -> None:
        self._hold(self.do(self._claim(worker, limit)), worker)

    def _hold(self, calls: list[ClaimedCall], worker: int) -> None:
        self.conducts[worker] |= {(call.call_id, call.epoch) for call in calls}
        self.held += [Held(call=call, worker=worker) for call in calls]

    def _conducted(self, held: Held) -> bool:
        return (held.call.call_id, held.call.epoch) in self.conducts[held.worker]

    async def _claim(self, worker: int, limit: int) -> list[ClaimedCall]:
        """Claim, and see that nothing that has a limit was raised above the limit in force."""
        before = await self._used()
        claimed = await self.queues[worker].claim_calls(limit)
        if claimed:
            switches = await self.switches.get()
            assert (switches.stopped_at, switches.held_at) == (None, None), "claimed although everything is stopped"
        for (kind, name), (used, most, most_plain) in (await self._used()).items():
            if used > before[kind, name][0]:
                assert used <= most, f"{kind} {name} has {used} of {most}"
                if kind == "account" and await self._has_plain(name, claimed):
                    assert used <= most_plain, f"{name} has {used} of {most_plain} that need not be urgent"
        return claimed

    async def _used(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """By kind and name: how much is used, of how much, and of how much by calls that are not urgent."""
        rows = await self.connection.fetch(
            """SELECT 'account' AS kind, a.name, s.inflight AS used, s.max_concurrent AS most,
                      s.max_concurrent - s.reserved AS most_plain
                 FROM accounts a JOIN account_slots s ON s.account_id = a.id
                UNION ALL
               SELECT 'trunk', t.name, c.channels, c.max_channels, 0 FROM trunks t JOIN trunk_channels c ON c.trunk_id = t.id
                UNION ALL
               SELECT 'agents', name, inflight, coalesce(capacity, 0), 0 FROM agent_pools"""
        )
        return {(row["kind"], row["name"]): (row["used"], row["most"], row["most_plain"]) for row in rows}

    async def _has_plain(self, account: str, claimed: list[ClaimedCall]) -> bool:
        ids = [call.call_id for call in claimed if call.account == account]
        return bool(await self.connection.fetchval("SELECT bool_or(priority <= 0) FROM calls WHERE id = ANY ($1)", ids))

    # -- what workers do with claims that they have, or believe to have

    def conduct(
        self,
        which: int,
        steps: list[str],
        worker: int,
        redial_s: float | None,
        verdict: TrunkVerdict,
        suppress_s: float | None,
    ) -> None:
        """A worker goes on with a call that it believes to have; without one it claims."""
        conducted = [held for held in self.held if self._conducted(held)]
        if not conducted:
            self.claim(worker, 2)
            return
        held = conducted[which % len(conducted)]
        aftermath = Aftermath(trunk_verdict=verdict, trunk_code="404", redial_delay_s=redial_s, suppress_number_s=suppress_s)
        for step in steps:
            if self._conducted(held):
                self._step(held, step, aftermath)

    def write(self, which: int, step: str) -> None:
        """Anything, under any claim that there ever was."""
        if not self.held:
            return
        self._step(self.held[which % len(self.held)], step, Aftermath())

    def _step(self, held: Held, step: str, aftermath: Aftermath) -> None:
        if step == "on":
            row = self.do(self._row(held.call))
            step = {"claimed": "dial", "dialing": "ring", "ringing": "answer"}.get(row["state"], "finish")
        match step:
            case "dial":
                self.do(self._dial(held.call))
            case "ring":
                self._ring(held)
            case "answer":
                self._answer(held)
            case "finish":
                self._finish(held, aftermath)
            case "requeue":
                self._requeue(held, aftermath)

    async def _dial(self, call: ClaimedCall) -> DialGranted | DialForbidden | None:
        row = await self._row(call)
        mine = (row["epoch"], row["state"]) == (call.epoch, "claimed")
        forbidden = [Gate(name) for name in FORBIDS if self._forbids(name, row)]
        if mine and not row["ends_soon"]:
            foreseen = await self.connection.fetchval("SELECT gate FROM dial_forbidden($1)", call.call_id)
            first = forbidden[0].value if forbidden else None
            assert foreseen == first, f"{first} is to forbid it, and {foreseen} does"
        room = f"room-{call.call_id}-{call.epoch}"
        answer = await self.gate.begin_dial(call, room=room, caller_ids=call.trunk.caller_ids)
        assert (answer is not None) == mine, "dialled under a claim that was gone, or a claim that is ours was denied"
        if row["ends_soon"]:
            forbidden.append(Gate.CALLING_WINDOW)
        match answer:
            case DialGranted():
                assert not forbidden, f"dialled in spite of {forbidden}"
                await self._check_spacing(answer)
            case DialForbidden(gate=gate):
                assert gate in forbidden or gate.value not in FORBIDS, f"forbidden by {gate}, which did not forbid it"
        return answer

    def _forbids(self, name: str, row: asyncpg.Record) -> bool:
        """Whether a gate is shut. How often the caller id was shown only this test knows."""
        if name == "caller_id_cap":
            return row["cap"] is not None and self.shown[row["today"]] >= row["cap"]
        return bool(row[name])

    async def _check_spacing(self, granted: DialGranted) -> None:
        """By the gap and the caps in force now, counting every dial that may have rung a phone."""
        row = await self.connection.fetchrow(
            """SELECT a.number_most_dials AS most, t.caller_id_cap AS cap, n.near, n.within,
                      (d.intent_at AT TIME ZONE 'UTC')::date AS today,
                      (SELECT dials FROM caller_id_days
                        WHERE caller_id = d.caller_id AND day = (d.intent_at AT TIME ZONE 'UTC')::date) AS counted
                 FROM dials d
                 JOIN accounts a ON a.id = d.account_id
                 JOIN trunks t ON t.id = d.trunk_id
                CROSS JOIN LATERAL (
                      SELECT count(*) FILTER (WHERE o.intent_at > d.intent_at - a.number_gap_s * interval '1 s') AS near,
                             count(*) FILTER (WHERE o.intent_at > d.intent_at - a.number_window_s * interval '1 s') AS within
                        FROM dials o
                       WHERE o.account_id = d.account_id AND o.to_number = d.to_number AND o.id <> d.id
                         AND o.spent IS DISTINCT FROM false) n
                WHERE d.id = $1""",
            granted.dial_id,
        )
        assert row is not None
        assert row["near"] == 0, "dialled a number again within its gap"
        assert row["most"] is None or row["within"] < row["most"], "dialled a number more often than its cap"
        if row["cap"] is not None:
            self.shown[row["today"]] += 1
            assert row["counted"] == self.shown[row["today"]] <= row["cap"], "a caller id showed itself more often than its cap"

    async def _row(self, call: Claim) -> asyncpg.Record:
        """The call, and for each gate of FORBIDS whether it is shut."""
        row = await self.connection.fetchrow(
            """SELECT c.*, w.stopped_at IS NOT NULL AS stopped, w.held_at IS NOT NULL AS held,
                      c.cancel_requested_at IS NOT NULL AS canceled, c.expires_at <= clock_timestamp() AS expired,
                      s.paused AS account_paused, NOT t.enabled AS trunk_disabled,
                      t.circuit_until IS NOT NULL AND t.probe_call_id IS DISTINCT FROM c.id AS trunk_circuit,
                      p.paused AS agents_paused,
                      is_listed(c.account_id, c.to_number) AS do_not_call,
                      (c.window_from <= clock_timestamp() AND clock_timestamp() < c.window_until
                       AND c.hours_version = a.hours_version) IS NOT TRUE AS calling_window,
                      EXISTS (SELECT FROM calls o WHERE o.to_number = c.to_number AND o.id <> c.id
                                 AND o.state IN ('dialing', 'ringing', 'active')) AS number_busy,
                      n.near > 0 AS number_gap, n.within >= a.number_most_dials AS number_cap,
                      u.caller_id_cap AS cap, (clock_timestamp() AT TIME ZONE 'UTC')::date AS today,
                      c.window_until - clock_timestamp() BETWEEN interval '0' AND interval '2 s' AS ends_soon
                 FROM calls c
                 JOIN accounts a ON a.id = c.account_id
                 JOIN account_slots s ON s.account_id = c.account_id
                 LEFT JOIN trunk_channels t ON t.trunk_id = c.trunk_id
                 LEFT JOIN trunks u ON u.id = c.trunk_id
                 LEFT JOIN routes r ON r.id = c.route_id
                 LEFT JOIN agent_pools p ON p.id = r.agent_pool_id
                CROSS JOIN switches w
                CROSS JOIN LATERAL (
                      SELECT count(*) FILTER (WHERE d.intent_at > now() - a.number_gap_s * interval '1 s') AS near,
                             count(*) FILTER (WHERE d.intent_at > now() - a.number_window_s * interval '1 s') AS within
                        FROM dials d
                       WHERE d.account_id = c.account_id AND d.to_number = c.to_number AND d.spent IS DISTINCT FROM false) n
                WHERE c.id = $1""",
            call.call_id,
        )
        assert row is not None
        return row

    def dial_again(self, account: str, to: str, worker: int, times: int, minutes: int, lost: bool) -> None:
        """One call after the other to a number, as long as nothing but spacing and caps can forbid them."""
        self.do(self._switch_all_on())
        for _ in range(times):
            for other in filter(self._conducted, self.held):
                self._finish(other, Aftermath())
            self.calls += self.do(self.office.ready(1, account=account, to=to, priority=9))
            self.claim(worker, 4)
            held = next((held for held in reversed(self.held) if held.call.call_id == self.calls[-1]), None)
            if held is None:
                return  # calls whose workers died hold everything
            if isinstance(self.do(self._dial(held.call)), DialGranted):
                self._finish(held, Aftermath(), lost=lost)
            else:
                self._requeue(held, Aftermath())
            self.do(self._pass(minutes))

    def _ring(self, held: Held) -> None:
        row = self.do(self._row(held.call))
        ours = self.do(self.queues[held.worker].record_ringing(held.call, pdd_ms=500, detail={}))
        assert ours == (row["epoch"] == held.call.epoch and row["state"] in {"dialing", "ringing"})

    def _answer(self, held: Held) -> None:
        row = self.do(self._row(held.call))
        ours = self.do(self.queues[held.worker].record_answer(held.call, ring_ms=1, ring_error_ms=0, ids={}, detail={}))
        assert ours == (row["epoch"] == held.call.epoch and row["state"] in {"dialing", "ringing", "active"})

    def _finish(self, held: Held, aftermath: Aftermath, *, lost: bool = False) -> None:
        row = self.do(self._row(held.call))
        mine = row["epoch"] == held.call.epoch and row["state"] in {"claimed", "dialing", "ringing", "active"}
        wrong = aftermath.trunk_verdict is TrunkVerdict.NUMBER
        outcome = (MACHINE if aftermath.redial_delay_s else HUNG_UP) if row["state"] == "active" else WRONG if wrong else BUSY
        if lost and row["state"] in {"dialing", "ringing"}:
            outcome = LOST
        if row["state"] == "claimed":
            aftermath = Aftermath()
        finished = self.do(self.ends.finish(held.call, outcome, aftermath))
        if mine:
            assert finished.ours
            may_redial = aftermath.redial_delay_s is not None and row["cancel_requested_at"] is None
            assert finished.state in ({outcome.state, State.SCHEDULED} if may_redial else {outcome.state})
        self.conducts[held.worker].discard((held.call.call_id, held.call.epoch))

    def _requeue(self, held: Held, aftermath: Aftermath) -> None:
        row = self.do(self._row(held.call))
        mine = row["epoch"] == held.call.epoch and row["state"] in {"claimed", "dialing"}
        delay_s = aftermath.redial_delay_s or 0.0
        waiting_for = WaitingFor.TRUNK_UNREACHABLE if aftermath.trunk_verdict is TrunkVerdict.TRUNK else WaitingFor.SLOT
        self.do(self.ends.requeue(held.call, delay_s=delay_s, waiting_for=waiting_for, detail={}, aftermath=aftermath))
        after = self.do(self._row(held.call))
        if mine:
            assert after["state"] in {"ready", "scheduled", "canceled"}
            self.conducts[held.worker].discard((held.call.call_id, held.call.epoch))
        else:
            assert after["state"] == row["state"]

    # -- what others do

    def cancel(self, which: int) -> None:
        call_id = self.calls[which % len(self.calls)]
        result = self.do(self.office.calls.request_cancel(call_id))
        if result is CancelResult.CANCELED:
            assert self.do(self.office.state(call_id)) is State.CANCELED

    def switch_off(self, what: str, account: str, to: str) -> None:
        match what:
            case "pause":
                self.do(self.office.change_account(account, paused=True))
            case "kill switch":
                self.do(self.switches.stop("drawn"))
            case "hold":
                self.do(self.switches.hold("drawn"))
            case "trunk":
                self.do(self.office.trunks.update("main", TrunkChange(enabled=False)))
            case "circuit":
                self.do(self._fail_the_trunk())
            case "agents":
                self.do(self.agents.pause("agent", paused=True))
            case "list":
                self.do(self._list(to))
            case "hours":
                self.hours.closed.add(to)
                self.do(self.office.change_account(account, closed_on_holidays=True))

    def switch_all_on(self) -> None:
        """So that the queue moves most of the time."""
        self.do(self._switch_all_on())

    async def _switch_all_on(self) -> None:
        await self.switches.resume()
        await self.cluster.confirm_restore()
        await self.office.trunks.update("main", TrunkChange(enabled=True))
        await self.office.trunks.reset_circuit("main")
        await self.agents.pause("agent", paused=False)
        await self.connection.execute("DELETE FROM do_not_call")
        self.hours.closed.clear()
        for account in ACCOUNTS:
            await self.office.change_account(account, paused=False, closed_on_holidays=False)
        await self.office.stage()

    def limit(self, what: str, account: str, limit: int, reserved: int, capacity: int | None, gap_min: int) -> None:
        match what:
            case "account":
                self.do(self.office.change_account(account, max_concurrent=limit, reserved=min(reserved, limit)))
            case "channels":
                self.do(self.office.trunks.update("main", TrunkChange(max_channels=limit)))
            case "agents":
                self.do(self.agents.set_capacity("agent", capacity))
            case "spacing":
                most = limit if capacity else 0
                self.do(
                    self.office.change_account(
                        account, number_gap_s=gap_min * 60.0, number_most_dials=most, number_window_s=3600.0
                    )
                )
            case "caller id":
                self.do(self.office.trunks.update("main", TrunkChange(caller_id_cap=0 if capacity is None else 2 * capacity)))

    async def _fail_the_trunk(self) -> None:
        for n in range(5):
            await self.connection.execute("SELECT judge_trunk(1, $1, $2, 'trunk', '503')", -n, f"+1212555019{n}")

    async def _list(self, to: str) -> None:
        await self.connection.execute(
            """INSERT INTO do_not_call (account_id, number_key, to_number, kind, source)
               VALUES (0, number_key($1), $1, 'do_not_call', 'test') ON CONFLICT DO NOTHING""",
            to,
        )

    # -- time, death and recovery

    def disturb(self, what: str, minutes: int, worker: int) -> None:
        match what:
            case "time passes":
                self.do(self._pass(minutes))
            case "expire":
                self.do(self.queues[0].expire_calls(100))
            case "windows close":
                self.do(self._close_windows())
            case "windows end":  # too soon for a request that may leave a little later
                self.do(
                    self.connection.execute(
                        """UPDATE calls SET window_until = least(window_until, clock_timestamp() + interval '1 s')
                            WHERE state = 'claimed'"""
                    )
                )
            case "crash":  # the worker falls silent; what it holds it goes on believing to hold
                self.silent.add(worker)
                self.do(
                    self.connection.execute(
                        "UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 day' WHERE id = $1",
                        self.queues[worker]._worker_id,
                    )
                )
            case "restart":
                self.do(self._restart(worker))
            case "beat":
                self.do(self._beat(worker))
            case "forget":  # conductors are gone although their worker lives
                self.conducts[worker].clear()

    async def _pass(self, minutes: int) -> None:
        for table, columns in MOMENTS.items():
            changes = ", ".join(f"{column} = {column} - $1 * interval '1 min'" for column in columns.split())
            await self.connection.execute(f"UPDATE {table} SET {changes}", minutes)  # noqa: S608  constants
        if minutes >= 24 * 60:
            await self.connection.execute("DELETE FROM caller_id_days")
            self.shown.clear()
        await self.office.stage()

    async def _close_windows(self) -> None:
        await self.queues[0].close_windows(1000)
        left = await self.connection.fetchval("SELECT count(*) FROM calls WHERE state = 'ready' AND window_until <= now()")
        assert left == 0, "a call is ready whose window has closed"
        await self.office.stage()

    async def _restart(self, worker: int) -> None:
        await self.office.workers.deregister(self.queues[worker]._worker_id)
        self.queues[worker] = await self.office.another_worker()
        self.recoveries[worker] = self._recovery_of(self.queues[worker])
        self.conducts[worker] = set()
        self.silent.discard(worker)

    async def _beat(self, worker: int) -> None:
        """A sign of life, after which a worker asks what has been taken from it."""
        worker_id = self.queues[worker]._worker_id
        assert await self.office.workers.heartbeat(worker_id, live_calls=0, capacity=100, draining=False)
        self.silent.discard(worker)
        self.conducts[worker] -= set(await self.recoveries[worker].lost_claims(self.conducts[worker]))
        rows = await self.connection.fetch("SELECT id, epoch FROM calls WHERE worker_id = $1 AND ended_at IS NULL", worker_id)
        assert self.conducts[worker] <= {(row["id"], row["epoch"]) for row in rows}, "conducts what is not its own any more"

    def recover(self, worker: int) -> None:
        self._hold(self.do(self._recover(worker)), worker)

    async def _recover(self, worker: int) -> list[ClaimedCall]:
        """Give back what was only claimed, take over what was dialled, and conduct it from here on."""
        store, taken = self.recoveries[worker], []
        alive = [self.conducts[other] for other in range(WORKERS) if other == worker or other not in self.silent]
        for call in await store.stranded_calls(lease_s=LEASE_S, held=self.conducts[worker]):
            assert not any((call.call_id, call.epoch) in conducts for conducts in alive), "taken from a worker that lives"
            if call.state is State.CLAIMED:
                assert await store.adopt(call, lease_s=LEASE_S) is None, "adopted what nobody has dialled"
                assert await store.requeue(call, lease_s=LEASE_S)
                assert await self.office.state(call.call_id) in {State.READY, State.CANCELED}
            else:
                assert not await store.requeue(call, lease_s=LEASE_S), "gave back what may have rung a phone"
                adopted = await store.adopt(call, lease_s=LEASE_S)
                assert adopted is not None
                assert adopted.granted is not None
                assert (adopted.call.epoch, adopted.state) == (call.epoch + 1, call.state)
                taken.append(adopted.call)
            await self._check_gone(call)
        return taken

    async def _check_gone(self, call: Claim) -> None:
        """Whatever the old holder writes, it finds that the call is not its own."""
        before = await self._row(call)
        queue = self.queues[0]
        assert await self.gate.begin_dial(call, room="room", caller_ids=()) is None
        assert not await queue.record_ringing(call, pdd_ms=None, detail={})
        assert not await queue.record_answer(call, ring_ms=None, ring_error_ms=None, ids={}, detail={})
        for state, outcome in ((State.ENDED, HUNG_UP), (State.NOT_CONNECTED, BUSY)):
            assert not (await self.ends.finish(call, outcome, Aftermath(redial_delay_s=0.0))).ours, f"{state} by the old holder"
        after = await self._row(call)
        assert (after["epoch"], after["state"], after["worker_id"]) == (before["epoch"], before["state"], before["worker_id"])

    # -- after each step

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "connection"):
            self.do(self._check())

    async def _check(self) -> None:
        async with self.connection.transaction(isolation="repeatable_read", readonly=True):
            for promise, query in INVARIANTS.items():
                rows = await self.connection.fetch(query)
                assert not rows, f"{promise}: {[dict(row) for row in rows[:3]]}"
        repairs = await self.upkeep.repair_counters(lanes=True)
        assert not any(repairs.by_kind().values()), f"there was something to repair: {repairs}"


@pytest.fixture
def machine(postgres_servers: PostgresServers) -> Iterator[type[Queue]]:
    with asyncio.Runner() as runner:
        url = runner.run(postgres_servers.create_database(EMBEDDED))
        yield type("DrawnQueue", (Queue,), {"runner": runner, "url": url})
        runner.run(postgres_servers.drop_database(url))


@pytest.mark.timeout(600)
def test_the_invariants_hold_whatever_is_done_in_whatever_order(machine: type[Queue]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
        ),
    )
