"""Builds the components from the settings and runs them: the only place that wires things together.

    database -> schema -> carrier -> worker's row -> loops (stager, expirer, claimer, cancels, recovery, heart) -> HTTP door
    first SIGTERM or SIGINT: no more claims, undialled calls go back, live ones may finish (orchestrator.drain)
    SIGHUP: the settings are read anew (orchestrator.reload)

The heart beats until the last call has ended, so that nobody takes this worker for dead while it still conducts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable

import structlog
import uvloop

from orchestrator import logs
from orchestrator.builders import (
    build_carrier,
    build_door,
    build_second_opinion,
    build_stores,
    conductor_times,
    database_url,
    program_version,
)
from orchestrator.calls.cancels import Cancels
from orchestrator.calls.heart import Heart, Standing
from orchestrator.calls.recovery import Recovery
from orchestrator.calls.sweeper import Sweeper
from orchestrator.calls.switchboard import Switchboard
from orchestrator.companion import Companion, Company, Running
from orchestrator.drain import drain
from orchestrator.errors import DatabaseUnavailable
from orchestrator.lookout import Lookout
from orchestrator.looper import Looper
from orchestrator.metrics import LoopLag, Metrics
from orchestrator.opinion import SecondOpinion
from orchestrator.reload import Reloader
from orchestrator.retention import Retention
from orchestrator.scheduling.bookkeeping import Bookkeeper
from orchestrator.scheduling.claimer import Claimer
from orchestrator.scheduling.leadership import Leadership
from orchestrator.scheduling.placer import WindowPlacer
from orchestrator.scheduling.stager import Expirer, Stager
from orchestrator.settings import Settings
from orchestrator.signals import Signals
from orchestrator.start import look_at_cluster, open_database, reach
from orchestrator.store.age import AgeStore
from orchestrator.store.bottlenecks import BottleneckStore
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.listener import Listener
from orchestrator.store.migrations import migrate
from orchestrator.store.pool import Database
from orchestrator.store.queue_view import QueueViewStore
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.upkeep import UpkeepStore
from orchestrator.store.workers import WorkerStore
from orchestrator.systemd import ServiceManager
from orchestrator.watchdog import Watchdog
from sip.clock import Clock
from sip.leg import Carrier

log = structlog.get_logger(__name__)

STAGE_BATCH = 500
PATIENCE_S = 30.0
"""How long the service manager is asked to go on waiting, each time that starting or draining has gone on for a while."""


def run_daemon(
    settings: Settings,
    *,
    companion: Companion | None = None,
    until_idle: bool = False,
    reread: Callable[[], Settings] | None = None,
) -> int:
    """Run until told to stop; with `until_idle`, until the companion is done or, without one, nothing is queued any more.

    `reread` reads the settings anew, for SIGHUP. Returns the exit code: the companion's, else 0. Raises
    orchestrator.errors.Error when it cannot start.
    """
    daemon = Daemon(settings=settings, companion=companion, until_idle=until_idle, reread=reread)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(daemon.run())


class Daemon:
    """One worker process."""

    def __init__(
        self,
        *,
        settings: Settings,
        companion: Companion | None,
        until_idle: bool,
        reread: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._clock = Clock(scale=1.0 if settings.is_real else settings.simulated.time_scale)
        self._reread = reread
        self._signals = Signals()
        self._stop = self._signals.stop
        self._company = Company(companion=companion, until_idle=until_idle, stop=self._stop)
        self._manager = ServiceManager.of(os.environ)
        self._database: Database | None = None
        self._carrier: Carrier | None = None
        self._loops: tuple[Looper, ...] = ()
        """Those that owe progress."""
        self._draining = False

    async def run(self) -> int:
        """From start to the last call's end."""
        for warning in self._settings.warnings:
            log.warning("setting_doubtful", text=warning)
        with self._signals.heard(), contextlib.closing(self._manager):
            async with contextlib.AsyncExitStack() as stack:
                # First of all, so that whoever asks hears why nothing is dialled yet.
                await stack.enter_async_context(self._door())
                url = await stack.enter_async_context(database_url(self._settings))
                database = await open_database(
                    self._settings, url, stop=self._stop, on_wait=lambda why: self._manager.patience(PATIENCE_S, why)
                )
                if database is None:
                    return self._company.exit_code
                stack.push_async_callback(database.close)
                applied = await migrate(database)
                log.info("database_ready", migrations_applied=len(applied))
                await look_at_cluster(ClusterStore(database=database))
                deployment_id = await WorkerStore(database=database).deployment_id()
                carrier = build_carrier(self._settings, deployment_id=deployment_id, clock=self._clock, metrics=self._metrics)
                stack.push_async_callback(carrier.aclose)
                self._database, self._carrier = database, carrier
                opinion = build_second_opinion(self._settings)
                if opinion is not None:
                    stack.push_async_callback(opinion.aclose)
                await self._serve(database, url, carrier, opinion)
        return self._company.exit_code

    async def _serve(self, database: Database, url: str, carrier: Carrier, opinion: SecondOpinion | None) -> None:
        settings = self._settings
        workers = WorkerStore(database=database)
        worker_id = await workers.register(
            name=settings.worker.name, version=program_version(), capacity=settings.worker.max_calls
        )
        structlog.contextvars.bind_contextvars(worker=str(worker_id)[:8])
        stores = build_stores(database, workers=workers, worker_id=worker_id)
        store = stores.queue

        standing = Standing(lease_s=settings.worker.lease_s)
        recovery_store = RecoveryStore(database=database, worker_id=worker_id)
        upkeep = UpkeepStore(database=database)

        def wake_claimer() -> None:
            claimer.looper.wake()

        switchboard = Switchboard(
            seats=settings.worker.max_calls,
            carrier=carrier,
            stores=stores.calls,
            clock=self._clock,
            times=conductor_times(settings),
            on_free=wake_claimer,
            metrics=self._metrics,
            in_doubt=standing.in_doubt,
            opinion=opinion,
        )
        claimer = Claimer(
            store=store,
            seats=switchboard,
            interval_s=settings.worker.poll_s,
            batch_size=settings.worker.claim_batch,
            lease_s=settings.worker.lease_s,
            metrics=self._metrics,
        )
        stager = Stager(
            store=store,
            placer=WindowPlacer(),
            interval_s=settings.worker.poll_s,
            batch_size=STAGE_BATCH,
            on_staged=claimer.looper.wake,
            metrics=self._metrics,
        )
        sweep_s = settings.worker.sweep_s
        expirer = Expirer(store=store, interval_s=sweep_s, batch_size=STAGE_BATCH, metrics=self._metrics)
        cancels = Cancels(store=store, switchboard=switchboard, interval_s=sweep_s, metrics=self._metrics)
        recovery = Recovery(
            store=recovery_store,
            carrier=carrier,
            switchboard=switchboard,
            lease_s=settings.worker.lease_s,
            interval_s=sweep_s,
            metrics=self._metrics,
        )
        leadership = Leadership(
            store=workers,
            worker_id=worker_id,
            name="leadership",
            ttl_s=settings.worker.lease_s,
            interval_s=settings.worker.heartbeat_s,
            metrics=self._metrics,
        )
        sweeper = Sweeper(
            store=upkeep,
            carrier=carrier,
            leadership=leadership,
            most_rooms=settings.worker.most_rooms_ended,
            interval_s=settings.worker.orphan_sweep_s,
            metrics=self._metrics,
        )
        bookkeeper = Bookkeeper(store=upkeep, leadership=leadership, metrics=self._metrics)
        heart = Heart(
            store=workers,
            recovery=recovery_store,
            cluster=ClusterStore(database=database),
            worker_id=worker_id,
            switchboard=switchboard,
            standing=standing,
            interval_s=settings.worker.heartbeat_s,
            metrics=self._metrics,
        )
        listener = Listener(
            url,
            on_queue=stager.looper.wake,
            on_cancel=lambda _call_id: cancels.looper.wake(),
            on_stop=switchboard.release_undialled,
        )
        age = AgeStore(database=database)
        lookout = Lookout(
            calls=store,
            bottlenecks=BottleneckStore(database=database),
            queue=QueueViewStore(database=database),
            age=age,
            metrics=self._metrics,
        )
        retention = Retention(
            store=age,
            settings=settings.retention,
            metrics=self._metrics,
            may_run=lambda: leadership.leads and not self._draining,
        )

        async def apply(new: Settings) -> None:
            """Everything that is reloadable, where it is used."""
            logs.configure(format=new.log.format, level=new.log.level, mask_numbers=new.log.mask_numbers)
            for looper in (claimer.looper, stager.looper):
                looper.interval_s = new.worker.poll_s
            for looper in (expirer.looper, cancels.looper, recovery.looper):
                looper.interval_s = new.worker.sweep_s
            retention.settings, retention.looper.interval_s = new.retention, new.retention.interval_s
            claimer.batch_size = new.worker.claim_batch
            switchboard.change(seats=new.worker.max_calls, times=conductor_times(new))

        def status() -> str:
            doing = "draining" if self._draining else "taking calls"
            return f"{doing}: {switchboard.live} calls of {reloader.settings.worker.max_calls} are live"

        reloader = Reloader(
            settings=settings,
            asked=self._signals.reload,
            reread=self._reread,
            apply=apply,
            manager=self._manager,
            status=status,
        )

        def drains(live: int) -> None:
            self._manager.patience(PATIENCE_S, f"draining: {live} calls are live")
            heart.looper.wake()  # others see at once that no call is for us any more

        watchdog = Watchdog(
            manager=self._manager,
            status=status,
            loops=lambda: (heart.looper,) if self._draining else (claimer.looper, heart.looper),
            metrics=self._metrics,
            probe=lambda: reach(database),
            command_timeout_s=settings.database.command_timeout_s,
        )
        leading = (leadership.looper, sweeper.looper, bookkeeper.looper, retention.looper)
        taking = (stager.looper, expirer.looper, recovery.looper, claimer.looper, *leading)
        lasting = (cancels.looper, heart.looper, *lookout.loopers)
        self._loops = (*taking, *lasting)
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(component, name=name)
                for name, component in (
                    ("carrier", carrier.run()),
                    ("listener", listener.run()),
                    ("lag", LoopLag(metrics=self._metrics).run()),
                    ("standing", standing.run()),
                    ("watchdog", watchdog.run()),
                    ("reload", reloader.run()),
                    *((looper.name, looper.run()) for looper in lasting),
                )
            ]
            claiming = [tasks.create_task(looper.run(), name=looper.name) for looper in taking]
            running = Running(settings=settings, database=database, carrier=carrier)
            company = self._company.run(running, queue=store, switchboard=switchboard)
            background.append(tasks.create_task(company, name="company"))
            log.info("worker_started", worker_name=settings.worker.name, carrier=settings.carrier.kind.value)
            self._manager.ready(status())

            await self._stop.wait()
            self._draining = True
            self._loops = lasting
            log.info("worker_stopping", live_calls=switchboard.live)
            self._manager.stopping("draining")
            for looper in taking:
                looper.stop()
            # No claim is under way any more once these have returned, so that none is left without a conductor.
            await asyncio.gather(*claiming)
            await leadership.resign()
            await drain(
                switchboard,
                drain_s=lambda: reloader.settings.worker.drain_s,
                hang_up=self._signals.hang_up,
                on_wait=drains,
            )
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
        door = build_door(
            self._settings,
            metrics=self._metrics,
            loops=lambda: [looper.name for looper in self._loops],
            draining=lambda: self._draining,
            database=lambda: self._database,
            carrier=lambda: self._carrier,
        )
        if door is None:
            yield
            return
        await door.start()
        try:
            yield
        finally:
            await door.stop()
