"""Errors as LiveKit's API sends them: twirp's JSON, with the HTTP status that belongs to the code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

HTTP_STATUS: Mapping[str, int] = {
    "canceled": 408,
    "deadline_exceeded": 408,
    "invalid_argument": 400,
    "malformed": 400,
    "not_found": 404,
    "bad_route": 404,
    "permission_denied": 403,
    "unauthenticated": 401,
    "resource_exhausted": 429,
    "failed_precondition": 412,
    "aborted": 409,
    "unimplemented": 501,
    "internal": 500,
    "unknown": 500,
    "unavailable": 503,
}


@dataclass(frozen=True)
class TwirpError(Exception):
    """The answer to a request is an error."""

    code: str
    message: str
    meta: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """As it goes over the wire."""
        body: dict[str, object] = {"code": self.code, "msg": self.message}
        if self.meta:
            body["meta"] = dict(self.meta)
        return web.Response(body=json.dumps(body).encode(), status=HTTP_STATUS[self.code], content_type="application/json")


def from_sip_service(code: str, text: str, meta: Mapping[str, str] | None = None) -> TwirpError:
    """An error that the server passes on from the SIP service; it puts the same words before each."""
    return TwirpError(code, f"twirp error unknown: {text}", meta or {})
