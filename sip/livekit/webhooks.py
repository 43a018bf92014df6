"""LiveKit's webhooks: checked, deduplicated, and taken as hints.

A webhook makes the watch look at a room at once, and carries what no look can show: why somebody left. It is never the only
ground on which a leg counts as answered or over, since webhooks come late, twice, out of order or not at all (LIVEKIT.md, 2.7).

Checked are the signature (with our key's secret), the hash of the body, and the age. Knows nothing of HTTP; the door that
received the request answers 401 for WebhookRefused (`garbage`: 400) and 200 otherwise.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

import jwt
from google.protobuf.json_format import Parse, ParseError
from livekit.api import TokenVerifier
from livekit.protocol import models as proto_models
from livekit.protocol import webhook as proto_webhook

from sip.clock import Clock
from sip.errors import Error
from sip.events import Moment
from sip.livekit.rooms import Deployment, LeaveNotice, Role, reason_name, role_of
from sip.livekit.timings import LiveKitTimings, Observer

REMEMBERED_IDS = 20_000
"""LiveKit repeats a webhook for some 30 s; this is more than comes in that time at 200 calls a second and 3 hints a call."""
SKEW_S = 0.5
"""`created_at` is in whole seconds, of another machine's clock."""


class Receipt(enum.Enum):
    """What became of a webhook that was in order."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    FOREIGN = "foreign"
    """About a room that is not ours, or not about a room."""


class Refusal(enum.Enum):
    """Why a webhook is refused."""

    SIGNATURE = "signature"
    """Not signed with our key, or its token ran out."""
    BODY = "body"
    """The body is not the one that was signed."""
    STALE = "stale"
    """Too old, or from the future."""
    GARBAGE = "garbage"
    """Signed, but not a LiveKit event."""


class WebhookRefused(Error):
    """A webhook that must not be believed. Nothing was done with it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"webhook refused: {refusal.value}")
        self.refusal = refusal


class WebhookInbox:
    """Takes LiveKit's webhooks and passes on what they hint at."""

    def __init__(
        self,
        *,
        api_key: str,
        api_secret: str,
        deployment: Deployment,
        clock: Clock,
        timings: LiveKitTimings,
        observer: Observer,
        hint: Callable[[str], None],
        notice: Callable[[str, LeaveNotice], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`hint(room)`: look at it now. `notice(room, why)`: somebody left it. `wall_clock`: seconds since the epoch."""
        self._verifier = TokenVerifier(api_key, api_secret)
        self._deployment = deployment
        self._clock = clock
        self._timings = timings
        self._observer = observer
        self._hint = hint
        self._notice = notice
        self._wall_clock = wall_clock
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._last_s: float | None = None

    @property
    def last_s(self) -> float | None:
        """When the last webhook in order came (clock seconds); None if none has."""
        return self._last_s

    @property
    def work(self) -> bool:
        """Whether one came lately, so that waiting for one is worth while."""
        return self._last_s is not None and self._clock.now_s() - self._last_s < self._timings.webhook_recent_s

    def receive(self, body: bytes, authorization: str) -> Receipt:
        """Take one webhook: the raw body and the Authorization header. Raises WebhookRefused."""
        try:
            event = self._open(body, authorization)
        except WebhookRefused as refused:
            self._observer.webhook(refused.refusal.value)
            raise
        self._last_s = self._clock.now_s()
        receipt = self._take(event)
        self._observer.webhook(receipt.value)
        return receipt

    def _open(self, body: bytes, authorization: str) -> proto_webhook.WebhookEvent:
        try:
            claims = self._verifier.verify(authorization.removeprefix("Bearer ").strip())
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            # Whatever the library stumbles over in a token, the token is no good.
            raise WebhookRefused(Refusal.SIGNATURE) from None
        try:
            signed = base64.b64decode(claims.sha256 or "", validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise WebhookRefused(Refusal.BODY) from None
        if not hmac.compare_digest(signed, hashlib.sha256(body).digest()):
            raise WebhookRefused(Refusal.BODY)
        try:
            event = Parse(body, proto_webhook.WebhookEvent(), ignore_unknown_fields=True)
        except (ParseError, UnicodeDecodeError):
            raise WebhookRefused(Refusal.GARBAGE) from None
        if not event.id or not event.event:
            raise WebhookRefused(Refusal.GARBAGE)
        if abs(self._wall_clock() - event.created_at) > self._timings.webhook_max_age_s:
            raise WebhookRefused(Refusal.STALE)
        return event

    def _take(self, event: proto_webhook.WebhookEvent) -> Receipt:
        if event.id in self._ids:
            self._ids.move_to_end(event.id)
            return Receipt.DUPLICATE
        self._ids[event.id] = None
        if len(self._ids) > REMEMBERED_IDS:
            self._ids.popitem(last=False)
        if not self._deployment.named_ours(event.room.name):
            return Receipt.FOREIGN
        match event.event:
            case "participant_left" | "participant_connection_aborted":
                self._notice(event.room.name, self._read_leave(event.participant, event.created_at))
                self._hint(event.room.name)
            case "participant_joined" if role_of(event.participant) is Role.AGENT:
                self._hint(event.room.name)
            case "room_finished":
                self._hint(event.room.name)
            case _:
                pass  # the others hint at nothing that we wait for
        return Receipt.ACCEPTED

    def _read_leave(self, participant: proto_models.ParticipantInfo, created_at: int) -> LeaveNotice:
        now_s = self._clock.now_s()
        age_s = max(0.0, self._wall_clock() - created_at)
        # It happened in that second, and before we heard of it.
        latest_s = min(now_s, now_s - age_s + 1.0 + SKEW_S)
        earliest_s = min(now_s - age_s - SKEW_S, latest_s)
        return LeaveNotice(
            identity=participant.identity,
            sid=participant.sid,
            reason=reason_name(participant),
            attributes=dict(participant.attributes),
            at=Moment((earliest_s + latest_s) / 2, (latest_s - earliest_s) / 2),
        )
