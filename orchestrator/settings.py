"""The settings: one frozen tree, from a TOML file with environment variables over it.

Each field carries its unit in its name, its default, its range, a sentence, and whether it can change without a restart.
`[calls] ring_timeout_s` in the file is `ORCHESTRATOR_CALLS__RING_TIMEOUT_S` in the environment. Values that contradict each
other are refused in one place, `Settings._contradictions`; what is allowed and probably not meant is in `Settings.warnings`.

Knows nothing of the components that use the values, nor how mistakes are worded (orchestrator.settings_text).
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.errors import SettingsError
from orchestrator.settings_fields import DelayPair, Names, Section, days, delay_pair, number, setting
from orchestrator.settings_listening import Listening, SecondOpinion
from orchestrator.settings_sources import Given, Key
from orchestrator.settings_text import example, problems, without_user

PREFIX = "ORCHESTRATOR_"
FILE_VARIABLE = "ORCHESTRATOR_SETTINGS_FILE"
"""Names the file where the command line does not."""
LIVEKIT_VARIABLES = {"url": "LIVEKIT_URL", "api_key": "LIVEKIT_API_KEY", "api_secret": "LIVEKIT_API_SECRET"}
"""What LiveKit's own tools read; used where carrier.kind is livekit and nothing else names the value."""
REQUEST_RING_LIMIT_S = 75.0
"""Most that a dial request may ask for as ring time: the server gives up at 80 s (LIVEKIT.md 1.4)."""
SHORT_RING_S = 15.0
"""Under this many people cannot reach their phone: allowed, with a warning."""


class CarrierKind(enum.Enum):
    """Who carries the calls."""

    SIMULATED = "simulated"
    LIVEKIT = "livekit"


class LogFormat(enum.Enum):
    """How a log line is written."""

    CONSOLE = "console"
    JSON = "json"


LogLevel = Literal["debug", "info", "warning", "error"]


def _database_url(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not value.get_secret_value().startswith(("postgres://", "postgresql://")):
        raise PydanticCustomError("not_a_database", "must be the URL of a PostgreSQL database")
    return value


def _livekit_url(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in {"ws", "wss", "http", "https"} or not parts.hostname or "@" in parts.netloc):
        raise PydanticCustomError("not_a_livekit", "must be the URL of a LiveKit server")
    return value


class Database(Section):
    """PostgreSQL, where everything is kept: version 15 or later."""

    url: Annotated[SecretStr, AfterValidator(_database_url)] = setting(
        SecretStr(""),
        "Where the database is. Empty: an embedded server in data_dir, for trying out.",
        allowed="empty or like postgresql://user:password@host:5432/name",
    )
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = setting(
        Path("orchestrator-data"), "Directory of the embedded server; used only while url is empty."
    )
    pool_min: int = number(2, 0, 500, "Connections that are kept open.")
    pool_max: int = number(10, 1, 500, "Most connections at once, beside one that listens.")
    command_timeout_s: float = number(10.0, 0.5, 300, "How long a statement may take before it counts as failed.")

    @property
    def shown_url(self) -> str:
        """The URL for logs and messages: no password, no query (asyncpg takes passwords there too)."""
        return without_user(self.url.get_secret_value().partition("?")[0])


class Worker(Section):
    """This process among all workers of the database."""

    name: Annotated[str, AfterValidator(lambda name: name or socket.gethostname())] = setting(
        "", "Name shown for this worker; several may have the same. Empty: the name of the host.", max_length=200
    )
    max_calls: int = number(2000, 1, 20_000, "Most calls that this process holds at once.", reloadable=True)
    claim_batch: int = number(20, 1, 100, "Most calls claimed by one statement.", reloadable=True)
    poll_s: float = number(0.5, 0.05, 60, "How often the queue is looked at when nobody tells of new work.", reloadable=True)
    sweep_s: float = number(
        1.0, 0.1, 60, "How often expired calls, cancels and calls of dead workers are looked for.", reloadable=True
    )
    heartbeat_s: float = number(5.0, 0.2, 60, "How often this worker writes its sign of life.")
    lease_s: float = number(30.0, 0.6, 600, "A worker without a sign of life for so long is dead; others recover its calls.")
    orphan_sweep_s: float = number(10.0, 0.2, 600, "How often the leader looks for rooms that belong to no live call.")
    most_rooms_ended: int = number(20, 0, 10_000, "A sweep that would end more rooms stops and waits for an operator.")
    drain_s: float = number(
        600.0, 0, 86_400, "How long calls may go on after a stop signal; a second signal hangs up at once.", reloadable=True
    )


class Carriers(Section):
    """Who carries the calls."""

    kind: CarrierKind = setting(
        CarrierKind.SIMULATED,
        "simulated: no phone rings, callees follow scripts. livekit: real calls, by LiveKit's SIP service.",
    )


class Simulated(Section):
    """The simulated carrier; used only where carrier.kind is simulated."""

    seed: int = number(1, 0, 2**63 - 1, "What numbers do that are no test numbers is drawn with this seed.")
    time_scale: float = number(1.0, 0.1, 1000, "How much faster than real time calls run.")
    agent_delay_s: float = number(0.3, 0, 60, "How long a simulated agent takes to join its room.")
    missing_agents: Names = setting(
        (), "Names of agents that never come.", allowed="a list of names; separated by commas in the environment"
    )


class LiveKit(Section):
    """LiveKit, its SIP service, and how closely its rooms are watched; used only where carrier.kind is livekit.

    LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET are read for what neither this section nor its own variables give.
    """

    url: Annotated[str, AfterValidator(_livekit_url)] = setting(
        "", "Where the LiveKit server is.", allowed="empty or like wss://my-project.livekit.cloud or ws://127.0.0.1:7880"
    )
    api_key: str = setting("", "API key of the LiveKit project.", max_length=200)
    api_secret: SecretStr = setting(SecretStr(""), "Secret of the API key; best given by the environment.")
    request_timeout_s: float = number(10.0, 1, 60, "How long a request to LiveKit may take, other than the dial itself.")
    post_dial_allowance_s: float = number(
        12.0, 0, 45, "Added to the ring time of a dial request, for the time before it rings.", reloadable=True
    )
    ring_poll_ms: int = number(500, 100, 5000, "How often a room is looked at until it rings: the error of ring times.")
    sweep_s: float = number(1.0, 0.2, 60, "How often all rooms are listed, by one request.")
    looks_per_s: float = number(50.0, 1, 10_000, "Most looks at single rooms a second, over all calls of this process.")
    webhook_max_age_s: float = number(300.0, 10, 86_400, "Webhooks older than this are refused.")
    media_timeout_s: float = number(30.0, 0, 600, "A call without audio packets for so long is ended. 0: as the trunk says.")


class Calls(Section):
    """What is true of a call unless its account or itself says otherwise, and how long it waits for what."""

    ring_timeout_s: float = number(30.0, 5, 60, "How long a phone may ring, counted from its first ring.", reloadable=True)
    max_duration_s: float = number(3600.0, 5, 86_370, "Longest conversation.", reloadable=True)
    expires_after_s: float = number(
        86_400.0, 1, 31 * 86_400, "A call that could not be dialled for so long is given up.", reloadable=True
    )
    past_schedule_tolerance_s: float = number(
        300.0, 0, 86_400, "A schedule past by up to this means now; older is refused.", reloadable=True
    )
    agent_join_timeout_s: float = number(
        10.0, 1, 120, "How long to wait for the agent before the call returns to the queue.", reloadable=True
    )
    agent_return_grace_s: float = number(
        10.0, 0, 120, "How long an agent that vanished may take to come back.", reloadable=True
    )
    agent_delays_s: DelayPair = delay_pair(
        5.0, 300.0, "Wait after an agent did not come: first, doubling up to the second figure."
    )
    trunk_delays_s: DelayPair = delay_pair(
        10.0, 600.0, "Wait after trunk or media server refused: first, doubling up to the second."
    )
    gate_delay_s: float = number(
        10.0, 0.1, 3600, "How long a call waits that the last gate sent back and that it cannot tell a time.", reloadable=True
    )
    intent_max_age_s: float = number(2.0, 0.1, 2, "A dial request that is late by more than this is not sent.", reloadable=True)
    leg_reason_grace_s: float = number(2.0, 0, 30, "How long to wait for the word why an answered leg is gone.")


class Retention(Section):
    """How long what is over is kept. 0: for ever.

    A call leaves with its attempts, dials and events. It stays longer while its idempotency key is younger than 24 hours, or
    one of its dials counts in its account's spacing (the gap between dials and the most dials to a number).
    """

    calls_days: int = days(90, "Calls that have ended, counted from their end.")
    system_events_days: int = days(90, "Events of the system: circuits, switches, sweeps, repairs.")
    workers_days: int = days(30, "Workers that have stopped or died, once no live call names them.")
    caller_id_days: int = days(8, "Counts of dials a day from each caller id; only today's decide.")
    trunk_failures_days: int = days(7, "Failures of trunks, which circuits are judged by; those of the last hour decide.")
    do_not_call_days: int = days(30, "Do-not-call entries that have expired, counted from their expiry.")
    batch: int = number(500, 10, 5000, "Most calls removed by one transaction.", reloadable=True)
    interval_s: float = number(600.0, 1, 86_400, "How often old rows are looked for.", reloadable=True)


class Http(Section):
    """The HTTP door: /metrics, /healthz, /readyz and /livekit/webhook."""

    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 is all of this machine's.", min_length=1, max_length=255)
    port: int = number(8080, 0, 65_535, "Port to listen on. 0: no HTTP at all.")


class Log(Section):
    """Log lines, on standard error."""

    format: LogFormat = setting(LogFormat.CONSOLE, "console: for people. json: one object a line, for programs.")
    level: LogLevel = setting("info", "Least severity that is written.", reloadable=True)
    mask_numbers: bool = setting(True, "Show only the last four digits of phone numbers.", reloadable=True)


def _section(section: type[Section]) -> Any:
    return Field(default_factory=section, description=section.__doc__)


class Settings(Section):
    """All settings of one daemon."""

    database: Database = _section(Database)
    worker: Worker = _section(Worker)
    carrier: Carriers = _section(Carriers)
    simulated: Simulated = _section(Simulated)
    livekit: LiveKit = _section(LiveKit)
    calls: Calls = _section(Calls)
    listening: Listening = _section(Listening)
    second_opinion: SecondOpinion = _section(SecondOpinion)
    retention: Retention = _section(Retention)
    http: Http = _section(Http)
    log: Log = _section(Log)

    @property
    def is_real(self) -> bool:
        """Whether real phones ring."""
        return self.carrier.kind is CarrierKind.LIVEKIT

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and probably not meant, one sentence each."""
        return tuple(self._doubts())

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        """All checks that look at more than one field."""
        contradictions = tuple(self._contradictions())
        if contradictions:
            raise PydanticCustomError("contradictions", "settings contradict each other", {"contradictions": contradictions})
        return self

    def _contradictions(self) -> Iterator[tuple[Key, str]]:
        """The field to name first, and what is wrong with it."""
        if self.database.pool_min > self.database.pool_max:
            yield ("database", "pool_min"), f"must not be above database.pool_max ({self.database.pool_max})"
        if self.worker.lease_s < 3 * self.worker.heartbeat_s:
            least_s = 3 * self.worker.heartbeat_s
            yield ("worker", "lease_s"), f"must be at least {least_s:g}, three times worker.heartbeat_s"
        asked_s = self.calls.ring_timeout_s + self.livekit.post_dial_allowance_s
        if asked_s > REQUEST_RING_LIMIT_S:
            allowance = f"livekit.post_dial_allowance_s ({self.livekit.post_dial_allowance_s:g})"
            yield (
                ("calls", "ring_timeout_s"),
                f"must be at most {REQUEST_RING_LIMIT_S:g} together with {allowance}, not {asked_s:g}",
            )
        if self.second_opinion.url and not self.second_opinion.model:
            yield ("second_opinion", "model"), "is needed where second_opinion.url is set"
        warning_s, silence_s = self.listening.silence_warning_s, self.listening.silence_s
        if warning_s >= silence_s > 0:
            yield ("listening", "silence_warning_s"), f"must be below listening.silence_s ({silence_s:g}), or 0 for none"
        if self.is_real:
            for field, variable in LIVEKIT_VARIABLES.items():
                if getattr(self.livekit, field) in ("", SecretStr("")):
                    yield ("livekit", field), f"is needed where carrier.kind is livekit (or the variable {variable})"

    def _doubts(self) -> Iterator[str]:
        if self.calls.ring_timeout_s < SHORT_RING_S:
            yield f"calls.ring_timeout_s is {self.calls.ring_timeout_s:g}: many cannot answer in under {SHORT_RING_S:g} s"
        if not self.is_real and self.livekit.url:
            yield "livekit.url is set, and no phone will ring: carrier.kind is simulated"
        if self.is_real and not self.database.url.get_secret_value():
            yield "database.url is not set, and real calls will be kept in the embedded server, which is for trying out"
        if self.is_real and self.simulated != Simulated():
            yield "settings of the section simulated have no effect: carrier.kind is livekit"
        if not self.log.mask_numbers:
            yield "log.mask_numbers is false: phone numbers stand in the logs in full"


def example_toml() -> str:
    """The documented example file, as it stands in deploy/orchestrator.example.toml."""
    opening = f"""
        Settings of the call orchestrator. A line that begins with # and a key shows its default: remove the # to change it.

        Each key can also be set by an environment variable, which goes before this file: ring_timeout_s of section calls is
        {PREFIX}CALLS__RING_TIMEOUT_S. Secrets are best given so. {FILE_VARIABLE} names this file where the
        command line does not.
        """
    return example(Settings, opening=opening)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file, put the environment over it, and check everything.

    `path` None: the file that ORCHESTRATOR_SETTINGS_FILE names; without that, defaults and environment only.
    Raises SettingsError with one line for each thing that is wrong.
    """
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    ours = {name: value for name, value in environ.items() if name != FILE_VARIABLE}
    given = Given(tree=Settings, file=path, environ=ours, prefix=PREFIX)
    if given.value(("carrier", "kind")) == CarrierKind.LIVEKIT.value:
        for field, name in LIVEKIT_VARIABLES.items():
            given.fall_back(("livekit", field), name)
    wrong = list(given.unknown_variables())
    try:
        settings = Settings.model_validate(given.values)
    except ValidationError as error:
        wrong += problems(error, tree=Settings, given=given)
    if wrong:
        # Outside the `except`: the validation error holds the values, secrets among them, and would be part of a trace.
        raise SettingsError("\n".join(wrong))
    return settings
