"""Who answered, through the whole product: what is heard on a real server, what the policy makes of it, and what is recorded.

The callees' audio is in real time, and so are these tests; a few calls are played at once, so that a busy machine can keep up.
"""

from __future__ import annotations

import asyncio
import signal
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from orchestrator.ids import CallId
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.views import CallView
from tests.e2e.daemon import Daemon, Desk, number, start_daemon
from tests.fixtures.database import EMBEDDED, PostgresServers
from tests.fixtures.livekit import RealServer, StandIn
from tests.fixtures.processes import RunningProcess
from tests.standin.ledger import Dial

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit"), pytest.mark.timeout(300)]

AT_ONCE = 7
SERIES = 60
ATTEMPTS = 5
FAX, LONG_GREETING = 12, 32
"""Lines of the stand-in; the second rings for a second only."""
MESSAGE_S = 1.5
MESSAGE = "MESSAGE"
"""In a policy: the path of a recorded message."""


@dataclass(frozen=True)
class Scene:
    """A callee, a policy, and what is to become of the call."""

    line: int
    policy: Mapping[str, Any]
    reason: EndReason
    answered_by: AnsweredBy
    evidence: Mapping[str, object]
    """Of it, this; a set: any of these."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    heard_s: float = 0.0
    """The callee heard at least so much of us."""
    quiet_s: float = 0.0
    """It was quiet for at least so long, as the evidence says."""


SCENES = {  # the long ones first
    "a person who picks up after a machine's greeting": Scene(
        32,
        {"on_voicemail": "leave_message", "message": MESSAGE, "no_beep_wait_s": 10.0},
        EndReason.USER_HUNG_UP_IN_CALL,
        AnsweredBy.HUMAN,
        {"verdict": "person", "verdict_stage": "revised"},
    ),
    "a person": Scene(
        30,
        {"on_voicemail": "hang_up"},
        EndReason.AGENT_HUNG_UP,
        AnsweredBy.HUMAN,
        {"verdict": "person"},
        metadata={"end_after_s": 12},
    ),
    "a machine without a beep": Scene(
        5,
        {"on_voicemail": "leave_message", "message": MESSAGE, "no_beep_wait_s": 2.0, "hang_up_probability": 0.9},
        EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE,
        AnsweredBy.MACHINE,
        {"verdict": "machine", "message_by": "file", "message_after": "greeting"},
        heard_s=MESSAGE_S / 2,
    ),
    "a machine with a beep, hung up on": Scene(
        4,
        {"on_voicemail": "hang_up"},
        EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED,
        AnsweredBy.MACHINE,
        {"verdict": {"voicemail", "machine"}},
    ),
    "a machine with a beep, and a recorded message after it": Scene(
        4,
        {"on_voicemail": "leave_message", "message": MESSAGE, "no_beep_wait_s": 20.0},
        EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE,
        AnsweredBy.MACHINE,
        {"verdict": "voicemail", "message_by": "file", "message_after": "beep"},
        heard_s=MESSAGE_S / 2,
    ),
    "a machine with a beep, and the agent speaks after it": Scene(
        4,
        {"on_voicemail": "leave_message", "hold_first_words": True, "no_beep_wait_s": 20.0},
        EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE,
        AnsweredBy.MACHINE,
        {"verdict": "voicemail", "message_by": "agent", "message_after": "beep"},
        heard_s=1.0,
    ),
    "a mailbox that is full": Scene(
        33,
        {"on_mailbox_full": "hang_up"},
        EndReason.AGENT_HUNG_UP_BY_POLICY,
        AnsweredBy.MACHINE,
        {"verdict": "mailbox_full"},
    ),
    "a menu": Scene(13, {"on_menu": "hang_up"}, EndReason.AGENT_HUNG_UP_BY_POLICY, AnsweredBy.IVR, {"verdict": "menu"}),
    "a call screener": Scene(
        14,
        {"on_screening": "hang_up"},
        EndReason.AGENT_HUNG_UP_BY_POLICY,
        AnsweredBy.SCREENING,
        {"verdict": "screening"},
    ),
    "a fax": Scene(12, {}, EndReason.FAX_DETECTED, AnsweredBy.FAX, {"verdict": "fax", "verdict_rule": "fax"}),
    "an announcement after information tones": Scene(
        34,
        {"on_announcement": "hang_up"},
        EndReason.AGENT_HUNG_UP_BY_POLICY,
        AnsweredBy.MACHINE,
        {"verdict": "announcement"},
    ),
    "a busy tone after the answer": Scene(
        35,
        {"on_call_progress": "hang_up"},
        EndReason.AGENT_HUNG_UP_BY_POLICY,
        AnsweredBy.MACHINE,
        {"verdict": "call_progress"},
    ),
    "silence": Scene(
        11,
        {"silence_warning_s": 2.0, "silence_s": 4.0},
        EndReason.AGENT_HUNG_UP_SILENCE_DETECTED,
        AnsweredBy.UNKNOWN,
        {},
        quiet_s=4.0,
    ),
    "nobody says anything any more": Scene(
        36, {"idle_s": 5.0}, EndReason.IDLE_TIMEOUT, AnsweredBy.HUMAN, {"verdict": "person"}, quiet_s=5.0
    ),
    "the callee's audio stops": Scene(
        37, {"media_lost_s": 2.0}, EndReason.MEDIA_LOST, AnsweredBy.HUMAN, {"verdict": "person"}, quiet_s=2.0
    ),
}


@pytest.fixture(scope="module")
def message(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recorded message that can be heard."""
    path = tmp_path_factory.mktemp("message") / "message.wav"
    loud = b"".join((8000 if n // 8 % 2 else -8000).to_bytes(2, "little", signed=True) for n in range(round(8000 * MESSAGE_S)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(loud)
    return str(path)


@pytest.fixture(scope="module")
def listening_daemon(
    real_livekit: RealServer,
    stand_in: StandIn,
    example_agent: RunningProcess,
    postgres_servers: PostgresServers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemon]:
    """A daemon with listeners that are ready."""
    url = asyncio.run(postgres_servers.create_database(EMBEDDED))
    directory = tmp_path_factory.mktemp("listening")
    daemon = start_daemon(url, server=real_livekit, stand_in=stand_in, directory=directory, listens=True, media_timeout_s=30.0)
    try:
        daemon.process.wait_until(lambda: daemon.process.says("listener_ready"), what="listening", timeout_s=120)
        yield daemon
    finally:
        daemon.stop()
        asyncio.run(postgres_servers.drop_database(url))


@pytest.fixture(scope="module")
def played(listening_daemon: Daemon, message: str) -> Mapping[str, CallView]:
    """All scenes, a few at once, each as it ended."""

    async def play(scene: Scene, desk: Desk, series: int, gate: asyncio.Semaphore) -> CallView:
        policy = {name: message if value == MESSAGE else value for name, value in scene.policy.items()}
        async with gate:
            for _ in range(ATTEMPTS):
                call_id = await desk.enqueue(
                    number(scene.line, series=series),
                    metadata=scene.metadata,
                    detection={"on": True, **policy},
                    max_duration_s=30.0,
                    ring_timeout_s=20.0,
                )
                view = await desk.until_ended(call_id, timeout_s=240)
                if "listening_lost" not in kinds_of(view):  # it says so if the machine was too slow to hear the first words
                    break
            return view

    async def play_all() -> Mapping[str, CallView]:
        gate = asyncio.Semaphore(AT_ONCE)
        async with listening_daemon.desk() as desk:
            views = await asyncio.gather(
                *(play(scene, desk, SERIES + index, gate) for index, scene in enumerate(SCENES.values()))
            )
            return dict(zip(SCENES, views, strict=True))

    return asyncio.run(play_all())


def dial_of(daemon: Daemon, view: CallView) -> Dial:
    """What the far end knows of the call's last dial: one that the media server had no time for is repeated."""
    return daemon.stand_in.ledger.dials(room=view.dials[-1].room)[-1]


@pytest.mark.parametrize("name", SCENES)
def test_each_scene_ends_in_its_reason_and_says_who_answered(played: Mapping[str, CallView], name: str) -> None:
    outcome = played[name].call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.answered_by) == (SCENES[name].reason, SCENES[name].answered_by), played[name]


@pytest.mark.parametrize("name", SCENES)
def test_the_evidence_says_why(played: Mapping[str, CallView], name: str) -> None:
    outcome = played[name].call.outcome
    assert outcome is not None
    quiet_s = outcome.evidence.get("quiet_s", 0.0)
    assert isinstance(quiet_s, int | float)
    assert quiet_s >= SCENES[name].quiet_s
    for fact, expected in SCENES[name].evidence.items():
        found = outcome.evidence.get(fact)
        assert found in expected if isinstance(expected, set) else found == expected, played[name]


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene.heard_s])
def test_what_is_said_to_a_machine_is_heard_there(listening_daemon: Daemon, played: Mapping[str, CallView], name: str) -> None:
    assert dial_of(listening_daemon, played[name]).heard_s >= SCENES[name].heard_s, played[name]


def test_the_silent_callees_agent_is_warned_first(played: Mapping[str, CallView]) -> None:
    kinds = kinds_of(played["silence"])
    assert kinds.index("silence_warning") < kinds.index("order")


@pytest.fixture(scope="module")
def bereft(listening_daemon: Daemon, played: Mapping[str, CallView]) -> tuple[CallView, CallView]:
    """A call whose listener is killed in the middle of the greeting, and a call after it, both as they ended."""

    async def play() -> tuple[CallView, CallView]:
        async with listening_daemon.desk() as desk:
            for attempt in range(ATTEMPTS):
                policy = {"on": True, "on_voicemail": "hang_up", "on_machine": "hang_up", "hang_up_probability": 0.9}
                to = number(LONG_GREETING, series=SERIES - 1 - attempt)
                killed = await desk.enqueue(to, detection=policy, metadata={"end_after_s": 8}, ring_timeout_s=20.0)
                await until_first_verdict(desk, killed)
                for child in listeners_of(listening_daemon):
                    child.send_signal(signal.SIGKILL)
                await until_listening_again(listening_daemon)
                after = await desk.enqueue(number(FAX, series=SERIES - 1 - attempt), detection={"on": True})
                views = await desk.until_ended(killed), await desk.until_ended(after)
                if "listening_lost" in kinds_of(views[0]):
                    return views
            raise AssertionError(f"the final verdict was always sooner than the kill: {views}")

    return asyncio.run(play())


def kinds_of(view: CallView) -> list[str]:
    """What happened in the call, in order."""
    return [event.kind for event in view.events]


async def until_first_verdict(desk: Desk, call_id: CallId) -> None:
    """Until it is told who answers, as far as that is known in the middle of a greeting."""
    async with asyncio.timeout(120):
        while "verdict" not in kinds_of(await desk.show(call_id)):
            await asyncio.sleep(0.05)


def listeners_of(daemon: Daemon) -> list[psutil.Process]:
    """The daemon's listener processes."""
    children = psutil.Process(daemon.process.pid).children(recursive=True)
    return [child for child in children if "sip.livekit.listening" in child.cmdline()]


async def until_listening_again(daemon: Daemon) -> None:
    """Until a listener has been started after the death of the first."""
    async with asyncio.timeout(120):
        while True:
            _, death, after = daemon.process.log.read_text().rpartition("listener_died")
            if death and "listener_ready" in after:
                return
            await asyncio.sleep(0.1)


def test_a_listener_that_is_killed_takes_no_call_with_it(bereft: tuple[CallView, CallView]) -> None:
    call = bereft[0].call
    assert call.outcome is not None
    assert call.outcome.reason is EndReason.AGENT_HUNG_UP, bereft[0]
    assert call.outcome.answered_by is AnsweredBy.MACHINE, "as far as was heard"
    assert "died" in str(call.outcome.evidence["listening_lost"])
    assert call.outcome.evidence["verdict_stage"] == "first", "no final verdict on half a greeting"


def test_after_that_calls_are_listened_to_again(bereft: tuple[CallView, CallView]) -> None:
    outcome = bereft[1].call.outcome
    assert outcome is not None
    assert outcome.reason is EndReason.FAX_DETECTED, bereft[1]


def test_listeners_are_given_no_secrets(listening_daemon: Daemon, real_livekit: RealServer) -> None:
    for child in listeners_of(listening_daemon):
        shown = " ".join([*child.cmdline(), *child.environ().values()])
        assert real_livekit.api_secret not in shown
        assert "postgres" not in shown
