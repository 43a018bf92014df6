"""The intake: every call that a person or program asks for passes here, whatever door it came by, and is queued or refused.

Reads the number with its account's country, applies the account's policy and all limits of a call, and says in one sentence
what is wrong with a request that it refuses. What depends on the moment or on what else is stored, the database says when it is
asked to store the call: whether its time is past by the database's clock, whether the number is on a do-not-call list, which
trunks the account may use, and whether the call was queued before. It never touches the network, and knows nothing of files,
command lines or HTTP.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.detection import read_own_detection
from orchestrator.errors import BadInput, NotFound
from orchestrator.hours import check_hours
from orchestrator.ids import E164
from orchestrator.numbers import check_destination, read_number
from orchestrator.ordinary import OrdinaryNumbers
from orchestrator.redial import MOST_ATTEMPTS, read_delays
from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.policy import AccountRow
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
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_REDIAL = ("max_attempts", "delays", "jitter")

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
    """A trunk or trunk group."""
    calling_hours: Sequence[str] | None = None
    """Rules of `orchestrator.hours` for this call alone."""
    redial: object = None
    """For this call alone, a JSON object: `max_attempts`, `delays` (lists of seconds by class), `jitter`."""
    detection: object = None
    """For this call alone, a JSON object with fields of `orchestrator.detection.DetectionPolicy`."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that was not queued. Nothing was changed for it."""

    error: BadInput
    to: E164 | None = None
    """Its number, if that could be read."""


@dataclass(frozen=True, slots=True)
class Customer:
    """An account, and the numbers that it may call without a second look."""

    account: AccountRow
    ordinary: OrdinaryNumbers


class Intake:
    """Checks requests for calls and queues the good ones."""

    def __init__(self, *, accounts: AccountStore, calls: CallStore, fiction_allowed: bool) -> None:
        """`fiction_allowed`: numbers reserved for fiction may be called, since the carrier is simulated."""
        self._accounts = accounts
        self._calls = calls
        self._fiction_allowed = fiction_allowed
        self._ordinary: dict[tuple[str, tuple[str, ...]], OrdinaryNumbers] = {}

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

    async def check(
        self, requests: Sequence[NewCallRequest], *, key_of: Callable[[E164], str] | None = None
    ) -> list[NewCall | Refused]:
        """What would be given to the store for each request, in order. Changes nothing.

        `key_of`: makes the key of a request that has none from its number.
        """
        customers: dict[str, Customer | BadInput] = {}
        checked: list[NewCall | Refused] = []
        for request in requests:
            customer = customers.get(request.account)
            if customer is None:
                customer = customers[request.account] = await self._customer(request.account)
            checked.append(self._checked(request, customer, key_of))
        return checked

    async def store(self, checked: Sequence[NewCall | Refused]) -> list[Enqueued | Refused]:
        """Queue the calls that `check` let pass; one result for each, in order."""
        stored = iter(await self._stored([call for call in checked if isinstance(call, NewCall)]))
        return [call if isinstance(call, Refused) else next(stored) for call in checked]

    async def _stored(self, calls: Sequence[NewCall]) -> list[Enqueued | Refused]:
        """All calls but those that the database refuses; halved around what it cannot even read."""
        if not calls:
            return []
        try:
            results = await self._calls.enqueue_each(calls)
        except BadInput as error:
            if len(calls) == 1:
                return [Refused(error=error, to=E164(calls[0].to))]
            half = len(calls) // 2
            return [*await self._stored(calls[:half]), *await self._stored(calls[half:])]
        return [
            result if isinstance(result, Enqueued) else Refused(error=result, to=E164(call.to))
            for call, result in zip(calls, results, strict=True)
        ]

    async def _customer(self, name: str) -> Customer | BadInput:
        try:
            account = await self._accounts.get(name)
        except NotFound as error:
            return error
        policy = (account.country, account.allowed_countries)
        if policy not in self._ordinary:
            self._ordinary[policy] = OrdinaryNumbers(country=account.country, allowed_countries=account.allowed_countries)
        return Customer(account=account, ordinary=self._ordinary[policy])

    def _checked(
        self, request: NewCallRequest, customer: Customer | BadInput, key_of: Callable[[E164], str] | None
    ) -> NewCall | Refused:
        if isinstance(customer, BadInput):
            return Refused(error=customer)
        is_ordinary = customer.ordinary.holds(request.to)
        try:
            to = E164(request.to) if is_ordinary else read_number(request.to, customer.account.country)
        except BadInput as error:
            return Refused(error=error)
        try:
            if not is_ordinary:
                self._check_destination(to, customer.account)
            key = request.key if request.key is not None or key_of is None else key_of(to)
            return _call(request, customer.account, to, key)
        except BadInput as error:
            return Refused(error=error, to=to)

    def _check_destination(self, to: E164, account: AccountRow) -> None:
        check_destination(
            to,
            country=account.country,
            allowed_countries=account.allowed_countries,
            allowed_specials=account.allowed_specials,
            fiction_allowed=self._fiction_allowed,
        )


def _call(request: NewCallRequest, account: AccountRow, to: E164, key: str | None) -> NewCall:
    _check_times(request)
    return NewCall(
        account=account.name,
        to=to,
        agent_name=_agent(request.agent, account),
        metadata=metadata_text(request.metadata),
        caller_id=read_number(request.caller_id, account.country) if request.caller_id else None,
        display_name=_display_name(request.display_name),
        headers=_headers(request.headers) if request.headers else {},
        dtmf=_dtmf(request.dtmf) if request.dtmf else "",
        ring_timeout_s=_within("ring timeout", request.ring_timeout_s, RING_TIMEOUT_S),
        max_duration_s=_within("maximum duration", request.max_duration_s, MAX_DURATION_S),
        priority=_priority(request.priority),
        run_at=request.run_at,
        expires_at=request.expires_at,
        idempotency_key=None if key is None else _label("key", key),
        batch=None if request.batch is None else _label("batch name", request.batch),
        trunk=request.trunk,
        calling_hours=None if request.calling_hours is None else _hours(request.calling_hours),
        redial=None if request.redial is None else _redial(request.redial, account),
        detection=None if request.detection is None else read_own_detection(request.detection, account.detection),
    )


def _check_times(request: NewCallRequest) -> None:
    for name, moment in (("run_at", request.run_at), ("expires_at", request.expires_at)):
        if moment is not None and moment.tzinfo is None:
            raise BadInput(f"{name} {moment.isoformat()} has no zone: write it like {moment.isoformat()}Z for UTC")
    if request.run_at is not None and request.expires_at is not None and request.expires_at <= request.run_at:
        raise BadInput(f"expires_at {_shown(request.expires_at)} is not after run_at {_shown(request.run_at)}: give it longer")


def metadata_text(value: object) -> str:
    """The JSON text of a call's metadata. Raises BadInput unless it is an object that Postgres can hold, 64 KiB at most."""
    if not isinstance(value, Mapping):
        raise BadInput(f'metadata must be a JSON object like {{"order": 7}}, not {_kind(value)}')
    try:
        text = _JSON.encode(value)
    except ValueError as error:
        raise BadInput("metadata holds a number that JSON cannot: NaN or Infinity") from error
    except RecursionError as error:
        raise BadInput("metadata is nested too deeply") from error
    if (not text.isascii() and _SURROGATE.search(text)) or ("\\u0000" in text and _NUL_IN_JSON.search(text)):
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


def _hours(rules: Sequence[str]) -> tuple[str, ...]:
    check_hours(rules)
    return tuple(rules)


def _redial(value: object, account: AccountRow) -> Mapping[str, object]:
    """The call's own redial policy as it is stored. Raises BadInput."""
    if not isinstance(value, Mapping):
        raise BadInput(f'redial must be a JSON object like {{"max_attempts": 3}}, not {_kind(value)}')
    for name in value:
        if name not in _REDIAL:
            raise BadInput(f"redial has no {name!r}: it has {', '.join(_REDIAL)}")
    attempts, delays, jitter = (value.get(name) for name in _REDIAL)
    stored: dict[str, object] = {}
    if attempts is not None:
        if not isinstance(attempts, int) or isinstance(attempts, bool) or not 1 <= attempts <= MOST_ATTEMPTS:
            raise BadInput(f"max_attempts must be a whole number from 1 to {MOST_ATTEMPTS}, not {attempts!r}")
        stored["max_attempts"] = attempts
    if jitter is not None:
        if not isinstance(jitter, int | float) or isinstance(jitter, bool) or not 0 <= jitter <= 1:
            raise BadInput(f"the jitter of redial delays must be a number from 0 to 1, not {jitter!r}")
        stored["jitter"] = jitter
    if delays is not None:
        if not isinstance(delays, Mapping):
            raise BadInput(f'redial delays must be a JSON object like {{"soon": [300, 900]}}, not {_kind(delays)}')
        stored["delays"] = {kind.value: list(read) for kind, read in read_delays(delays, gap_s=account.number_gap_s).items()}
    return stored


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
