"""The demo: three accounts with different limits, one trunk, and calls to documented test numbers that each promise an end.

A demo call passes when it ended with the reason that its number's script promises. Demo calls are queued like all others;
nothing here knows how calls are conducted or shown, and no demo is ever queued for a carrier that rings real phones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrator.errors import BadInput
from orchestrator.outcomes import EndReason
from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.policy import AccountChange, NewAccount, NewTrunk, TrunkChange
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.views import CallFilter, CallRow, NewCall
from sip.simulated import scripts
from sip.simulated.steps import Script

MAX_SIZE = 1000
TRUNK = "demo"
AGENT = "demo-agent"
RING_TIMEOUT_S = 15.0
"""Shorter than anybody should ring, so that a callee who never answers does not make the demo long."""
EXPIRY_S = 25.0
"""For calls whose promise needs expiry: long enough to be dialled twice, short enough to be watched."""
ANY_HOUR = ("always",)
"""Nobody is woken by a simulated carrier, and a demo is watched at any hour."""
DETECTION = {"on": False}
"""What the detectors make of a callee is no part of what its number promises."""
PAGE = 1000


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """One of the demo's accounts."""

    name: str
    max_concurrent: int
    weight: float
    calls_of_10: int
    """How many of ten demo calls are its."""


ACCOUNTS = (
    DemoAccount(name="demo-acme", max_concurrent=10, weight=2.0, calls_of_10=6),
    DemoAccount(name="demo-globex", max_concurrent=5, weight=1.0, calls_of_10=3),
    DemoAccount(name="demo-initech", max_concurrent=2, weight=0.5, calls_of_10=1),
)

# How often each script occurs in 60 calls. Roughly what a campaign meets, with every kind of end at least once.
SHARES: tuple[tuple[Script, int], ...] = (
    (scripts.TALKS_8_S, 8),
    (scripts.TALKS_6_S, 8),
    (scripts.AGENT_SAYS_GOODBYE, 4),
    (scripts.ANSWERS_WITHOUT_RINGING, 3),
    (scripts.VOICEMAIL_WITH_BEEP, 3),
    (scripts.BUSY, 3),
    (scripts.DECLINES_AFTER_4_S, 3),
    (scripts.RINGS_OUT, 3),
    (scripts.HANGS_UP_AT_ONCE, 2),
    (scripts.PRESSES_DIGITS, 2),
    (scripts.STAYS_SILENT, 2),
    (scripts.VOICEMAIL_WITHOUT_BEEP, 2),
    (scripts.FORWARDED_TO_VOICEMAIL, 2),
    (scripts.WRONG_NUMBER, 2),
    (scripts.MENU, 1),
    (scripts.CALL_SCREENING, 1),
    (scripts.FAX, 1),
    (scripts.BUSY_AT_ONCE, 1),
    (scripts.FORWARDED_WITH_Q850, 1),
    (scripts.EARLY_MEDIA_THEN_UNAVAILABLE, 1),
    (scripts.BLOCKED, 1),
    (scripts.UNAVAILABLE_AT_ONCE, 1),
    (scripts.SERVER_ERROR, 1),
    (scripts.REJECTED_AS_SPAM, 1),
    (scripts.TRUNK_UNREACHABLE, 1),
    (scripts.TRUNK_OVERLOADED, 1),
    (scripts.MEDIA_LOST, 1),
)

# Area codes in use in the United States, so that demo numbers differ and all lie in the accounts' own country.
AREA_CODES = (
    *(201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228),
    *(229, 231, 234, 239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 276, 281, 301, 302),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a demo call's number promises, and what came of it."""

    call: CallRow
    script: str
    promised: EndReason
    got: EndReason | None
    """None: it has not ended."""

    @property
    def passed(self) -> bool:
        """The promise was kept."""
        return self.promised is self.got


def verdict(call: CallRow) -> Verdict:
    """Judge one call. ValueError if its number promises nothing."""
    script = scripts.script_for(call.to)
    if script is None:
        raise ValueError(f"call {call.call_id} is no demo call: its number promises nothing")
    return Verdict(call=call, script=script.name, promised=EndReason(script.promise.end_reason), got=call.end_reason)


def verdicts(calls: Iterable[CallRow]) -> list[Verdict]:
    """Judge each call, oldest first."""
    return [verdict(call) for call in sorted(calls, key=lambda call: call.call_id)]


def planned(size: int) -> Iterator[tuple[DemoAccount, Script]]:
    """Accounts and scripts of a demo of `size` calls; always the same, and well mixed at any size."""
    spread = sorted(
        ((place + 0.5) / count, order, script) for order, (script, count) in enumerate(SHARES) for place in range(count)
    )
    owners = sorted(
        ((place + 0.5) / account.calls_of_10, order, account)
        for order, account in enumerate(ACCOUNTS)
        for place in range(account.calls_of_10)
    )
    for number in range(size):
        # 60 is a multiple of 10: stepping the owner once more each round gives a script to other accounts than before.
        round_, place = divmod(number, len(spread))
        yield owners[(place + round_) % len(owners)][2], spread[place][2]


def check_possible(*, size: int, is_real: bool) -> None:
    """Raise BadInput if the carrier that would dial rings real phones, or the size is out of range."""
    if is_real:
        raise BadInput(
            "a demo dials test numbers, on the simulated carrier only: leave --demo out, or set carrier.kind to simulated"
        )
    if not 1 <= size <= MAX_SIZE:
        raise BadInput(f"a demo has 1 to {MAX_SIZE} calls, not {size}")


class Demo:
    """Queues one batch of demo calls and tells how they went."""

    def __init__(
        self,
        *,
        size: int,
        is_real: bool,
        accounts: AccountStore,
        trunks: TrunkStore,
        calls: CallStore,
        started_at: datetime | None = None,
    ) -> None:
        """Raises BadInput where `check_possible` does; nothing has been queued then."""
        check_possible(size=size, is_real=is_real)
        self.size = size
        self._accounts = accounts
        self._trunks = trunks
        self._calls = calls
        self._started_at = started_at or datetime.now(UTC)
        self.batch = f"demo-{self._started_at:%Y%m%dT%H%M%S.%fZ}"

    async def queue(self) -> None:
        """Make or restore the demo's accounts and trunk, then queue its calls."""
        await self._prepare_trunk()
        for account in ACCOUNTS:
            await self._prepare_account(account)
        await self._calls.enqueue([self._call(*one) for one in self._numbered()])

    async def rows(self) -> list[CallRow]:
        """All calls of this demo as they stand."""
        rows: list[CallRow] = []
        while True:
            page = await self._calls.list_calls(
                CallFilter(batch=self.batch, limit=PAGE, before=rows[-1].call_id if rows else None)
            )
            rows.extend(page)
            if len(page) < PAGE:
                return rows

    def _numbered(self) -> Iterator[tuple[int, DemoAccount, Script]]:
        return ((number, account, script) for number, (account, script) in enumerate(planned(self.size)))

    def _call(self, number: int, account: DemoAccount, script: Script) -> NewCall:
        expires = script.promise.only_on_expiry
        return NewCall(
            account=account.name,
            to=scripts.number_of(script, area_code=AREA_CODES[number % len(AREA_CODES)]),
            agent_name=AGENT,
            metadata=f'{{"demo": "{script.name}"}}',
            ring_timeout_s=RING_TIMEOUT_S,
            # It must have been dialled before it expires, or it would have waited for a slot only.
            priority=100 if expires else 0,
            expires_at=self._started_at + timedelta(seconds=EXPIRY_S) if expires else None,
            batch=self.batch,
            idempotency_key=f"{self.batch}:{number}",
        )

    async def _prepare_trunk(self) -> None:
        if any(status.trunk.name == TRUNK for status in await self._trunks.list()):
            await self._trunks.update(TRUNK, TrunkChange(sip_trunk_id="ST_demo", max_channels=20, max_cps=10.0, enabled=True))
        else:
            await self._trunks.create(NewTrunk(name=TRUNK, sip_trunk_id="ST_demo", max_channels=20, max_cps=10.0))

    async def _prepare_account(self, account: DemoAccount) -> None:
        known = {row.name for row in await self._accounts.list()}
        if account.name in known:
            change = AccountChange(
                max_concurrent=account.max_concurrent,
                weight=account.weight,
                reserved=0,
                country="US",
                paused=False,
                trunk=TRUNK,
                calling_hours=ANY_HOUR,
                detection=DETECTION,
            )
            await self._accounts.update(account.name, change)
        else:
            new = NewAccount(
                name=account.name,
                max_concurrent=account.max_concurrent,
                weight=account.weight,
                country="US",
                agent_name=AGENT,
                trunk=TRUNK,
                calling_hours=ANY_HOUR,
                detection=DETECTION,
            )
            await self._accounts.create(new)
