"""What daemon and children say to each other arrives as it was said; nonsense is refused."""

from __future__ import annotations

import pytest

from sip.events import Quiet
from sip.leg import ListeningPlan
from sip.livekit.listening.wire import (
    AnswerSeen,
    Beat,
    DetectionLost,
    DetectionOver,
    Garbled,
    Gone,
    Hush,
    Joined,
    Leave,
    Listen,
    Play,
    Played,
    Playing,
    SomeoneQuiet,
    Started,
    Told,
    line_of,
    order_of,
    report_of,
)
from sip.voicemail.events import (
    DetectorSettings,
    Kind,
    Pace,
    PhraseHeard,
    SpeechEnded,
    SpeechStarted,
    Stage,
    Tone,
    ToneKind,
    Verdict,
    WordsHeard,
)

ORDERS = [
    Listen("r", "ws://h", "t", ListeningPlan(DetectorSettings(sensitivity=0.25, pace=Pace.FAST), silence_s=3.0), detect=True),
    Listen("r", "ws://h", "t", ListeningPlan(silence_warning_s=1.0, idle_s=2, media_lost_s=0.5), detect=False),
    Leave("r"),
    Play("r", "ws://h", "t", "/a b/ü.wav"),
    Hush("r"),
]
EVENTS = [
    SpeechStarted(0.1, 0.2),
    SpeechEnded(0.1, 0.2, 0.4),
    Tone(ToneKind.SIT, 0.0, 1.0, 1.1, (913.8, 1370.6, 1776.7), -24.0, "IC"),
    Tone(ToneKind.BEEP, 0.0, 1.0, 1.1),
    PhraseHeard(Kind.MENU, "en", "press one", 1.0, 1.0),
    WordsHeard("grüß Gott", None, 2.0),
    Verdict(
        Stage.FINAL, Kind.VOICEMAIL, 0.997, 6.5, "beep", {"pauses": 2, "first_s": 0.5, "late": False, "why": None, "w": "x"}
    ),
]
REPORTS = [
    Beat(1.5, 3),
    Joined("r"),
    Started("r", 1.0),
    AnswerSeen("r"),
    *(Told("r", 12.25, event, 1.5) for event in EVENTS),
    Told("r", 12.25, EVENTS[0], None),
    DetectionLost("r", 1.0, "why\nnot"),
    DetectionOver("r"),
    SomeoneQuiet("r", 1.0, Quiet.BOTH, 4.0),
    Gone("r", 1.0, ""),
    Playing("r"),
    Played("r", 2.0, complete=False, played_s=1.5, why="stopped"),
]


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_every_order_arrives_as_it_was_given(order):
    line = line_of(order)
    assert line.count(b"\n") == 1
    assert order_of(line) == order


@pytest.mark.parametrize("report", REPORTS, ids=repr)
def test_every_report_arrives_as_it_was_made(report):
    line = line_of(report)
    assert line.count(b"\n") == 1
    assert report_of(line) == report


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"is":"Nothing"}\n',
        b'{"is":"Joined"}\n',
        b'{"is":"Joined","room":7}\n',
        b'{"is":"Joined","room":"r","more":1}\n',
        b'{"is":"Told","room":"r","at_s":1.0,"what":{"is":"Verdict"},"answered_s":null}\n',
        b'{"is":"SomeoneQuiet","room":"r","at_s":1.0,"quiet":"nobody","for_s":1.0}\n',
        line_of(ORDERS[0]),
    ],
)
def test_nonsense_is_refused(line):
    with pytest.raises(Garbled):
        report_of(line)


def test_what_has_no_place_on_the_line_is_a_defect_at_the_sender():
    with pytest.raises(TypeError):
        line_of(Told("r", 1.0, Verdict(Stage.FIRST, Kind.FAX, 1.0, 1.0, "fax", {"x": object()}), None))  # type: ignore[dict-item]
