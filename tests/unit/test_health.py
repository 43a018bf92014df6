from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import pytest
import structlog.testing
from livekit.api import AccessToken

from orchestrator.errors import DatabaseUnavailable, SettingsError
from orchestrator.health import Check, HttpDoor, Panel, Verdict, carrier_check, database_check, draining_check, loops_check
from orchestrator.metrics import Metrics
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.livekit.rooms import Deployment, LeaveNotice
from sip.livekit.timings import LiveKitTimings
from sip.livekit.webhooks import Refusal, WebhookInbox, WebhookRefused

KEY, SECRET = "APItest", "secret-of-at-least-thirty-two-bytes!"
OpenDoor = Callable[..., Awaitable[HttpDoor]]


@pytest.fixture
async def open_door() -> AsyncIterator[OpenDoor]:
    doors: list[HttpDoor] = []

    async def open_one(**options: Any) -> HttpDoor:
        door = HttpDoor(host="127.0.0.1", port=0, metrics=options.pop("metrics", None) or Metrics(), **options)
        doors.append(door)
        await door.start()
        return door

    yield open_one
    for door in doors:
        await door.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


def url(door: HttpDoor, path: str) -> str:
    return f"http://127.0.0.1:{door.port}{path}"


def found(name: str, *, ok: bool = True, text: str = "fine") -> Check:
    async def look() -> Verdict:
        return Verdict(ok, text)

    return Check(name, look)


def failing(name: str, error: BaseException) -> Check:
    async def look() -> Verdict:
        raise error

    return Check(name, look)


# -- what is answered


@pytest.mark.parametrize(("path", "panel", "word"), [("/healthz", "alive", "alive"), ("/readyz", "ready", "ready")])
async def test_all_is_well_is_200_and_names_each_check(
    open_door: OpenDoor, http: aiohttp.ClientSession, path: str, panel: str, word: str
) -> None:
    door = await open_door(**{panel: [found("database"), found("carrier", text="3 rooms")]})
    async with http.get(url(door, path)) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert await answer.json() == {
            "status": word,
            "checks": {"database": {"ok": True, "text": "fine"}, "carrier": {"ok": True, "text": "3 rooms"}},
        }


@pytest.mark.parametrize(("path", "panel", "word"), [("/healthz", "alive", "stalled"), ("/readyz", "ready", "not ready")])
async def test_one_bad_check_is_503_and_the_others_are_told_too(
    open_door: OpenDoor, http: aiohttp.ClientSession, path: str, panel: str, word: str
) -> None:
    door = await open_door(**{panel: [found("database"), found("carrier", ok=False, text="away")]})
    async with http.get(url(door, path)) as answer:
        assert answer.status == 503
        told = await answer.json()
    assert told["status"] == word
    assert told["checks"] == {"database": {"ok": True, "text": "fine"}, "carrier": {"ok": False, "text": "away"}}


async def test_what_is_away_makes_it_unready_and_not_unhealthy(open_door: OpenDoor, http: aiohttp.ClientSession) -> None:
    """A restart would not bring the database back, and would end live calls."""
    metrics = Metrics()
    metrics.loop_failed("claimer")
    away = DatabaseUnavailable("the database cannot be used: connection refused")
    door = await open_door(
        metrics=metrics, alive=[loops_check(metrics, names=lambda: ["claimer"])], ready=[failing("database", away)]
    )
    async with http.get(url(door, "/healthz")) as answer:
        assert answer.status == 200
    async with http.get(url(door, "/readyz")) as answer:
        assert answer.status == 503
        assert (await answer.json())["checks"]["database"]["text"] == str(away)


async def test_metrics_are_served_in_prometheus_format(open_door: OpenDoor, http: aiohttp.ClientSession) -> None:
    metrics = Metrics()
    metrics.call_ended("USER_BUSY")
    door = await open_door(metrics=metrics)
    async with http.get(url(door, "/metrics")) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        assert 'orchestrator_calls_ended_total{end_reason="USER_BUSY"} 1.0' in await answer.text()


async def test_other_paths_and_methods_are_refused(open_door: OpenDoor, http: aiohttp.ClientSession) -> None:
    door = await open_door()
    for method, path, status in (("GET", "/", 404), ("POST", "/metrics", 405), ("POST", "/livekit/webhook", 404)):
        async with http.request(method, url(door, path)) as answer:
            assert answer.status == status


# -- the checks


@pytest.mark.parametrize(
    "error", [DatabaseUnavailable("gone"), CarrierUnavailable("gone"), ConnectionRefusedError("gone"), OSError("gone")]
)
async def test_a_check_that_raises_an_error_of_the_outside_has_found_it_bad(error: Exception) -> None:
    assert await Panel(checks=[failing("x", error)]).verdicts() == {"x": Verdict(ok=False, text="gone")}


async def test_a_check_that_is_broken_does_not_pass_for_well_and_is_logged() -> None:
    with structlog.testing.capture_logs() as lines:
        verdicts = await Panel(checks=[failing("x", KeyError("oops")), found("y")]).verdicts()
    assert verdicts == {"x": Verdict(ok=False, text="the check itself failed: KeyError"), "y": Verdict(ok=True, text="fine")}
    assert [line["event"] for line in lines] == ["check_failed"]


async def test_a_check_that_does_not_answer_is_bad_and_does_not_hold_up_the_answer() -> None:
    async def look() -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError

    verdicts = await Panel(checks=[Check("x", look), found("y")], timeout_s=0.05).verdicts()
    assert verdicts["x"] == Verdict(ok=False, text="no answer within 0.05 s")
    assert verdicts["y"].ok


async def test_many_askers_at_once_cost_one_look() -> None:
    looks = 0

    async def look() -> Verdict:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return Verdict(ok=True, text="")

    panel = Panel(checks=[Check("x", look, age_s=60.0)])
    await asyncio.gather(*(panel.verdicts() for _ in range(20)))
    assert looks == 1


async def test_a_verdict_that_is_too_old_is_looked_at_again() -> None:
    ok = True

    async def look() -> Verdict:
        return Verdict(ok, "")

    panel = Panel(checks=[Check("x", look, age_s=0.0)])
    assert (await panel.verdicts())["x"].ok
    ok = False
    assert not (await panel.verdicts())["x"].ok


async def test_a_loop_that_ends_no_step_is_stalled_also_one_that_never_ended_any() -> None:
    metrics = Metrics()
    metrics.loop_succeeded("claimer")
    names = ["claimer", "stager"]
    patient = loops_check(metrics, names=lambda: names, stalled_after_s=60)
    assert (await patient.look()) == Verdict(ok=True, text="all make progress")
    strict = loops_check(metrics, names=lambda: names, stalled_after_s=-1)
    verdict = await strict.look()
    assert not verdict.ok
    assert "claimer has not ended a step" in verdict.text
    assert "stager has not ended a step" in verdict.text


async def test_a_loop_that_was_stopped_is_not_missed() -> None:
    names = ["claimer"]
    check = loops_check(Metrics(), names=lambda: names, stalled_after_s=-1)
    assert not (await check.look()).ok
    names.clear()
    assert (await check.look()).ok


async def test_the_database_is_ready_with_this_programs_schema_only() -> None:
    async def pending(*names: str) -> Sequence[str]:
        return names

    assert (await database_check(pending).look()).ok
    verdict = await database_check(lambda: pending("0002_x.sql")).look()
    assert verdict == Verdict(ok=False, text="1 migrations have not run: run `orchestrator migrate`")


async def test_the_carrier_is_ready_when_it_answers() -> None:
    async def reach() -> None:
        if away:
            raise CarrierUnavailable("LiveKit does not answer")

    away = False
    panel = Panel(checks=[carrier_check(reach)])
    assert (await panel.verdicts())["carrier"].ok
    away = True
    assert (await Panel(checks=[carrier_check(reach)]).verdicts())["carrier"] == Verdict(
        ok=False, text="LiveKit does not answer"
    )


async def test_a_draining_worker_is_not_ready() -> None:
    assert (await draining_check(lambda: False).look()).ok
    assert (await draining_check(lambda: True).look()) == Verdict(ok=False, text="draining: no new calls are taken")


# -- webhooks


def inbox(hints: list[str], observer: Metrics) -> WebhookInbox:
    def notice(_room: str, _notice: LeaveNotice) -> None:
        pass

    return WebhookInbox(
        api_key=KEY,
        api_secret=SECRET,
        deployment=Deployment(deployment_id=uuid.UUID(int=1)),
        clock=Clock(),
        timings=LiveKitTimings(),
        observer=observer,
        hint=hints.append,
        notice=notice,
    )


def signed(body: bytes, *, key: str = KEY, secret: str = SECRET) -> str:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return AccessToken(key, secret).with_sha256(digest).to_jwt()


def event(*, created_at: float | None = None) -> bytes:
    room = {"name": "someone-elses"}
    moment = int(time.time() if created_at is None else created_at)
    return json.dumps({"event": "room_finished", "id": "EV_1", "createdAt": str(moment), "room": room}).encode()


async def test_a_webhook_in_order_is_taken_with_its_raw_body(open_door: OpenDoor, http: aiohttp.ClientSession) -> None:
    taken: list[tuple[bytes, str]] = []
    door = await open_door(on_webhook=lambda body, authorization: taken.append((body, authorization)))
    body = b'{"event": "room_finished"}  '
    headers = {"Authorization": "token", "Content-Type": "application/webhook+json"}
    async with http.post(url(door, "/livekit/webhook"), data=body, headers=headers) as answer:
        assert answer.status == 200
    assert taken == [(body, "token")]


WEBHOOKS: dict[str, tuple[Callable[[], tuple[bytes, str]], int]] = {
    "in order": (lambda: (event(), signed(event())), 200),
    "signed with another secret": (lambda: (event(), signed(event(), secret="another-secret-of-thirty-two-bytes!!")), 401),
    "signed with another key": (lambda: (event(), signed(event(), key="APIother")), 401),
    "another body": (lambda: (event() + b" ", signed(event())), 401),
    "not signed": (lambda: (event(), ""), 401),
    "signed with nonsense": (lambda: (event(), "Bearer nonsense"), 401),
    "too old": (lambda: (event(created_at=1), signed(event(created_at=1))), 401),
    "not an event": (lambda: (b"[]", signed(b"[]")), 400),
}


@pytest.mark.parametrize("name", WEBHOOKS)
async def test_a_webhook_is_believed_only_if_signature_body_and_age_are_right(
    open_door: OpenDoor, http: aiohttp.ClientSession, name: str
) -> None:
    make, status = WEBHOOKS[name]
    body, authorization = make()
    door = await open_door(on_webhook=inbox([], Metrics()).receive)
    async with http.post(url(door, "/livekit/webhook"), data=body, headers={"Authorization": authorization}) as answer:
        assert answer.status == status


async def test_a_refused_webhook_is_logged_with_its_reason(open_door: OpenDoor, http: aiohttp.ClientSession) -> None:
    def refuse(_body: bytes, _authorization: str) -> None:
        raise WebhookRefused(Refusal.STALE)

    door = await open_door(on_webhook=refuse)
    with structlog.testing.capture_logs() as lines:
        async with http.post(url(door, "/livekit/webhook"), data=b"{}") as answer:
            assert answer.status == 401
            assert await answer.json() == {"error": "webhook refused: stale"}
    assert [(line["event"], line["why"]) for line in lines] == [("webhook_refused", "stale")]


async def test_a_webhook_that_is_too_large_is_refused_unread(open_door: OpenDoor, http: aiohttp.ClientSession) -> None:
    taken: list[bytes] = []
    door = await open_door(on_webhook=lambda body, _authorization: taken.append(body))
    async with http.post(url(door, "/livekit/webhook"), data=b"x" * (1024 * 1024 + 1)) as answer:
        assert answer.status == 413
    assert taken == []


# -- listening


async def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        door = HttpDoor(host="127.0.0.1", port=port, metrics=Metrics())
        with pytest.raises(
            SettingsError, match=f"http.port = {port}: another program listens on it at 127.0.0.1; choose another"
        ):
            await door.start()
    await door.start()  # and is tried again once it is free
    await door.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no..host"])
async def test_a_host_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(SettingsError, match=f'http.host = "{host}": is no address of this machine'):
        await HttpDoor(host=host, port=0, metrics=Metrics()).start()


async def test_after_stop_nobody_answers_and_stopping_again_is_harmless(
    open_door: OpenDoor, http: aiohttp.ClientSession
) -> None:
    door = await open_door()
    address = url(door, "/healthz")
    await door.stop()
    await door.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.get(address)
