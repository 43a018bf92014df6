"""What is built from the settings: the database's address and pool, the carrier, the times of calls, the stores, the HTTP door.

Builds single things and runs none of them; orchestrator.app wires them together.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

from orchestrator.calls.conductor import CallStores, ConductorTimes, Delays
from orchestrator.calls.plans import ListeningTimes
from orchestrator.calls.preparation import PreparationTimes
from orchestrator.calls.registrar import Registrar
from orchestrator.errors import DatabaseUnavailable
from orchestrator.health import HttpDoor, carrier_check, database_check, draining_check, loops_check
from orchestrator.ids import WorkerId
from orchestrator.metrics import Metrics
from orchestrator.opinion import SecondOpinion
from orchestrator.settings import CarrierKind, Settings
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.ends import EndsStore
from orchestrator.store.gate import GateStore
from orchestrator.store.migrations import check_schema
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.workers import WorkerStore
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.leg import Carrier
from sip.livekit.carrier import LiveKitCarrier
from sip.livekit.listening.limits import ListenerLimits
from sip.livekit.listening.listeners import Listeners
from sip.livekit.timings import LiveKitTimings
from sip.simulated.carrier import SimulatedCarrier


@dataclass(frozen=True, slots=True)
class WorkerStores:
    """All that one worker asks of the database."""

    workers: WorkerStore
    queue: QueueStore
    calls: CallStores


def build_database(settings: Settings, url: str) -> Database:
    """The pool of the daemon, not open yet."""
    return Database(
        url,
        min_size=settings.database.pool_min,
        max_size=settings.database.pool_max,
        command_timeout_s=settings.database.command_timeout_s,
    )


def build_stores(database: Database, *, workers: WorkerStore, worker_id: WorkerId) -> WorkerStores:
    """The stores of the worker that is registered as `worker_id`."""
    queue = QueueStore(database=database, worker_id=worker_id)
    ends = Registrar(store=EndsStore(database=database))
    calls = CallStores(gate=GateStore(database=database), queue=queue, ends=ends)
    return WorkerStores(workers=workers, queue=queue, calls=calls)


@contextlib.asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """The URL of the database; without one in the settings, that of an embedded server that runs as long as this."""
    url = settings.database.url.get_secret_value()
    if url:
        yield url
        return
    async with EmbeddedPostgres(settings.database.data_dir) as embedded_url:
        yield embedded_url


def build_carrier(settings: Settings, *, deployment_id: UUID, clock: Clock, metrics: Metrics) -> Carrier:
    """The carrier that the settings choose."""
    if settings.carrier.kind is CarrierKind.SIMULATED:
        return SimulatedCarrier(
            clock=clock,
            deployment_id=deployment_id,
            seed=settings.simulated.seed,
            agent_delay_s=settings.simulated.agent_delay_s,
            missing_agents=frozenset(settings.simulated.missing_agents),
        )
    livekit = settings.livekit
    return LiveKitCarrier(
        url=livekit.url,
        api_key=livekit.api_key,
        api_secret=livekit.api_secret.get_secret_value(),
        deployment_id=deployment_id,
        clock=clock,
        timings=LiveKitTimings(
            request_timeout_s=livekit.request_timeout_s,
            ring_poll_s=livekit.ring_poll_ms / 1000,
            sweep_s=livekit.sweep_s,
            looks_per_s=livekit.looks_per_s,
            leg_reason_grace_s=settings.calls.leg_reason_grace_s,
            webhook_max_age_s=livekit.webhook_max_age_s,
            media_timeout_s=livekit.media_timeout_s,
        ),
        observer=metrics,
        listeners=build_listeners(settings, metrics=metrics) if settings.listening.enabled else None,
    )


def build_listeners(settings: Settings, *, metrics: Metrics) -> Listeners:
    """The child processes that listen in LiveKit's rooms; they start when the first room is listened to."""
    livekit, listening = settings.livekit, settings.listening
    return Listeners(
        url=livekit.url,
        api_key=livekit.api_key,
        api_secret=livekit.api_secret.get_secret_value(),
        limits=ListenerLimits(
            most_children=listening.most_children, rooms_a_child=listening.rooms_a_child, beat_s=listening.beat_s
        ),
        observer=metrics.listening,
    )


def build_second_opinion(settings: Settings) -> SecondOpinion | None:
    """Whom to ask about verdicts that are not sure; None: nobody."""
    asked = settings.second_opinion
    if not asked.url:
        return None
    return SecondOpinion(url=asked.url, model=asked.model, api_key=asked.api_key.get_secret_value(), timeout_s=asked.timeout_s)


def build_door(
    settings: Settings,
    *,
    metrics: Metrics,
    loops: Callable[[], Collection[str]],
    draining: Callable[[], bool],
    database: Callable[[], Database | None],
    carrier: Callable[[], Carrier | None],
) -> HttpDoor | None:
    """The HTTP door, not open yet; None where the settings turn it off.

    `loops`: the names of those that owe progress. `database` and `carrier` give None until there are any: the door opens first.
    """
    if settings.http.port == 0:
        return None

    async def pending_migrations() -> list[str]:
        found = database()
        if found is None:
            raise DatabaseUnavailable("not connected yet")
        return await check_schema(found)

    async def reach_carrier() -> None:
        found = carrier()
        if not isinstance(found, LiveKitCarrier):
            raise CarrierUnavailable("not connected yet: the database comes first")
        await found.reach()

    def take_webhook(body: bytes, authorization: str) -> None:
        found = carrier()
        if isinstance(found, LiveKitCarrier):  # before it is built there is no call of ours to hear of
            found.webhooks.receive(body, authorization)

    ready = [draining_check(draining), database_check(pending_migrations)]
    if settings.is_real:
        ready.append(carrier_check(reach_carrier))
    return HttpDoor(
        host=settings.http.host,
        port=settings.http.port,
        metrics=metrics,
        alive=[loops_check(metrics, names=loops)],
        ready=ready,
        on_webhook=take_webhook if settings.is_real else None,
    )


def conductor_times(settings: Settings) -> ConductorTimes:
    """The times of all calls, from the settings."""
    calls = settings.calls
    return ConductorTimes(
        preparation=PreparationTimes(
            agent_join_timeout_s=calls.agent_join_timeout_s,
            post_dial_allowance_s=settings.livekit.post_dial_allowance_s,
            gate_delay_s=calls.gate_delay_s,
            intent_max_age_real_s=calls.intent_max_age_s,
        ),
        agent_return_grace_s=calls.agent_return_grace_s,
        agent_delays=Delays(*calls.agent_delays_s),
        trunk_delays=Delays(*calls.trunk_delays_s),
        listening=listening_times(settings),
    )


def listening_times(settings: Settings) -> ListeningTimes | None:
    """When quiet is noticed, from the settings; None: nobody listens."""
    listening = settings.listening
    if not listening.enabled:
        return None
    return ListeningTimes(
        silence_warning_s=listening.silence_warning_s,
        silence_s=listening.silence_s,
        idle_s=listening.idle_s,
        media_lost_s=listening.media_lost_s,
    )


def program_version() -> str:
    """The version of this program."""
    try:
        return version("call-orchestrator")
    except PackageNotFoundError:
        return "unknown"
