"""The test numbers and the script behind each.

A test number is `+1 NPA 555 01NN`: the range 555-0100 to 555-0199, which the North American Numbering Plan reserves for
fiction in every area code. NN selects the script, any NPA will do, so that hundreds of different numbers share one script. A
test number without a script of its own behaves like any other number (sip.simulated.mix).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from sip.causes import HangupCause
from sip.events import Dialled
from sip.leg import E164
from sip.simulated.steps import (
    Answer,
    HangUp,
    LoseLeg,
    LoseMedia,
    NotTaken,
    PressDigit,
    Promise,
    Refuse,
    Ring,
    Script,
    Sound,
    SoundKind,
    StartEarlyMedia,
    Words,
)

_TEST_NUMBER = re.compile(r"\+1[2-9]\d{2}55501(\d{2})")

POST_DIAL_DELAY_S = 0.5
"""From the INVITE to the first 18x. Our assumption, at the fast end of national routes: tests should not wait long."""

_PAUSE = Sound(SoundKind.SILENCE, 1.0)
_SHORT = Sound(SoundKind.SILENCE, 0.35)
_HELLO = (Sound(SoundKind.SILENCE, 0.3), Sound(SoundKind.SPEECH, 0.6), _PAUSE)
_TALK = (
    *_HELLO,
    Sound(SoundKind.SILENCE, 1.5),  # whoever is called waits for the caller to speak
    Sound(SoundKind.SPEECH, 1.2),
    _PAUSE,
    Sound(SoundKind.SPEECH, 1.0),
    _PAUSE,
)
_GREETING = (
    Sound(SoundKind.SILENCE, 0.4),
    Sound(SoundKind.SPEECH, 2.6),
    Sound(SoundKind.SILENCE, 0.3),
    Sound(SoundKind.SPEECH, 2.4),
    Sound(SoundKind.SILENCE, 0.4),
)
_LONG_GREETING = (  # which nobody takes for a business that answers at some length, even without a beep
    *_GREETING,
    Sound(SoundKind.SPEECH, 3.0),
    Sound(SoundKind.SILENCE, 0.4),
)
_MENU = (
    Sound(SoundKind.SPEECH, 4.0),
    Sound(SoundKind.SILENCE, 0.5),
    Sound(SoundKind.SPEECH, 6.0),
    Sound(SoundKind.SILENCE, 3.0),
)

_HUNG_UP_IN_CALL = Promise(cause=HangupCause.NORMAL_CLEARING, end_reason="USER_HUNG_UP_IN_CALL")
_AGENT_ENDS = Promise(cause=HangupCause.ORDERED, end_reason="AGENT_HUNG_UP")
_FORWARDED = Promise(cause=HangupCause.FORWARDED_TO_VOICEMAIL, end_reason="VOICEMAIL_DETECTED_PRECONNECT", sip_code=480)
_BUSY = Promise(cause=HangupCause.USER_BUSY, end_reason="USER_BUSY", sip_code=486)

TALKS_8_S = Script(
    name="talks_8_s",
    sentence="Rings for 2 s, answers as a human, talks for 8 s and hangs up.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(2.0), HangUp(8.0)),
    audio=_TALK,
    promise=_HUNG_UP_IN_CALL,
)
BUSY = Script(
    name="busy",
    sentence="Rings for 1.5 s, then busy (486).",
    steps=(Ring(POST_DIAL_DELAY_S), Refuse(1.5, 486, "Busy Here")),
    promise=_BUSY,
)
DECLINES_AFTER_4_S = Script(
    name="declines_after_4_s",
    sentence="Rings for 4 s, then the callee declines (603).",
    steps=(Ring(POST_DIAL_DELAY_S), Refuse(4.0, 603, "Decline")),
    promise=Promise(cause=HangupCause.CALL_REJECTED, end_reason="USER_HUNG_UP_RINGING", sip_code=603),
)
RINGS_OUT = Script(
    name="rings_out",
    sentence="Rings until the caller gives up.",
    steps=(Ring(POST_DIAL_DELAY_S),),
    promise=Promise(cause=HangupCause.NO_ANSWER, end_reason="USER_DID_NOT_PICK_UP"),
)
VOICEMAIL_WITH_BEEP = Script(
    name="voicemail_with_beep",
    sentence="Rings for 5 s, then voicemail: a greeting of 6 s, a beep, no hang-up. The agent ends the call after 10 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(5.0)),
    audio=(*_GREETING, Sound(SoundKind.BEEP, 0.42)),
    agent_ends_after_s=10.0,
    promise=_AGENT_ENDS,
)
VOICEMAIL_WITHOUT_BEEP = Script(
    name="voicemail_without_beep",
    sentence="Rings for 5 s, then voicemail: a greeting of 9 s, no beep, no hang-up. The agent ends the call after 12 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(5.0)),
    audio=_LONG_GREETING,
    agent_ends_after_s=12.0,
    promise=_AGENT_ENDS,
)
FORWARDED_TO_VOICEMAIL = Script(
    name="forwarded_to_voicemail",
    sentence="Rings for 3 s, then 480: forwarded to voicemail before the answer, as many carriers show it.",
    steps=(Ring(POST_DIAL_DELAY_S), Refuse(3.0, 480, "Temporarily Unavailable")),
    promise=_FORWARDED,
)
WRONG_NUMBER = Script(
    name="wrong_number",
    sentence="No such number (404), without ringing.",
    steps=(Refuse(0.1, 404, "Not Found"),),
    promise=Promise(cause=HangupCause.UNALLOCATED_NUMBER, end_reason="SIP_FAILED_WRONG_NUMBER", sip_code=404),
)
BLOCKED = Script(
    name="blocked",
    sentence="Blocked by the carrier: 603 without ringing, with the header X-Twilio-Error: 32203.",
    steps=(Refuse(0.1, 603, "Decline", headers=(("X-Twilio-Error", "32203 Call blocked as potential fraud"),)),),
    promise=Promise(cause=HangupCause.NUMBER_BLOCKED, end_reason="SIP_FAILED_NUMBER_BLOCKED", sip_code=603),
)
TRUNK_OVERLOADED = Script(
    name="trunk_overloaded",
    sentence="The trunk is full: 503 “concurrent call limit exceeded”. No phone rings; the call is tried again later.",
    steps=(Refuse(0.1, 503, "Trunk concurrent call limit exceeded"),),
    promise=Promise(cause=HangupCause.TRUNK_CAPACITY, end_reason="SIP_FAILED_CAPACITY", sip_code=503, only_on_expiry=True),
)
TRUNK_UNREACHABLE = Script(
    name="trunk_unreachable",
    sentence="No response at all, until the caller gives up.",
    steps=(),
    promise=Promise(cause=HangupCause.TRUNK_UNREACHABLE, end_reason="SIP_FAILED_TRUNK_UNREACHABLE", dialled=Dialled.UNKNOWN),
)
STAYS_SILENT = Script(
    name="stays_silent",
    sentence="Rings for 2 s, answers, says nothing and never hangs up. The agent ends the call after 8 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(2.0)),
    agent_ends_after_s=8.0,
    promise=_AGENT_ENDS,
)
FAX = Script(
    name="fax",
    sentence="Rings for 3 s, then a fax: 2100 Hz for 3 s, no hang-up. The agent ends the call after 6 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(3.0)),
    audio=(Sound(SoundKind.SILENCE, 0.5), Sound(SoundKind.FAX_CED, 3.0)),
    agent_ends_after_s=6.0,
    promise=_AGENT_ENDS,
)
MENU = Script(
    name="menu",
    sentence="Rings for 1.5 s, then a menu: a long prompt, twice, no hang-up. The agent ends the call after 12 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.5)),
    audio=(*_MENU, *_MENU),
    words=(Words(4.2, "Thank you for calling. For sales, press one."), Words(10.8, "For support, press two.")),
    agent_ends_after_s=12.0,
    promise=_AGENT_ENDS,
)
CALL_SCREENING = Script(
    name="call_screening",
    sentence="Rings for 1 s, then a screener asks who is calling and waits, no hang-up. The agent ends the call after 10 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0)),
    audio=(Sound(SoundKind.SILENCE, 0.5), Sound(SoundKind.SPEECH, 5.0), Sound(SoundKind.SILENCE, 4.0)),
    words=(Words(5.8, "Please say your name and why you're calling, and I'll see if this person is available."),),
    agent_ends_after_s=10.0,
    promise=_AGENT_ENDS,
)
MEDIA_LOST = Script(
    name="media_lost",
    sentence="Rings for 2 s, answers, talks for 3 s; then no audio packets come any more, which is noticed after 15 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(2.0), LoseMedia(3.0, noticed_after_s=15.0)),
    audio=_TALK,
    promise=Promise(cause=HangupCause.MEDIA_LOST, end_reason="MEDIA_LOST"),
)
HANGS_UP_AT_ONCE = Script(
    name="hangs_up_at_once",
    sentence="Rings for 2 s, answers and hangs up 0.4 s later.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(2.0), HangUp(0.4)),
    promise=_HUNG_UP_IN_CALL,
)
FORBIDDEN = Script(
    name="forbidden",
    sentence="The trunk refuses how we call (403), without ringing.",
    steps=(Refuse(0.1, 403, "Forbidden"),),
    promise=Promise(cause=HangupCause.TRUNK_CONFIG, end_reason="SIP_FAILED_TRUNK_CONFIG", sip_code=403, only_on_expiry=True),
)
SERVER_ERROR = Script(
    name="server_error",
    sentence="An error inside the network: a plain 503, without ringing.",
    steps=(Refuse(0.1, 503, "Service Unavailable"),),
    promise=Promise(cause=HangupCause.NETWORK_ERROR, end_reason="SIP_FAILED_SERVER_ERROR", sip_code=503),
)
EARLY_MEDIA_THEN_UNAVAILABLE = Script(
    name="early_media_then_unavailable",
    sentence="183 with audio (a voicemail greeting before the answer) for 3 s, then 480.",
    steps=(StartEarlyMedia(POST_DIAL_DELAY_S), Refuse(3.0, 480, "Temporarily Unavailable")),
    early_audio=_GREETING,
    promise=_FORWARDED,
)
SIP_SERVICE_OVERLOADED = Script(
    name="sip_service_overloaded",
    sentence="The media server's SIP service is over its CPU guard: nothing is dialled; the call is tried again later.",
    steps=(NotTaken(0.0, "cpu exhausted"),),
    promise=Promise(
        cause=HangupCause.MEDIA_SERVER_UNAVAILABLE,
        end_reason="MEDIA_SERVER_UNAVAILABLE",
        dialled=Dialled.NO,
        only_on_expiry=True,
    ),
)
TALKS_6_S = Script(
    name="talks_6_s",
    sentence="Rings for 1 s, answers as a human, talks for 6 s and hangs up.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0), HangUp(6.0)),
    audio=_TALK,
    promise=_HUNG_UP_IN_CALL,
)
BUSY_AT_ONCE = Script(
    name="busy_at_once",
    sentence="Busy (486) without ringing.",
    steps=(Refuse(0.1, 486, "Busy Here"),),
    promise=_BUSY,
)
UNAVAILABLE_AT_ONCE = Script(
    name="unavailable_at_once",
    sentence="480 without ringing: the phone is off or not registered.",
    steps=(Refuse(0.1, 480, "Temporarily Unavailable"),),
    promise=Promise(cause=HangupCause.SUBSCRIBER_ABSENT, end_reason="SIP_FAILED_UNREACHABLE", sip_code=480),
)
ANSWERS_WITHOUT_RINGING = Script(
    name="answers_without_ringing",
    sentence="Answers after 1.5 s without an 18x, talks for 5 s and hangs up.",
    steps=(Answer(1.5), HangUp(5.0)),
    audio=_TALK,
    promise=_HUNG_UP_IN_CALL,
)
FORWARDED_WITH_Q850 = Script(
    name="forwarded_with_q850",
    sentence="Rings for 3 s, then 480 with Reason: Q.850;cause=20, a header that LiveKit's SIP service loses.",
    steps=(Ring(POST_DIAL_DELAY_S), Refuse(3.0, 480, "Temporarily Unavailable", q850_cause=20)),
    promise=_FORWARDED,
)
AGENT_SAYS_GOODBYE = Script(
    name="agent_says_goodbye",
    sentence="Rings for 2 s, answers as a human; the agent says goodbye first and ends the call after 7 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(2.0)),
    audio=_TALK,
    agent_ends_after_s=7.0,
    promise=_AGENT_ENDS,
)
PRESSES_DIGITS = Script(
    name="presses_digits",
    sentence="Rings for 1 s, answers, presses 1, 2 and #, one each second, and hangs up 1 s later.",
    steps=(
        Ring(POST_DIAL_DELAY_S),
        Answer(1.0),
        PressDigit(1.0, "1"),
        PressDigit(1.0, "2"),
        PressDigit(1.0, "#"),
        HangUp(1.0),
    ),
    audio=_HELLO,
    promise=_HUNG_UP_IN_CALL,
)
REJECTED_AS_SPAM = Script(
    name="rejected_as_spam",
    sentence="The callee's network rejects our caller id as unwanted (607), without ringing.",
    steps=(Refuse(0.1, 607, "Unwanted"),),
    promise=Promise(cause=HangupCause.SPAM_REJECTED, end_reason="SIP_FAILED_SPAM_REJECTED", sip_code=607),
)
CREDENTIALS_REFUSED = Script(
    name="credentials_refused",
    sentence="The trunk asks for credentials that it does not get (401); LiveKit reports this without a SIP code.",
    steps=(Refuse(0.1, 401, "Unauthorized"),),
    promise=Promise(cause=HangupCause.TRUNK_AUTH, end_reason="SIP_FAILED_TRUNK_AUTH", only_on_expiry=True),
)
TALKS_ON = Script(
    name="talks_on",
    sentence="Rings for 1 s, answers and stays on the line for ever: for hanging up, maximum durations and drains.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0)),
    audio=_TALK,
    promise=Promise(cause=HangupCause.NORMAL_CLEARING, end_reason="MAX_DURATION_REACHED"),
)
LEG_LOST = Script(
    name="leg_lost",
    sentence="Rings for 1 s, answers, talks for 4 s; then the leg is gone and nothing says why.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0), LoseLeg(4.0)),
    audio=_TALK,
    promise=Promise(cause=HangupCause.LEG_LOST, end_reason="LEG_LOST"),
)
PERSON_INTERRUPTS_MACHINE = Script(
    name="person_interrupts_machine",
    sentence="Rings for 1 s, then a machine's greeting of 9 s; then a person picks up, and hangs up 18 s after the answer.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0), HangUp(18.0)),
    audio=(
        *_LONG_GREETING,
        Sound(SoundKind.SILENCE, 1.2),
        Sound(SoundKind.SPEECH, 0.7),
        _PAUSE,
    ),
    promise=_HUNG_UP_IN_CALL,
)
MAILBOX_FULL = Script(
    name="mailbox_full",
    sentence="Rings for 2 s, then a mailbox that is full says so, no hang-up. The agent ends the call after 10 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(2.0)),
    audio=(Sound(SoundKind.SILENCE, 0.4), Sound(SoundKind.SPEECH, 3.2), _SHORT, Sound(SoundKind.SPEECH, 2.4)),
    words=(Words(3.8, "The mailbox is full and cannot accept any messages at this time."), Words(6.4, "Goodbye.")),
    agent_ends_after_s=10.0,
    promise=_AGENT_ENDS,
)
ANNOUNCEMENT = Script(
    name="announcement",
    sentence="Rings for 1 s, is answered, and the network says that the number is not in service, after information tones. "
    "The agent ends the call after 10 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0)),
    audio=(
        Sound(SoundKind.SILENCE, 0.3),
        Sound(SoundKind.SIT, 1.0),
        Sound(SoundKind.SILENCE, 0.3),
        Sound(SoundKind.SPEECH, 5.0),
    ),
    words=(Words(6.7, "We're sorry. The number you have dialed is not in service."),),
    agent_ends_after_s=10.0,
    promise=_AGENT_ENDS,
)
BUSY_AFTER_ANSWER = Script(
    name="busy_after_answer",
    sentence="Rings for 1 s and is answered by a busy tone that goes on for 20 s. The agent ends the call after 8 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0)),
    audio=(Sound(SoundKind.SILENCE, 0.2), Sound(SoundKind.BUSY, 20.0)),
    agent_ends_after_s=8.0,
    promise=_AGENT_ENDS,
)
FALLS_SILENT = Script(
    name="falls_silent",
    sentence="Rings for 1 s, answers, says one word and then nothing more, and stays on the line for ever.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0)),
    audio=_HELLO,
    promise=Promise(cause=HangupCause.NORMAL_CLEARING, end_reason="MAX_DURATION_REACHED"),
)
AUDIO_STOPS = Script(
    name="audio_stops",
    sentence="Rings for 1 s, answers and says a word; after 2 s no audio packets come any more, which is noticed after 60 s.",
    steps=(Ring(POST_DIAL_DELAY_S), Answer(1.0), LoseMedia(2.0, noticed_after_s=60.0)),
    audio=_HELLO,
    promise=Promise(cause=HangupCause.MEDIA_LOST, end_reason="MEDIA_LOST"),
)
EARLY_ANNOUNCEMENT = Script(
    name="early_announcement",
    sentence="183 with information tones and an announcement for 5 s, then 480.",
    steps=(StartEarlyMedia(POST_DIAL_DELAY_S), Refuse(5.0, 480, "Temporarily Unavailable")),
    early_audio=(
        Sound(SoundKind.SILENCE, 0.3),
        Sound(SoundKind.SIT, 1.0),
        Sound(SoundKind.SILENCE, 0.3),
        Sound(SoundKind.SPEECH, 3.4),
    ),
    promise=_FORWARDED,
)
EARLY_BUSY = Script(
    name="early_busy",
    sentence="183 with a busy tone for 5 s, then 480.",
    steps=(StartEarlyMedia(POST_DIAL_DELAY_S), Refuse(5.0, 480, "Temporarily Unavailable")),
    early_audio=(Sound(SoundKind.SILENCE, 0.3), Sound(SoundKind.BUSY, 4.7)),
    promise=_FORWARDED,
)

SCRIPTS: Mapping[int, Script] = MappingProxyType(
    {
        0: TALKS_8_S,
        1: BUSY,
        2: DECLINES_AFTER_4_S,
        3: RINGS_OUT,
        4: VOICEMAIL_WITH_BEEP,
        5: VOICEMAIL_WITHOUT_BEEP,
        6: FORWARDED_TO_VOICEMAIL,
        7: WRONG_NUMBER,
        8: BLOCKED,
        9: TRUNK_OVERLOADED,
        10: TRUNK_UNREACHABLE,
        11: STAYS_SILENT,
        12: FAX,
        13: MENU,
        14: CALL_SCREENING,
        15: MEDIA_LOST,
        16: HANGS_UP_AT_ONCE,
        17: FORBIDDEN,
        18: SERVER_ERROR,
        19: EARLY_MEDIA_THEN_UNAVAILABLE,
        20: SIP_SERVICE_OVERLOADED,
        21: TALKS_6_S,
        22: BUSY_AT_ONCE,
        23: UNAVAILABLE_AT_ONCE,
        24: ANSWERS_WITHOUT_RINGING,
        25: FORWARDED_WITH_Q850,
        26: AGENT_SAYS_GOODBYE,
        27: PRESSES_DIGITS,
        28: REJECTED_AS_SPAM,
        29: CREDENTIALS_REFUSED,
        30: TALKS_ON,
        31: LEG_LOST,
        32: PERSON_INTERRUPTS_MACHINE,
        33: MAILBOX_FULL,
        34: ANNOUNCEMENT,
        35: BUSY_AFTER_ANSWER,
        36: FALLS_SILENT,
        37: AUDIO_STOPS,
        38: EARLY_ANNOUNCEMENT,
        39: EARLY_BUSY,
    }
)
"""The scripts by NN, the last two digits of their test numbers."""


def is_test_number(number: str) -> bool:
    """Whether it is one of the numbers reserved for fiction, with or without a script: no real carrier may dial it."""
    return _TEST_NUMBER.fullmatch(number) is not None


def script_for(number: str) -> Script | None:
    """The script of a test number; None for every other number and for a test number without a script."""
    match = _TEST_NUMBER.fullmatch(number)
    return None if match is None else SCRIPTS.get(int(match.group(1)))


def number_of(script: Script, *, area_code: int = 212) -> E164:
    """A test number of a script of the catalogue; another one for each `area_code` from 200 to 999."""
    if not 200 <= area_code <= 999:
        raise ValueError(f"an area code lies between 200 and 999, not {area_code}")
    for line, candidate in SCRIPTS.items():
        if candidate.name == script.name:
            return E164(f"+1{area_code}55501{line:02d}")
    raise ValueError(f"{script.name!r} has no test number")
