"""Builds the components from the settings and runs them: the only place that wires things together.

    database -> schema -> carrier -> worker's row -> loops (stager, expirer, claimer, cancels, recovery, heart) -> HTTP door
    first SIGTERM or SIGINT: no more claims, undialled calls go back, live ones may finish within the drain time
    second one, or the drain time over: live calls are hung up (WORKER_SHUT_DOWN)

The heart beats until the last call has ended, so that nobody takes this worker for dead while it still conducts.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

import structlog
import uvloop

from orchestrator.calls.cancels import Cancels
from orchestrator.calls.conductor import ConductorTimes, Delays
from orchestrator.calls.heart import Heart
from orchestrator.calls.preparation import PreparationTimes
from orchestrator.calls.recovery import Recovery
from orchestrator.calls.switchboard import Switchboard
from orchestrator.errors import DatabaseUnavailable
from orchestrator.health import HttpDoor, carrier_check, database_check, draining_check, loops_check
from orchestrator.looper import Looper
from orchestrator.metrics import LoopLag, Metrics
from orchestrator.scheduling.claimer import Claimer
from orchestrator.scheduling.stager import Expirer, Stager
from orchestrator.settings import CarrierKind, Settings
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.listener import Listener
from orchestrator.store.migrations import check_schema, migrate
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.workers import WorkerStore
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.leg import Carrier
from sip.livekit.carrier import LiveKitCarrier
from sip.livekit.timings import LiveKitTimings
from sip.simulated.carrier import SimulatedCarrier

log = structlog.get_logger(__name__)

STAGE_BATCH = 500
HANG_UP_ALL_PATIENCE_S = 30.0
DATABASE_RETRY_S = 2.0
OCCUPANCY_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that is up, for whoever accompanies it (the demo)."""

    settings: Settings
    database: Database
    carrier: Carrier


Companion = Callable[[Running], Awaitable[int]]
"""Runs beside the daemon; its result becomes the exit code if it ends the daemon."""


def run_daemon(settings: Settings, *, companion: Companion | None = None, until_idle: bool = False) -> int:
    """Run until told to stop; with `until_idle`, until the companion is done or, without one, nothing is queued any more.

    Returns the exit code: the companion's, else 0. Raises orchestrator.errors.Error when it cannot start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Daemon(settings=settings, companion=companion, until_idle=until_idle).run())


class Daemon:
    """One worker process."""

    def __init__(self, *, settings: Settings, companion: Companion | None, until_idle: bool) -> None:
        self._settings = settings
        self._companion = companion
        self._until_idle = until_idle
        self._metrics = Metrics()
        self._clock = Clock(scale=1.0 if settings.is_real else settings.simulated.time_scale)
        self._stop = asyncio.Event()
        self._hang_up = asyncio.Event()
        self._database: Database | None = None
        self._carrier: Carrier | None = None
        self._loops: tuple[Looper, ...] = ()
        """Those that owe progress."""
        self._draining = False
        self._exit_code = 0

    async def run(self) -> int:
        """From start to the last call's end."""
        for warning in self._settings.warnings:
            log.warning("setting_doubtful", text=warning)
        with self._signals():
            async with contextlib.AsyncExitStack() as stack:
                # First of all, so that whoever asks hears why nothing is dialled yet.
                await stack.enter_async_context(self._door())
                url = await stack.enter_async_context(database_url(self._settings))
                database = await self._open_database(url)
                if database is None:
                    return self._exit_code
                stack.push_async_callback(database.close)
                applied = await migrate(database)
                log.info("database_ready", migrations_applied=len(applied))
                deployment_id = await WorkerStore(database=database).deployment_id()
                carrier = build_carrier(self._settings, deployment_id=deployment_id, clock=self._clock, metrics=self._metrics)
                stack.push_async_callback(carrier.aclose)
                self._database, self._carrier = database, carrier
                await self._serve(database, url, carrier)
        return self._exit_code

    async def _open_database(self, url: str) -> Database | None:
        """Wait for the database for as long as it takes; None when told to stop first."""
        settings = self._settings.database
        database = Database(
            url, min_size=settings.pool_min, max_size=settings.pool_max, command_timeout_s=settings.command_timeout_s
        )
        while not self._stop.is_set():
            try:
                await database.open()
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", error=str(error), remedy="start it, or set database.url; trying again")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DATABASE_RETRY_S):
                        await self._stop.wait()
            else:
                return database
        return None

    async def _serve(self, database: Database, url: str, carrier: Carrier) -> None:
        settings = self._settings
        workers = WorkerStore(database=database)
        worker_id = await workers.register(
            name=settings.worker.name, version=program_version(), capacity=settings.worker.max_calls
        )
        structlog.contextvars.bind_contextvars(worker=str(worker_id)[:8])
        store = QueueStore(database=database, worker_id=worker_id)

        def wake_claimer() -> None:
            claimer.looper.wake()

        switchboard = Switchboard(
            seats=settings.worker.max_calls,
            carrier=carrier,
            store=store,
            clock=self._clock,
            times=conductor_times(settings),
            on_free=wake_claimer,
            metrics=self._metrics,
        )
        claimer = Claimer(
            store=store,
            seats=switchboard,
            interval_s=settings.worker.poll_s,
            batch_size=settings.worker.claim_batch,
            metrics=self._metrics,
        )
        stager = Stager(
            store=store,
            interval_s=settings.worker.poll_s,
            batch_size=STAGE_BATCH,
            on_staged=claimer.looper.wake,
            metrics=self._metrics,
        )
        sweep_s = settings.worker.sweep_s
        expirer = Expirer(store=store, interval_s=sweep_s, batch_size=STAGE_BATCH, metrics=self._metrics)
        cancels = Cancels(store=store, switchboard=switchboard, interval_s=sweep_s, metrics=self._metrics)
        recovery = Recovery(
            store=store,
            carrier=carrier,
            switchboard=switchboard,
            lease_s=settings.worker.lease_s,
            interval_s=sweep_s,
            metrics=self._metrics,
        )
        heart = Heart(
            store=workers,
            worker_id=worker_id,
            switchboard=switchboard,
            interval_s=settings.worker.heartbeat_s,
            metrics=self._metrics,
        )
        listener = Listener(url, on_queue=stager.looper.wake, on_cancel=lambda _call_id: cancels.looper.wake())
        occupancy = Looper(
            name="occupancy", interval_s=OCCUPANCY_INTERVAL_S, step=lambda: self._measure(store), watch=self._metrics
        )
        taking = (stager.looper, expirer.looper, recovery.looper, claimer.looper)
        lasting = (cancels.looper, heart.looper, occupancy)
        self._loops = (*taking, *lasting)
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(component, name=name)
                for name, component in (
                    ("carrier", carrier.run()),
                    ("listener", listener.run()),
                    ("lag", LoopLag(metrics=self._metrics).run()),
                    *((looper.name, looper.run()) for looper in lasting),
                )
            ]
            claiming = [tasks.create_task(looper.run(), name=looper.name) for looper in taking]
            background.extend(self._accompany(tasks, database, carrier, store, switchboard))
            log.info("worker_started", worker_name=settings.worker.name, carrier=settings.carrier.kind.value)

            await self._stop.wait()
            self._draining = True
            self._loops = lasting
            log.info("worker_stopping", live_calls=switchboard.live)
            for looper in taking:
                looper.stop()
            # No claim is under way any more once these have returned, so that none is left without a conductor.
            await asyncio.gather(*claiming)
            await self._drain(switchboard)
            try:
                await workers.deregister(worker_id)
            except DatabaseUnavailable as error:
                log.warning("worker_not_deregistered", error=str(error))  # its heartbeat grows old, which says the same
            log.info("worker_stopped")
            for task in background:
                task.cancel()

    @contextlib.asynccontextmanager
    async def _door(self) -> AsyncIterator[None]:
        """The HTTP door, unless it is turned off; open from the first moment to the last."""
        http = self._settings.http
        if http.port == 0:
            yield
            return
        ready = [draining_check(lambda: self._draining), database_check(self._pending_migrations)]
        if self._settings.is_real:
            ready.append(carrier_check(self._reach_carrier))
        door = HttpDoor(
            host=http.host,
            port=http.port,
            metrics=self._metrics,
            alive=[loops_check(self._metrics, names=lambda: [looper.name for looper in self._loops])],
            ready=ready,
            on_webhook=self._take_webhook if self._settings.is_real else None,
        )
        await door.start()
        try:
            yield
        finally:
            await door.stop()

    async def _pending_migrations(self) -> list[str]:
        if self._database is None:
            raise DatabaseUnavailable("not connected yet")
        return await check_schema(self._database)

    async def _reach_carrier(self) -> None:
        if not isinstance(self._carrier, LiveKitCarrier):
            raise CarrierUnavailable("not connected yet: the database comes first")
        await self._carrier.reach()

    def _take_webhook(self, body: bytes, authorization: str) -> None:
        if isinstance(self._carrier, LiveKitCarrier):  # before it is built there is no call of ours to hear of
            self._carrier.webhooks.receive(body, authorization)

    async def _drain(self, switchboard: Switchboard) -> None:
        """Let live calls finish within the drain time; hang up what is left then, or on a second signal."""
        switchboard.close()
        emptied = asyncio.ensure_future(switchboard.wait_until_empty())
        second_signal = asyncio.ensure_future(self._hang_up.wait())
        try:
            await asyncio.wait(
                {emptied, second_signal}, timeout=self._settings.worker.drain_s, return_when=asyncio.FIRST_COMPLETED
            )
            if emptied.done():
                return
            log.warning("worker_hanging_up", live_calls=switchboard.live)
            switchboard.hang_up_all()
            done, _ = await asyncio.wait({emptied}, timeout=HANG_UP_ALL_PATIENCE_S)
            if not done:
                log.error("worker_leaves_calls_behind", live_calls=switchboard.live)
        finally:
            emptied.cancel()
            second_signal.cancel()

    def _accompany(
        self, tasks: asyncio.TaskGroup, database: Database, carrier: Carrier, store: QueueStore, switchboard: Switchboard
    ) -> list[asyncio.Task[None]]:
        """Start what runs beside the daemon and may end it."""
        if self._companion is not None:
            running = Running(settings=self._settings, database=database, carrier=carrier)
            return [tasks.create_task(self._run_companion(self._companion, running), name="companion")]
        if self._until_idle:
            return [tasks.create_task(self._stop_when_idle(store, switchboard), name="until idle")]
        return []

    async def _run_companion(self, companion: Companion, running: Running) -> None:
        try:
            exit_code = await companion(running)
        except Exception:
            self._exit_code = 1
            self._stop.set()
            raise
        if self._until_idle:
            self._exit_code = exit_code
            self._stop.set()

    async def _stop_when_idle(self, store: QueueStore, switchboard: Switchboard) -> None:
        """Stop once nothing is queued, due or not, and nothing is conducted; looked at twice, since calls move meanwhile."""
        idle_looks = 0
        while idle_looks < 2:
            await asyncio.sleep(self._settings.worker.poll_s)
            idle = switchboard.live == 0 and not (await store.occupancy()).ready and await store.next_due_in_s() is None
            idle_looks = idle_looks + 1 if idle else 0
        self._stop.set()

    async def _measure(self, store: QueueStore) -> None:
        self._metrics.occupancy(await store.occupancy())
        self._metrics.calls_by_state(await store.live_calls_by_state())

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGTERM or SIGINT drains, the second hangs up."""
        loop = asyncio.get_running_loop()

        def on_signal(name: str) -> None:
            log.info("signal", name=name)
            if self._stop.is_set():
                self._hang_up.set()
            self._stop.set()

        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, on_signal, number.name)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


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
    )


def program_version() -> str:
    """The version of this program."""
    try:
        return version("call-orchestrator")
    except PackageNotFoundError:
        return "unknown"
