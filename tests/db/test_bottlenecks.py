"""What may hold calls up is measured: one series a configured thing, however many names calls use."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.metrics import Metrics
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.bottlenecks import BottleneckStore
from orchestrator.store.policy import NewTrunk
from tests.db.office import Office


async def look(office: Office, metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample of trunks and agents, after one more look."""
    metrics.bottlenecks(await BottleneckStore(database=office.database).read())
    text = metrics.exposition("")[0].decode()
    return {
        (sample.name.removeprefix("orchestrator_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(("orchestrator_trunk_", "orchestrator_agents_")) and not sample.name.endswith("_created")
    }


async def fail_the_trunk(office: Office) -> None:
    for n in range(5):
        await office.sql("SELECT judge_trunk(1, $1, $2, 'trunk', '503')", n, f"+1212555010{n}")


async def test_trunks_are_measured_one_by_one(office: Office):
    await office.trunks.create(NewTrunk(name="off", sip_trunk_id="ST_o", max_channels=5, max_cps=1.0, enabled=False))
    await office.claimed()
    shown = await look(office, Metrics())
    assert (shown["trunk_channels_used", "main"], shown["trunk_channels_limit", "main"]) == (1, 1000)
    assert (shown["trunk_channels_used", "off"], shown["trunk_channels_limit", "off"]) == (0, 0)
    assert (shown["trunk_circuit", "main"], shown["trunk_circuit_openings_total", "main"]) == (0, 0)


async def test_a_circuit_is_shown_as_it_opens_half_opens_and_closes(office: Office):
    metrics = Metrics()
    await look(office, metrics)
    await fail_the_trunk(office)
    assert (await look(office, metrics))["trunk_circuit", "main"] == 2
    await office.sql("UPDATE trunk_channels SET circuit_until = clock_timestamp()")
    assert (await look(office, metrics))["trunk_circuit", "main"] == 1
    await office.trunks.reset_circuit("main")
    await fail_the_trunk(office)
    await office.trunks.reset_circuit("main")
    shown = await look(office, metrics)
    assert (shown["trunk_circuit", "main"], shown["trunk_circuit_openings_total", "main"]) == (0, 2)
    assert (await look(office, Metrics()))["trunk_circuit_openings_total", "main"] == 0


async def test_agents_are_measured_one_by_one_only_if_somebody_configured_them(office: Office):
    metrics = Metrics()
    agents = AgentPoolStore(database=office.database)
    for n in range(20):
        await office.ready(1, agent_name=f"agent {n}")
    await office.ready(1, agent_name="ann")
    await agents.set_capacity("ann", 7)
    await agents.pause("agent 3", paused=True)
    await office.sql("SELECT judge_pool(id, 1, false) FROM agent_pools, generate_series(1, 3) WHERE name = 'agent 5'")
    shown = await look(office, metrics)
    assert {series[1] for series in shown if series[0] == "agents_circuit"} == {"ann", "agent 3", "*"}
    assert (shown["agents_used", "ann"], shown["agents_limit", "ann"], shown["agents_limit", "agent 3"]) == (0, 7, 0)
    assert (shown["agents_absences", "*"], shown["agents_circuit", "*"]) == (3, 2)
    assert ("agents_limit", "*") not in shown
    await agents.set_capacity("ann", None)
    assert ("agents_limit", "ann") not in await look(office, metrics)
