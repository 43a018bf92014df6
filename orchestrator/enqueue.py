"""The intake: every call that a person or program asks for passes here, whatever door it came by, and is queued or refused.

Reads the number with its account's country, applies the account's policy and all limits of a call, and says in one sentence
what is wrong with a request that it refuses. It never touches the network, and knows nothing of files, command lines or HTTP.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.errors import BadInput, NotFound
from orchestrator.ids import E164
from orchestrator.numbers import check_destination, read_number
from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.policy import AccountRow
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.views import Enqueued, NewCall

MAX_METADATA_BYTES = 64 * 1024
MAX_LABEL = 255
"""Characters of a batch name, an idempotency key, an agent's name."""
MAX_DISPLAY_NAME = 128
MAX_DTMF = 255
MAX_HEADERS_BYTES = 8 * 1024
RING_TIMEOUT_S = (5.0, 60.0)
MAX_DURATION_S = (1.0, 86_370.0)
"""The request asks for 30 s more as a backstop, and the SIP service takes a day at most."""
PRIORITY = (-100, 100)

_DTMF = re.compile(r"[0-9A-Da-d*#wW]*")
_HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# Headers that a SIP user agent writes itself, with their compact forms (RFC 3261, 7.3.3, 20); a second one breaks the INVITE.
_OWN_HEADERS = frozenset(
    (
        *("accept", "allow", "authorization", "call-id", "contact", "content-disposition", "content-encoding"),
        *("content-length", "content-type", "cseq", "date", "expires", "from", "max-forwards", "min-se"),
        *("proxy-authorization", "proxy-require", "record-route", "reply-to", "require", "route", "session-expires"),
        *("supported", "timestamp", "to", "user-agent", "via"),
        *("c", "e", "f", "i", "k", "l", "m", "t", "v", "x"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCallRequest:
    """A call as somebody asks for it. None: left to the account."""

    account: str
    to: str
    """In any writing that can be read with the account's country."""
    agent: str | None = None
    """The name under which the agents registered."""
    metadata: object = field(default_factory=dict)
    """A JSON value; must be an object."""
    caller_id: str | None = None
    display_name: str | None = None
    """None: the number is shown; empty: no display name is sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    dtmf: str = ""
    ring_timeout_s: float | None = None
    max_duration_s: float | None = None
    priority: int = 0
    run_at: datetime | None = None
    """None: now."""
    expires_at: datetime | None = None
    key: str | None = None
    """The same key queues an account's call once."""
    batch: str | None = None
    trunk: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that was not queued. Nothing was changed for it."""

    error: BadInput
    to: E164 | None = None
    """Its number, if that could be read."""


@dataclass(frozen=True, slots=True)
class Routing:
    """An account, and the caller ids that its calls over one trunk may show."""

    account: AccountRow
    caller_ids: frozenset[E164]


class Intake:
    """Checks requests for calls and queues the good ones."""

    def __init__(
        self,
        *,
        accounts: AccountStore,
        trunks: TrunkStore,
        calls: CallStore,
        past_tolerance_s: float,
        fiction_allowed: bool,
    ) -> None:
        """`past_tolerance_s`: a `run_at` that is past by no more than this means now.

        `fiction_allowed`: numbers reserved for fiction may be called, since the carrier is simulated.
        """
        self._accounts = accounts
        self._trunks = trunks
        self._calls = calls
        self._past_tolerance_s = past_tolerance_s
        self._fiction_allowed = fiction_allowed

    async def enqueue_one(self, request: NewCallRequest) -> Enqueued:
        """Queue one call. Raises BadInput, having changed nothing."""
        (result,) = await self.enqueue([request])
        if isinstance(result, Refused):
            raise result.error
        return result

    async def enqueue(self, requests: Sequence[NewCallRequest]) -> list[Enqueued | Refused]:
        """Queue what is good; one result for each request, in order.

        Raises DatabaseUnavailable; asking again is safe where all requests have keys.
        """
        return await self.store(await self.check(requests))

    async def check(self, requests: Sequence[NewCallRequest]) -> list[NewCall | Refused]:
        """What would be stored for each request, in order. Changes nothing."""
        now = datetime.now(UTC)
        routings: dict[tuple[str, str | None], Routing | BadInput] = {}
        checked: list[NewCall | Refused] = []
        for request in requests:
            route = (request.account, request.trunk)
            if route not in routings:
                routings[route] = await self._routing(*route)
            checked.append(self._checked(request, routings[route], now))
        return checked

    async def store(self, checked: Sequence[NewCall | Refused]) -> list[Enqueued | Refused]:
        """Queue the calls that `check` let pass; one result for each, in order."""
        stored = iter(await self._stored([call for call in checked if isinstance(call, NewCall)]))
        return [call if isinstance(call, Refused) else next(stored) for call in checked]

    async def _stored(self, calls: Sequence[NewCall]) -> list[Enqueued | Refused]:
        """All calls but those that contradict what is stored under their key, or that the database has a rule against."""
        if not calls:
            return []
        try:
            return list(await self._calls.enqueue(calls))
        except BadInput as error:
            if len(calls) == 1:
                return [Refused(error=error, to=E164(calls[0].to))]
            half = len(calls) // 2
            return [*await self._stored(calls[:half]), *await self._stored(calls[half:])]

    async def _routing(self, account_name: str, trunk_name: str | None) -> Routing | BadInput:
        try:
            account = await self._accounts.get(account_name)
            name = trunk_name or account.trunk
            if name is None:
                return BadInput(
                    f"account {account.name!r} has no trunk: `orchestrator accounts set {account.name} --trunk NAME`"
                )
            trunk = await self._trunks.get(name)
        except NotFound as error:
            return error
        return Routing(account=account, caller_ids=frozenset(account.caller_ids) | frozenset(trunk.trunk.caller_ids))

    def _checked(self, request: NewCallRequest, routing: Routing | BadInput, now: datetime) -> NewCall | Refused:
        if isinstance(routing, BadInput):
            return Refused(error=routing)
        try:
            to = read_number(request.to, routing.account.country)
        except BadInput as error:
            return Refused(error=error)
        try:
            return self._call(request, routing, to, now)
        except BadInput as error:
            return Refused(error=error, to=to)

    def _call(self, request: NewCallRequest, routing: Routing, to: E164, now: datetime) -> NewCall:
        account = routing.account
        check_destination(
            to,
            country=account.country,
            allowed_countries=account.allowed_countries,
            allowed_specials=account.allowed_specials,
            fiction_allowed=self._fiction_allowed,
        )
        run_at, expires_at = self._times(request, now)
        return NewCall(
            account=account.name,
            to=to,
            agent_name=_agent(request.agent, account),
            metadata=metadata_text(request.metadata),
            caller_id=_caller_id(request.caller_id, routing),
            display_name=_display_name(request.display_name),
            headers=_headers(request.headers),
            dtmf=_dtmf(request.dtmf),
            ring_timeout_s=_within("ring timeout", request.ring_timeout_s, RING_TIMEOUT_S),
            max_duration_s=_within("maximum duration", request.max_duration_s, MAX_DURATION_S),
            priority=_priority(request.priority),
            run_at=run_at,
            expires_at=expires_at,
            idempotency_key=None if request.key is None else _label("key", request.key),
            batch=None if request.batch is None else _label("batch name", request.batch),
            trunk=request.trunk,
        )

    def _times(self, request: NewCallRequest, now: datetime) -> tuple[datetime | None, datetime | None]:
        """`run_at` and `expires_at` as they were given, when they can be."""
        for name, moment in (("run_at", request.run_at), ("expires_at", request.expires_at)):
            if moment is not None and moment.tzinfo is None:
                raise BadInput(f"{name} {moment.isoformat()} has no zone: write it like {moment.isoformat()}Z for UTC")
        if request.run_at is not None and request.run_at < now - timedelta(seconds=self._past_tolerance_s):
            raise BadInput(
                f"run_at {_shown(request.run_at)} is past by more than {self._past_tolerance_s:g} s: leave it out to call now"
            )
        if request.expires_at is not None:
            if request.run_at is not None and request.expires_at <= request.run_at:
                raise BadInput(
                    f"expires_at {_shown(request.expires_at)} is not after run_at {_shown(request.run_at)}: give it longer"
                )
            if request.expires_at <= now:
                raise BadInput(f"expires_at {_shown(request.expires_at)} is past: it would never be dialled")
        return request.run_at, request.expires_at


def metadata_text(value: object) -> str:
    """The JSON text of a call's metadata. Raises BadInput unless it is an object that Postgres can hold, 64 KiB at most."""
    if not isinstance(value, Mapping):
        raise BadInput(f'metadata must be a JSON object like {{"order": 7}}, not {_kind(value)}')
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise BadInput("metadata holds a number that JSON cannot: NaN or Infinity") from error
    except RecursionError as error:
        raise BadInput("metadata is nested too deeply") from error
    if _NUL_IN_JSON.search(text) or _SURROGATE.search(text):
        raise BadInput("metadata holds a NUL or half a character (a lone surrogate), which the database cannot store")
    size = len(text.encode())
    if size > MAX_METADATA_BYTES:
        raise BadInput(
            f"metadata has {size:,} bytes as JSON, at most {MAX_METADATA_BYTES:,} are allowed: keep what is large elsewhere"
        )
    return text


def _kind(value: object) -> str:
    names = {bool: "true or false", str: "a text", int: "a number", float: "a number", list: "an array", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _agent(asked: str | None, account: AccountRow) -> str:
    """The agent that was asked for; empty: the account's, which the store looks up."""
    if not asked and not account.agent_name:
        raise BadInput(
            f"no agent is named, and account {account.name!r} has none of its own: name one, or give it one by"
            f" `orchestrator accounts set {account.name} --agent NAME`"
        )
    return _label("agent name", asked) if asked else ""


def _caller_id(asked: str | None, routing: Routing) -> str | None:
    if not asked:
        return None
    number = read_number(asked, routing.account.country)
    if number not in routing.caller_ids:
        allowed = ", ".join(sorted(routing.caller_ids)) or "it has none"
        raise BadInput(
            f"caller id {number} belongs neither to account {routing.account.name!r} nor to its trunk (allowed: {allowed})"
        )
    return number


def _display_name(text: str | None) -> str | None:
    if text is not None:
        _refuse_control("display name", text)
        if len(text) > MAX_DISPLAY_NAME:
            raise BadInput(f"display name has {len(text)} characters, at most {MAX_DISPLAY_NAME} are allowed")
    return text


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadInput(f"header {name!r} is no name of a SIP header: use letters, digits and dashes, like X-Campaign")
        if name.lower() in _OWN_HEADERS:
            raise BadInput(f"header {name!r} is written by the SIP service itself: use one of your own, like X-{name}")
        _refuse_control(f"header {name!r}", value)
    if len(json.dumps(dict(headers), ensure_ascii=False).encode()) > MAX_HEADERS_BYTES:
        raise BadInput(f"the headers are longer than {MAX_HEADERS_BYTES:,} bytes together")
    return dict(headers)


def _dtmf(digits: str) -> str:
    if not _DTMF.fullmatch(digits) or len(digits) > MAX_DTMF:
        raise BadInput(f"dtmf {digits!r}: at most {MAX_DTMF} of 0-9, A-D, * and #, and w for half a second")
    return digits


def _within(name: str, value: float | None, bounds: tuple[float, float]) -> float | None:
    if value is not None and not (math.isfinite(value) and bounds[0] <= value <= bounds[1]):
        raise BadInput(f"{name} must be {bounds[0]:g} to {bounds[1]:g} seconds, not {value:g}")
    return value


def _priority(value: int) -> int:
    if not PRIORITY[0] <= value <= PRIORITY[1]:
        raise BadInput(f"priority must be {PRIORITY[0]} to {PRIORITY[1]}, not {value}")
    return value


def _label(name: str, text: str) -> str:
    if not 1 <= len(text) <= MAX_LABEL:
        raise BadInput(f"{name} must have 1 to {MAX_LABEL} characters, not {len(text)}")
    _refuse_control(name, text)
    return text


def _refuse_control(name: str, text: str) -> None:
    if _CONTROL.search(text) or _SURROGATE.search(text):
        raise BadInput(f"{name} {text!r} holds a control character or a line break: remove it")


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
