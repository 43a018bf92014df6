"""From signals to causes: OUTCOMES.md's table written down once more, its precedence, and the pre-connect rule's edges."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.causes import (
    CARRIER_TEXTS,
    NEVER_SENT_TEXTS,
    NO_CODE_TEXTS,
    NOT_FROM_A_TRUNK,
    Q850_CAUSES,
    SIP_CODES,
    HangupCause,
    Reading,
    Signal,
    TrunkRules,
    hangup_cause,
    proves_nothing_rang,
)

C = HangupCause
DEFAULT_RULES = TrunkRules()
LONG_RING_S = 25.0
"""Longer than any forwarding to voicemail, shorter than the ring timer's edge: the pre-connect rule stays out of it."""


def read(
    signal: Signal,
    *,
    rang: bool = False,
    answered: bool = False,
    ring_s: float | None = None,
    ring_error_s: float = 0.0,
    ring_timeout_s: float | None = 30.0,
    rules: TrunkRules = DEFAULT_RULES,
) -> Reading:
    return hangup_cause(
        signal,
        answered=answered,
        rang=rang,
        ring_s=ring_s,
        ring_error_s=ring_error_s,
        ring_timeout_s=ring_timeout_s,
        rules=rules,
    )


# OUTCOMES.md, "From signals to reasons": SIP codes, Q.850 causes, no 18x was seen, after an 18x.
TABLE: list[tuple[tuple[int, ...], tuple[int, ...], HangupCause, HangupCause]] = [
    ((486, 600), (17,), C.USER_BUSY, C.USER_BUSY),
    ((603,), (21,), C.NUMBER_BLOCKED, C.CALL_REJECTED),
    ((607, 608), (), C.SPAM_REJECTED, C.SPAM_REJECTED),
    ((480,), (), C.SUBSCRIBER_ABSENT, C.NO_ANSWER),
    ((408,), (18,), C.SUBSCRIBER_ABSENT, C.NO_ANSWER),
    ((), (19,), C.NO_ANSWER, C.NO_ANSWER),
    ((), (3, 20, 27), C.SUBSCRIBER_ABSENT, C.SUBSCRIBER_ABSENT),
    ((404, 410, 484, 485, 604, 301), (1, 22, 28), C.UNALLOCATED_NUMBER, C.UNALLOCATED_NUMBER),
    ((401, 402, 407), (), C.TRUNK_AUTH, C.TRUNK_AUTH),
    ((403,), (), C.TRUNK_CONFIG, C.TRUNK_CONFIG),
    ((), (34, 42, 44, 47), C.TRUNK_CAPACITY, C.TRUNK_CAPACITY),
    (
        (
            *(
                400,
                405,
                406,
                409,
                411,
                412,
                413,
                414,
                415,
                416,
                417,
                420,
                421,
                422,
                423,
                424,
                428,
                429,
                433,
                436,
                437,
                438,
                439,
            ),
            *(440, 469, 470, 482, 483, 488, 489, 493, 494, 501, 505, 513, 555, 580, 606),
        ),
        (2, 29, 43, 50, 55, 57, 58, 63, 65, 69, 79, 88),
        C.TRUNK_CONFIG,
        C.TRUNK_CONFIG,
    ),
    ((481, 491, 500, 502, 503, 504), (38, 41, 102, 111), C.NETWORK_ERROR, C.NETWORK_ERROR),
    ((487,), (), C.UNKNOWN, C.NO_ANSWER),
]
NAMED_CODES = {code: (before, after) for codes, _, before, after in TABLE for code in codes}
NAMED_Q850 = {cause: (before, after) for _, causes, before, after in TABLE for cause in causes}


def test_the_rows_written_here_name_each_code_once() -> None:
    assert sum(len(codes) for codes, _, _, _ in TABLE) == len(NAMED_CODES) == 62
    assert sum(len(causes) for _, causes, _, _ in TABLE) == len(NAMED_Q850) == 30


@pytest.mark.parametrize("code", range(300, 700))
def test_every_final_sip_code_means_what_the_table_says(code: int) -> None:
    before, after = NAMED_CODES.get(code, (C.UNKNOWN, C.UNKNOWN))
    assert read(Signal(sip_code=code)).cause is before
    assert read(Signal(sip_code=code), rang=True, ring_s=LONG_RING_S).cause is after
    assert code in SIP_CODES


@pytest.mark.parametrize("cause", range(1, 128))
def test_every_q850_cause_means_what_the_table_says(cause: int) -> None:
    before, after = NAMED_Q850.get(cause, (C.UNKNOWN, C.UNKNOWN))
    assert read(Signal(q850_cause=cause)).cause is before
    assert read(Signal(q850_cause=cause), rang=True, ring_s=LONG_RING_S).cause is after
    assert cause in Q850_CAUSES


@pytest.mark.parametrize("code", [0, 100, 180, 200, 299, 700, 999])
def test_a_code_that_is_no_failure_is_unknown(code: int) -> None:
    assert read(Signal(sip_code=code)).cause is C.UNKNOWN


@given(
    signal=st.builds(
        Signal,
        sip_code=st.none() | st.integers(0, 800),
        sip_reason=st.text(max_size=20),
        q850_cause=st.none() | st.integers(-1, 300),
        text=st.text(max_size=40),
        disconnect_reason=st.sampled_from(["", "CLIENT_INITIATED", "USER_REJECTED", "ROOM_DELETED"]),
    ),
    answered=st.booleans(),
    rang=st.booleans(),
    ring_s=st.none() | st.floats(0, 100),
    ring_timeout_s=st.none() | st.floats(1, 60),
)
def test_every_signal_has_a_cause(
    signal: Signal, answered: bool, rang: bool, ring_s: float | None, ring_timeout_s: float | None
) -> None:
    reading = read(signal, answered=answered, rang=rang, ring_s=ring_s, ring_timeout_s=ring_timeout_s)
    assert reading.rule
    assert reading.cause is not C.ORDERED  # only whoever ordered the end knows that
    assert not (answered and proves_nothing_rang(signal, rang=True))


# Texts


@pytest.mark.parametrize("rang", [False, True])
@pytest.mark.parametrize("code", [403, 429, 500, 503])
@pytest.mark.parametrize("words", ["Trunk CPS limit exceeded. Region: us1", "Trunk concurrent call limit exceeded"])
def test_a_limit_text_is_the_trunks_capacity(code: int, words: str, rang: bool) -> None:
    in_the_reason = Signal(sip_code=code, sip_reason=words)
    in_the_message = Signal(sip_code=code, text=f"unexpected status from INVITE response: sip status: {code}: {words}")
    for signal in (in_the_reason, in_the_message):
        assert read(signal, rang=rang, ring_s=5.0).cause is C.TRUNK_CAPACITY


@pytest.mark.parametrize("rang", [False, True])
def test_a_network_that_blocks_as_spam_is_told_from_a_callee_who_declines(rang: bool) -> None:
    assert read(Signal(sip_code=603, sip_reason="Network Blocked"), rang=rang, ring_s=5.0).cause is C.SPAM_REJECTED


@pytest.mark.parametrize("rang", [False, True])
def test_a_block_by_the_carrier_that_the_service_names_is_no_decline(rang: bool) -> None:
    text = "INVITE blocked by carrier: carrier blocked call (twilio error 32203): sip status: 603: Decline"
    assert read(Signal(sip_code=603, sip_reason="Decline", text=text), rang=rang).cause is C.NUMBER_BLOCKED


# Words without a SIP code: the text, no 18x was seen, after an 18x, whether it proves that nothing rang.
TEXTS: list[tuple[str, HangupCause, HangupCause, bool]] = [
    ("twirp error unavailable: no response from servers", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("sip not connected (redis required)", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("cpu exhausted", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("failed to listen on udp port", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("update room failed: not found", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("update room failed: dial tcp 127.0.0.1:7880: connect: connection refused", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("invalid API key: APIxyz", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("invalid authorization token", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("permissions denied", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("Cannot connect to host 127.0.0.1:7880 ssl:default [Connect call failed]", C.MEDIA_SERVER_UNAVAILABLE, C.UNKNOWN, True),
    ("requested sip trunk does not exist", C.TRUNK_CONFIG, C.TRUNK_CONFIG, True),
    ("object cannot be found", C.TRUNK_CONFIG, C.TRUNK_CONFIG, True),
    ("no numbers on outbound trunk", C.TRUNK_CONFIG, C.TRUNK_CONFIG, True),
    ("max auth retry attempts reached for SIP invite", C.TRUNK_AUTH, C.TRUNK_AUTH, True),
    ("sip server required auth, but no username or password was provided", C.TRUNK_AUTH, C.TRUNK_AUTH, True),
    ("no auth header in sip invite response", C.TRUNK_AUTH, C.TRUNK_AUTH, True),
    ('invalid challenge "Basic realm": digest: bad challenge', C.TRUNK_AUTH, C.TRUNK_AUTH, True),
    ("common audio codec not found", C.TRUNK_CONFIG, C.TRUNK_CONFIG, False),
    ("no common encryption profiles", C.TRUNK_CONFIG, C.TRUNK_CONFIG, False),
    ("lookup sip.example.com on 127.0.0.53:53: no such host", C.TRUNK_UNREACHABLE, C.NO_ANSWER, True),
    ("lookup sip.example.com: i/o timeout", C.TRUNK_UNREACHABLE, C.NO_ANSWER, True),
    ("TCP dial err=dial tcp 192.0.2.1:5060: connect: connection refused", C.TRUNK_UNREACHABLE, C.NO_ANSWER, True),
    ("dial tcp 192.0.2.1:5060: i/o timeout", C.TRUNK_UNREACHABLE, C.NO_ANSWER, True),
    ("write udp 10.0.0.1:5070: sendto: network is unreachable", C.TRUNK_UNREACHABLE, C.NO_ANSWER, True),
    ("remote error: tls: handshake failure", C.TRUNK_UNREACHABLE, C.NO_ANSWER, True),
    ("x509: certificate signed by unknown authority", C.TRUNK_UNREACHABLE, C.NO_ANSWER, True),
    ("read tcp 10.0.0.1:41234->192.0.2.1:5060: read: connection reset by peer", C.TRUNK_UNREACHABLE, C.NO_ANSWER, False),
    ("transaction failed to complete (0 intermediate responses)", C.TRUNK_UNREACHABLE, C.NO_ANSWER, False),
    ("transaction failed to complete (2 intermediate responses)", C.TRUNK_UNREACHABLE, C.NO_ANSWER, False),
    ("sip request timed out", C.TRUNK_UNREACHABLE, C.NO_ANSWER, False),
    ("service shutting down", C.UNKNOWN, C.UNKNOWN, False),
    ("request timed out", C.UNKNOWN, C.UNKNOWN, False),
    ("context canceled", C.UNKNOWN, C.UNKNOWN, False),
    ("<html>Bad Gateway</html>", C.UNKNOWN, C.UNKNOWN, False),
    ("", C.UNKNOWN, C.UNKNOWN, False),
]


@pytest.mark.parametrize(("text", "before", "after", "proof"), TEXTS)
def test_every_text_without_a_code_means_what_it_says_and_no_more(
    text: str, before: HangupCause, after: HangupCause, proof: bool
) -> None:
    signal = Signal(text=text)
    assert read(signal).cause is before
    assert read(signal, rang=True, ring_s=5.0).cause is after
    assert proves_nothing_rang(signal, rang=False) is proof
    assert not proves_nothing_rang(signal, rang=True)


def test_every_named_text_is_met_by_an_example() -> None:
    met = {read(Signal(text=text)).rule for text, _, _, _ in TEXTS}
    assert {text.rule for text in (*NEVER_SENT_TEXTS, *NO_CODE_TEXTS)} <= met
    examples = ("cps limit exceeded", "network blocked", "carrier blocked call")
    assert {text.rule for text in CARRIER_TEXTS} == {read(Signal(sip_code=500, text=text)).rule for text in examples}


@pytest.mark.parametrize("words", ["cpu exhausted", "no response from servers", "sip request timed out", "permissions denied"])
def test_the_media_servers_words_in_a_trunks_answer_are_the_trunks(words: str) -> None:
    assert read(Signal(sip_code=503, sip_reason=words, text=f"sip status: 503: {words}")).cause is C.NETWORK_ERROR


@pytest.mark.parametrize(
    ("leave", "cause"),
    [
        ("", C.NO_ANSWER),
        ("USER_UNAVAILABLE", C.NO_ANSWER),
        ("SIP_TRUNK_FAILURE", C.NO_ANSWER),
        ("ROOM_DELETED", C.ROOM_DELETED),
        ("PARTICIPANT_REMOVED", C.UNKNOWN),
        ("DUPLICATE_IDENTITY", C.UNKNOWN),
        ("SERVER_SHUTDOWN", C.UNKNOWN),
    ],
)
def test_a_leg_that_was_taken_away_while_ringing_did_not_ring_out(leave: str, cause: HangupCause) -> None:
    signal = Signal(text="sip request timed out", disconnect_reason=leave)
    assert read(signal, rang=True, ring_s=LONG_RING_S).cause is cause


# Precedence


def test_a_specific_q850_cause_comes_before_texts_patterns_and_the_sip_code() -> None:
    rules = TrunkRules(patterns=((r"blocked", C.NUMBER_BLOCKED),))
    signal = Signal(sip_code=480, sip_reason="Network Blocked", q850_cause=20, text="cps limit exceeded")
    reading = read(signal, rang=True, ring_s=3.0, rules=rules)
    assert (reading.cause, reading.rule, reading.evidence) == (C.SUBSCRIBER_ABSENT, "q850", {"q850_cause": 20})


@pytest.mark.parametrize("says_nothing", [None, 16, 31, 127, 0, 128, -1])
def test_a_q850_cause_that_says_nothing_leaves_it_to_the_rest(says_nothing: int | None) -> None:
    busy = Signal(sip_code=486, q850_cause=says_nothing)
    forwarded = Signal(sip_code=480, q850_cause=says_nothing)
    limit = Signal(sip_code=403, sip_reason="CPS limit exceeded", q850_cause=says_nothing)
    assert read(busy).cause is C.USER_BUSY
    assert read(forwarded, rang=True, ring_s=3.0).cause is C.FORWARDED_TO_VOICEMAIL
    assert read(limit).cause is C.TRUNK_CAPACITY


def test_a_text_comes_before_the_code_and_before_the_preconnect_rule() -> None:
    assert read(Signal(sip_code=480, sip_reason="CPS limit exceeded"), rang=True, ring_s=3.0).cause is C.TRUNK_CAPACITY


def test_a_trunks_pattern_comes_before_named_texts_codes_and_the_preconnect_rule() -> None:
    rules = TrunkRules(
        patterns=(
            (r"^404 .*unpaid", C.TRUNK_AUTH),
            (r"channel limit", C.TRUNK_CAPACITY),
            (r"^403\b", C.NUMBER_BLOCKED),
            (r"^603 network blocked", C.CALL_REJECTED),
            (r"max auth retry", C.TRUNK_CAPACITY),
        )
    )
    assert read(Signal(sip_code=404, sip_reason="Bill UNPAID"), rules=rules).cause is C.TRUNK_AUTH
    assert read(Signal(sip_code=404, sip_reason="Not Found"), rules=rules).cause is C.UNALLOCATED_NUMBER
    assert read(Signal(sip_code=480, sip_reason="Channel limit"), rang=True, ring_s=3.0, rules=rules).cause is C.TRUNK_CAPACITY
    assert read(Signal(sip_code=503, text="INVITE failed: channel limit"), rules=rules).cause is C.TRUNK_CAPACITY
    assert read(Signal(sip_code=403, sip_reason="Forbidden"), rules=rules).cause is C.NUMBER_BLOCKED
    assert read(Signal(sip_code=603, sip_reason="Network Blocked"), rules=rules).cause is C.CALL_REJECTED
    assert read(Signal(text="max auth retry attempts reached for SIP invite"), rules=rules).cause is C.TRUNK_CAPACITY
    assert read(Signal(sip_code=403), rules=rules).evidence == {"pattern": r"^403\b"}


def test_the_first_of_a_trunks_patterns_that_is_found_decides() -> None:
    rules = TrunkRules(patterns=(("limit", C.TRUNK_CAPACITY), ("credit limit", C.TRUNK_AUTH)))
    assert read(Signal(sip_code=403, sip_reason="credit limit"), rules=rules).cause is C.TRUNK_CAPACITY


@pytest.mark.parametrize("text", ["cpu exhausted", "no response from servers", "update room failed: not found"])
def test_a_trunks_pattern_says_nothing_of_a_dial_that_never_reached_it(text: str) -> None:
    rules = TrunkRules(patterns=((".*", C.UNALLOCATED_NUMBER),))
    assert read(Signal(text=text), rules=rules).cause is C.MEDIA_SERVER_UNAVAILABLE


def test_a_pattern_that_could_not_be_used_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression"):
        TrunkRules(patterns=(("(", C.USER_BUSY),))
    for cause in NOT_FROM_A_TRUNK:
        with pytest.raises(ValueError, match=f"cannot mean {cause.value}"):
            TrunkRules(patterns=(("x", cause),))


def test_486_is_a_decline_only_after_ringing_and_where_the_trunk_says_so() -> None:
    says_so = TrunkRules(busy_means_declined=True)
    for q850_cause in (None, 17):
        busy = Signal(sip_code=486, q850_cause=q850_cause)
        assert read(busy, rang=True, ring_s=3.0, rules=says_so).cause is C.CALL_REJECTED
        assert read(busy, rules=says_so).cause is C.USER_BUSY
        assert read(busy, rang=True, ring_s=3.0).cause is C.USER_BUSY
    assert read(Signal(sip_code=600), rang=True, ring_s=3.0, rules=says_so).cause is C.USER_BUSY


# The pre-connect rule


def forwarded(ring_s: float | None, *, code: int = 480, reason: str = "", rang: bool = True, error_s: float = 0.0,
              timeout_s: float | None = 30.0, rules: TrunkRules = DEFAULT_RULES) -> HangupCause:  # fmt: skip
    signal = Signal(sip_code=code, sip_reason=reason)
    return read(signal, rang=rang, ring_s=ring_s, ring_error_s=error_s, ring_timeout_s=timeout_s, rules=rules).cause


@pytest.mark.parametrize(
    ("ring_s", "cause"),
    [
        (0.0, C.SUBSCRIBER_ABSENT),
        (0.999, C.SUBSCRIBER_ABSENT),
        (1.0, C.FORWARDED_TO_VOICEMAIL),
        (3.0, C.FORWARDED_TO_VOICEMAIL),
        (18.0, C.FORWARDED_TO_VOICEMAIL),
        (18.001, C.NO_ANSWER),
        (29.5, C.NO_ANSWER),
        (None, C.NO_ANSWER),
    ],
)
def test_unavailable_after_a_short_ring_is_forwarding_to_voicemail(ring_s: float | None, cause: HangupCause) -> None:
    assert forwarded(ring_s) is cause


def test_its_evidence_says_that_it_was_inferred_and_from_what() -> None:
    reading = read(Signal(sip_code=480), rang=True, ring_s=3.0041)
    assert reading.rule == "preconnect_voicemail"
    assert reading.evidence == {"inferred": "short_ring", "ring_s": 3.004, "min_ring_s": 1.0, "max_ring_s": 18.0}


def test_unavailable_without_ringing_is_a_phone_that_is_off() -> None:
    assert forwarded(None, rang=False) is C.SUBSCRIBER_ABSENT
    assert forwarded(3.0, rang=False) is C.SUBSCRIBER_ABSENT


@pytest.mark.parametrize(
    ("ring_s", "error_s", "timeout_s", "cause"),
    [
        (8.9, 0.0, 10.0, C.FORWARDED_TO_VOICEMAIL),
        (9.0, 0.0, 10.0, C.NO_ANSWER),
        (9.7, 0.0, 10.0, C.NO_ANSWER),
        (10.0, 0.0, 10.0, C.NO_ANSWER),
        (10.9, 0.0, 10.0, C.NO_ANSWER),
        (14.0, 0.0, 10.0, C.NO_ANSWER),  # its timer had gone off long ago
        (8.9, 0.1, 10.0, C.NO_ANSWER),
        (8.6, 0.5, 10.0, C.NO_ANSWER),
        (8.4, 0.5, 10.0, C.FORWARDED_TO_VOICEMAIL),
        (9.7, 0.0, None, C.FORWARDED_TO_VOICEMAIL),
    ],
)
def test_the_rule_never_fires_at_the_edge_of_our_own_ring_timer(
    ring_s: float | None, error_s: float, timeout_s: float | None, cause: HangupCause
) -> None:
    assert forwarded(ring_s, error_s=error_s, timeout_s=timeout_s) is cause


def test_the_rule_can_be_switched_off_for_a_trunk() -> None:
    off = TrunkRules(preconnect_voicemail=False)
    assert forwarded(3.0, rules=off) is C.NO_ANSWER
    assert forwarded(0.5, rules=off) is C.SUBSCRIBER_ABSENT


def test_the_rule_keeps_to_the_trunks_codes_and_times() -> None:
    own = TrunkRules(preconnect_voicemail_codes=frozenset({486, 603}), min_ring_s=2.0, max_ring_s=10.0)
    assert forwarded(5.0, code=486, rules=own) is C.FORWARDED_TO_VOICEMAIL
    assert forwarded(5.0, code=486, reason="Busy Here", rules=own) is C.FORWARDED_TO_VOICEMAIL
    assert forwarded(5.0, code=603, reason="Decline", rules=own) is C.FORWARDED_TO_VOICEMAIL
    assert forwarded(1.5, code=486, rules=own) is C.USER_BUSY
    assert forwarded(11.0, code=486, rules=own) is C.USER_BUSY
    assert forwarded(None, code=486, rules=own) is C.USER_BUSY
    assert forwarded(5.0, code=486, rang=False, rules=own) is C.USER_BUSY
    assert forwarded(5.0, code=480, rules=own) is C.NO_ANSWER
    assert forwarded(1.5, code=480, rules=own) is C.SUBSCRIBER_ABSENT
    assert forwarded(5.0, code=404) is C.UNALLOCATED_NUMBER


@pytest.mark.parametrize("reason", ["No answer", "User busy", "Call declined", "Do Not Disturb", "User not registered"])
def test_the_rule_does_not_interpret_what_the_text_says_otherwise(reason: str) -> None:
    assert forwarded(3.0, reason=reason) is C.NO_ANSWER


@pytest.mark.parametrize(
    "reason", ["", "Temporarily Unavailable", "Temporarily not available", "SIP_STATUS_TEMPORARILY_UNAVAILABLE"]
)
def test_the_rule_is_not_disturbed_by_the_usual_phrase(reason: str) -> None:
    assert forwarded(3.0, reason=reason) is C.FORWARDED_TO_VOICEMAIL


@pytest.mark.parametrize(("q850_cause", "cause"), [(20, C.SUBSCRIBER_ABSENT), (19, C.NO_ANSWER), (17, C.USER_BUSY)])
def test_the_rule_yields_to_a_q850_cause(q850_cause: int, cause: HangupCause) -> None:
    assert read(Signal(sip_code=480, q850_cause=q850_cause), rang=True, ring_s=3.0).cause is cause


# After the answer


@pytest.mark.parametrize(
    ("signal", "cause"),
    [
        (Signal(disconnect_reason="CLIENT_INITIATED"), C.NORMAL_CLEARING),
        (Signal(disconnect_reason="ROOM_DELETED"), C.ROOM_DELETED),
        (Signal(text="media-timeout"), C.MEDIA_LOST),
        (Signal(text="media timeout", disconnect_reason="UNKNOWN_REASON"), C.MEDIA_LOST),
        (Signal(text="media-timeout", disconnect_reason="CLIENT_INITIATED"), C.MEDIA_LOST),
        (Signal(), C.LEG_LOST),
        (Signal(disconnect_reason="UNKNOWN_REASON"), C.LEG_LOST),
        (Signal(disconnect_reason="PARTICIPANT_REMOVED"), C.LEG_LOST),
        (Signal(disconnect_reason="CONNECTION_TIMEOUT"), C.LEG_LOST),
        (Signal(disconnect_reason="SERVER_SHUTDOWN"), C.LEG_LOST),
        (Signal(sip_code=486, q850_cause=17, text="cpu exhausted"), C.LEG_LOST),
    ],
)
def test_after_the_answer_only_the_leave_and_reported_silence_count(signal: Signal, cause: HangupCause) -> None:
    assert read(signal, answered=True, rang=True, ring_s=3.0).cause is cause


# What proves that no phone rang


@pytest.mark.parametrize("code", range(300, 700))
def test_only_authentication_and_configuration_codes_prove_that_nothing_rang(code: int) -> None:
    before = NAMED_CODES.get(code, (C.UNKNOWN, C.UNKNOWN))[0]
    assert proves_nothing_rang(Signal(sip_code=code), rang=False) is (before in (C.TRUNK_AUTH, C.TRUNK_CONFIG))
    assert not proves_nothing_rang(Signal(sip_code=code), rang=True)


def test_a_limit_text_proves_it_and_so_does_the_trunks_own() -> None:
    own = TrunkRules(patterns=(("all circuits", C.TRUNK_CAPACITY), ("barred", C.NUMBER_BLOCKED)))
    assert proves_nothing_rang(Signal(sip_code=503, sip_reason="CPS limit exceeded"), rang=False)
    assert proves_nothing_rang(Signal(sip_code=480, sip_reason="All circuits busy"), rang=False, rules=own)
    assert not proves_nothing_rang(Signal(sip_code=480, sip_reason="All circuits busy"), rang=False)
    assert not proves_nothing_rang(Signal(sip_code=403, sip_reason="barred"), rang=False, rules=own)
    assert not proves_nothing_rang(Signal(sip_code=503, sip_reason="CPS limit exceeded"), rang=True)


@pytest.mark.parametrize("cause", range(1, 128))
def test_a_q850_cause_neither_proves_it_alone_nor_may_contradict_the_code(cause: int) -> None:
    assert not proves_nothing_rang(Signal(q850_cause=cause), rang=False)
    assert not proves_nothing_rang(Signal(sip_code=503, q850_cause=cause), rang=False)
    agrees = cause in (16, 31, 127) or NAMED_Q850.get(cause, (C.UNKNOWN,))[0] in (C.TRUNK_CONFIG, C.TRUNK_CAPACITY)
    assert proves_nothing_rang(Signal(sip_code=403, q850_cause=cause), rang=False) is agrees


def test_every_cause_but_an_order_can_be_read_from_some_signal() -> None:
    texts = ["", "cps limit exceeded", *(text for text, _, _, _ in TEXTS), "media-timeout"]
    unanswered = [
        read(Signal(sip_code=code, text=text), rang=rang, ring_s=3.0).cause
        for code, text, rang in itertools.product([None, *NAMED_CODES], texts, [False, True])
    ]
    leaves = ["", "CLIENT_INITIATED", "ROOM_DELETED"]
    answered = [
        read(Signal(text=text, disconnect_reason=leave), answered=True).cause
        for text, leave in itertools.product(texts, leaves)
    ]
    assert {*unanswered, *answered} == set(HangupCause) - {C.ORDERED}
