"""The HTTP door: figures, health, and the way in for LiveKit's webhooks.

    GET  /metrics           Prometheus' text format
    GET  /healthz           200 while this process makes progress; 503 means: restart it
    GET  /readyz            200 while it can place calls; 503 means: something it needs is away, or it is draining
    POST /livekit/webhook   401 when the signature, the body's hash or the age is wrong

Health says nothing of what is outside: a daemon whose database is away holds live calls and must not be restarted for it.
Readiness says all of it. Both answer with JSON that names each check and what it found. Must not know what is done with a
webhook, nor how database and carrier are asked.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web

from orchestrator.errors import Error, SettingsError
from orchestrator.metrics import Metrics
from sip.errors import Error as SipError
from sip.livekit.webhooks import Refusal, WebhookRefused

log = structlog.get_logger(__name__)

CHECK_TIMEOUT_S = 3.0
CHECK_AGE_S = 1.0
"""What a check found is told again for this long, so that many askers cost no more than one."""
CARRIER_AGE_S = 5.0
STALLED_AFTER_S = 120.0
"""Loops step at least once a minute, at most every 15 s while they fail, and each step is bounded in time."""
WEBHOOK_LIMIT_BYTES = 1024 * 1024
WEBHOOK_READ_TIMEOUT_S = 10.0

WebhookTaker = Callable[[bytes, str], object]
"""Takes the raw body and the Authorization header. Raises WebhookRefused."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at. A look that raises an error of ours or of the network has found it to be bad."""

    name: str
    look: Callable[[], Awaitable[Verdict]]
    age_s: float = CHECK_AGE_S
    """How old its last verdict may be."""


def loops_check(metrics: Metrics, *, names: Callable[[], Collection[str]], stalled_after_s: float = STALLED_AFTER_S) -> Check:
    """Every loop in `names` ends its steps, well or badly."""
    started_s = time.monotonic()

    async def look() -> Verdict:
        now_s = time.monotonic()
        stalled = []
        for name in sorted(names()):
            progress = metrics.progress(name)
            silent_s = now_s - (progress.last_end_s if progress else started_s)
            if silent_s > stalled_after_s:
                stalled.append(f"{name} has not ended a step for {silent_s:.0f} s")
        return Verdict(not stalled, "; ".join(stalled) or "all make progress")

    return Check("loops", look)


def database_check(pending_migrations: Callable[[], Awaitable[Sequence[str]]]) -> Check:
    """The database can be reached and has this program's schema: `orchestrator.store.migrations.check_schema`."""

    async def look() -> Verdict:
        pending = await pending_migrations()
        if pending:
            return Verdict(ok=False, text=f"{len(pending)} migrations have not run: run `orchestrator migrate`")
        return Verdict(ok=True, text="reachable, schema up to date")

    return Check("database", look)


def carrier_check(reach: Callable[[], Awaitable[object]]) -> Check:
    """The carrier answers `reach`, which makes one small request and raises CarrierUnavailable."""

    async def look() -> Verdict:
        await reach()
        return Verdict(ok=True, text="reachable")

    return Check("carrier", look, age_s=CARRIER_AGE_S)


def draining_check(draining: Callable[[], bool]) -> Check:
    """This process takes calls."""

    async def look() -> Verdict:
        return (
            Verdict(ok=False, text="draining: no new calls are taken") if draining() else Verdict(ok=True, text="takes calls")
        )

    return Check("taking_calls", look)


class Panel:
    """Some checks, looked at together."""

    def __init__(self, *, checks: Sequence[Check], timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._checks = checks
        self._timeout_s = timeout_s
        self._looking = asyncio.Lock()
        self._found: dict[str, tuple[float, Verdict]] = {}
        """By name: when (monotonic seconds), and what."""

    async def verdicts(self) -> dict[str, Verdict]:
        """What each check finds, by name."""
        async with self._looking:
            now_s = time.monotonic()
            due = [check for check in self._checks if not self._is_fresh(check, now_s)]
            for check, verdict in zip(due, await asyncio.gather(*map(self._look, due)), strict=True):
                self._found[check.name] = (now_s, verdict)
            return {check.name: self._found[check.name][1] for check in self._checks}

    def _is_fresh(self, check: Check, now_s: float) -> bool:
        found = self._found.get(check.name)
        return found is not None and now_s - found[0] < check.age_s

    async def _look(self, check: Check) -> Verdict:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await check.look()
        except TimeoutError:
            return Verdict(ok=False, text=f"no answer within {self._timeout_s:g} s")
        except (Error, SipError, OSError) as error:
            return Verdict(ok=False, text=str(error) or type(error).__name__)
        except Exception as error:  # a check that is broken must not pass for one that is well
            log.exception("check_failed", check=check.name)
            return Verdict(ok=False, text=f"the check itself failed: {type(error).__name__}")


class HttpDoor:
    """Listens for HTTP from `start` to `stop`."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        metrics: Metrics,
        alive: Sequence[Check] = (),
        ready: Sequence[Check] = (),
        on_webhook: WebhookTaker | None = None,
    ) -> None:
        """`port` 0: any that is free. `on_webhook` None: this carrier has no webhooks, and their path does not exist."""
        self._host = host
        self._port = port
        self._metrics = metrics
        self._alive = Panel(checks=alive)
        self._ready = Panel(checks=ready)
        self._on_webhook = on_webhook
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        addresses = self._runner.addresses if self._runner else []
        return int(addresses[0][1]) if addresses else self._port

    async def start(self) -> None:
        """Listen. Raises SettingsError if host or port cannot be had."""
        application = web.Application(client_max_size=WEBHOOK_LIMIT_BYTES)
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/healthz", self._show_health)
        application.router.add_get("/readyz", self._show_readiness)
        if self._on_webhook is not None:
            application.router.add_post("/livekit/webhook", self._take_webhook)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except (OSError, UnicodeError) as error:
            await self.stop()
            raise SettingsError(self._why_not(error)) from error
        log.info("http_listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        """Stop listening. Harmless when it never started."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _why_not(self, error: OSError | UnicodeError) -> str:
        if isinstance(error, UnicodeError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            return f'http.host = "{self._host}": is no address of this machine; choose 127.0.0.1, or 0.0.0.0 for all'
        if error.errno == errno.EADDRINUSE:
            return f"http.port = {self._port}: another program listens on it at {self._host}; choose another, or 0 for no HTTP"
        if error.errno == errno.EACCES:
            return f"http.port = {self._port}: this user may not listen on it; choose one above 1023"
        return f"http: cannot listen on {self._host}:{self._port}: {error.strerror or error}"

    async def _show_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _show_health(self, _request: web.Request) -> web.Response:
        return await _answer(self._alive, good="alive", bad="stalled")

    async def _show_readiness(self, _request: web.Request) -> web.Response:
        return await _answer(self._ready, good="ready", bad="not ready")

    async def _take_webhook(self, request: web.Request) -> web.Response:
        assert self._on_webhook is not None  # noqa: S101  the route exists only with it
        try:
            async with asyncio.timeout(WEBHOOK_READ_TIMEOUT_S):
                body = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        try:
            self._on_webhook(body, request.headers.get("Authorization", ""))
        except WebhookRefused as refused:
            log.warning("webhook_refused", why=refused.refusal.value, peer=request.remote)
            garbage = refused.refusal is Refusal.GARBAGE
            status = web.HTTPBadRequest.status_code if garbage else web.HTTPUnauthorized.status_code
            return web.json_response({"error": str(refused)}, status=status)
        return web.json_response({})


async def _answer(panel: Panel, *, good: str, bad: str) -> web.Response:
    verdicts = await panel.verdicts()
    well = all(verdict.ok for verdict in verdicts.values())
    return web.json_response(
        {
            "status": good if well else bad,
            "checks": {name: {"ok": verdict.ok, "text": verdict.text} for name, verdict in verdicts.items()},
        },
        status=web.HTTPOk.status_code if well else web.HTTPServiceUnavailable.status_code,
        headers={"Cache-Control": "no-store"},
    )
