"""The single fields of a request for a call: reads each as it is stored, or says in one sentence what is wrong with it.

Knows no account, no number and no database; times and hours are read elsewhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from orchestrator.errors import BadInput
from orchestrator.redial import MOST_ATTEMPTS, read_delays

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


def display_name(text: str | None) -> str | None:
    """The name that the callee may see. Raises BadInput."""
    if text is not None:
        _refuse_control("display name", text)
        if len(text) > MAX_DISPLAY_NAME:
            raise BadInput(f"display name has {len(text)} characters, at most {MAX_DISPLAY_NAME} are allowed")
    return text


def own_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """SIP headers of the call's own. Raises BadInput for what is no header, and for one that the SIP service writes itself."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadInput(f"header {name!r} is no name of a SIP header: use letters, digits and dashes, like X-Campaign")
        if name.lower() in _OWN_HEADERS:
            raise BadInput(f"header {name!r} is written by the SIP service itself: use one of your own, like X-{name}")
        _refuse_control(f"header {name!r}", value)
    if len(json.dumps(dict(headers), ensure_ascii=False).encode()) > MAX_HEADERS_BYTES:
        raise BadInput(f"the headers are longer than {MAX_HEADERS_BYTES:,} bytes together")
    return dict(headers)


def dtmf_digits(digits: str) -> str:
    """Digits to send after the answer. Raises BadInput."""
    if not _DTMF.fullmatch(digits) or len(digits) > MAX_DTMF:
        raise BadInput(f"dtmf {digits!r}: at most {MAX_DTMF} of 0-9, A-D, * and #, and w for half a second")
    return digits


def own_redial(value: object, *, gap_s: float) -> Mapping[str, object]:
    """The call's own redial policy as it is stored; `gap_s`: its account's between dials to one number. Raises BadInput."""
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
        stored["delays"] = {kind.value: list(read) for kind, read in read_delays(delays, gap_s=gap_s).items()}
    return stored


def within(name: str, value: float | None, bounds: tuple[float, float]) -> float | None:
    """A time in seconds, or None for the account's. Raises BadInput outside of `bounds`."""
    if value is not None and not (math.isfinite(value) and bounds[0] <= value <= bounds[1]):
        raise BadInput(f"{name} must be {bounds[0]:g} to {bounds[1]:g} seconds, not {value:g}")
    return value


def priority_of(value: int) -> int:
    """Raises BadInput outside of PRIORITY."""
    if not PRIORITY[0] <= value <= PRIORITY[1]:
        raise BadInput(f"priority must be {PRIORITY[0]} to {PRIORITY[1]}, not {value}")
    return value


def label(name: str, text: str) -> str:
    """A name of 1 to 255 characters without control characters. Raises BadInput."""
    if not 1 <= len(text) <= MAX_LABEL:
        raise BadInput(f"{name} must have 1 to {MAX_LABEL} characters, not {len(text)}")
    _refuse_control(name, text)
    return text


def _refuse_control(name: str, text: str) -> None:
    if _CONTROL.search(text) or _SURROGATE.search(text):
        raise BadInput(f"{name} {text!r} holds a control character or a line break: remove it")
