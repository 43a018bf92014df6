"""The intake: every call that a person or program asks for passes here, whatever door it came by, and is queued or refused.

Reads the number with its account's country, applies the account's policy and all limits of a call, and says in one sentence
what is wrong with a request that it refuses. What depends on the moment or on what else is stored, the database says when it is
asked to store the call: whether its time is past by the database's clock, whether the number is on a do-not-call list, which
trunks the account may use, and whether the call was queued before. It never touches the network, and knows nothing of files,
command lines or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.call_fields import (
    MAX_DURATION_S,
    RING_TIMEOUT_S,
    display_name,
    dtmf_digits,
    label,
    metadata_text,
    own_headers,
    own_redial,
    priority_of,
    within,
)
from orchestrator.detection import read_own_detection
from orchestrator.errors import BadInput, NotFound
from orchestrator.hours import check_hours
from orchestrator.ids import E164
from orchestrator.numbers import check_destination, read_number
from orchestrator.ordinary import OrdinaryNumbers
from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.policy import AccountRow
from orchestrator.store.views import Enqueued, NewCall


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
        display_name=display_name(request.display_name),
        headers=own_headers(request.headers) if request.headers else {},
        dtmf=dtmf_digits(request.dtmf) if request.dtmf else "",
        ring_timeout_s=within("ring timeout", request.ring_timeout_s, RING_TIMEOUT_S),
        max_duration_s=within("maximum duration", request.max_duration_s, MAX_DURATION_S),
        priority=priority_of(request.priority),
        run_at=request.run_at,
        expires_at=request.expires_at,
        idempotency_key=None if key is None else label("key", key),
        batch=None if request.batch is None else label("batch name", request.batch),
        trunk=request.trunk,
        calling_hours=None if request.calling_hours is None else _hours(request.calling_hours),
        redial=None if request.redial is None else own_redial(request.redial, gap_s=account.number_gap_s),
        detection=None if request.detection is None else read_own_detection(request.detection, account.detection),
    )


def _check_times(request: NewCallRequest) -> None:
    for name, moment in (("run_at", request.run_at), ("expires_at", request.expires_at)):
        if moment is not None and moment.tzinfo is None:
            raise BadInput(f"{name} {moment.isoformat()} has no zone: write it like {moment.isoformat()}Z for UTC")
    if request.run_at is not None and request.expires_at is not None and request.expires_at <= request.run_at:
        raise BadInput(f"expires_at {_shown(request.expires_at)} is not after run_at {_shown(request.run_at)}: give it longer")


def _agent(asked: str | None, account: AccountRow) -> str:
    """The agent that was asked for; empty: the account's, which the store looks up."""
    if not asked and not account.agent_name:
        raise BadInput(
            f"no agent is named, and account {account.name!r} has none of its own: name one, or give it one by"
            f" `orchestrator accounts set {account.name} --agent NAME`"
        )
    return label("agent name", asked) if asked else ""


def _hours(rules: Sequence[str]) -> tuple[str, ...]:
    check_hours(rules)
    return tuple(rules)


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
