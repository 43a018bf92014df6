"""What is done about who answers, by the command line: policies of accounts and calls, and what was heard in a call."""

from __future__ import annotations

import asyncio
import json

import pytest

from orchestrator.cli.heard import heard
from orchestrator.store.pool import Database

ADD = ("accounts", "add", "globex", "--country", "US", "--max-concurrent", "5")


def test_a_policy_is_set_shown_and_taken_back(office):
    changed = office(
        *("accounts", "set", "acme", "--on-voicemail", "leave_message", "--message", "/srv/bye.wav", "--on-menu", "hang_up"),
        *("--silence", "30s", "--silence-warning", "20s", "--idle", "2m", "--media-lost", "0", "--hang-up-probability", "0.99"),
    )
    assert changed.code == 0, changed.err
    assert office("accounts", "show", "acme", "--json").document["detection"] == {
        "on_voicemail": "leave_message",
        "message": "/srv/bye.wav",
        "on_menu": "hang_up",
        "silence_s": 30,
        "silence_warning_s": 20,
        "idle_s": 120,
        "media_lost_s": 0,
        "hang_up_probability": 0.99,
    }
    people = office("accounts", "show", "acme").out
    assert "on_voicemail leave_message" in people
    assert "idle_s 2m" in people
    assert office("accounts", "set", "acme", "--on-menu", "none", "--silence-warning", "none").code == 0
    detection = office("accounts", "show", "acme", "--json").document["detection"]
    assert (detection.get("on_menu"), detection.get("silence_warning_s"), detection["silence_s"]) == (None, None, 30)
    assert office("accounts", "set", "acme", "--detection-policy", "none").code == 0
    assert office("accounts", "show", "acme", "--json").document["detection"] == {}
    assert "on; on_fax hang_up, else carry_on" in office("accounts", "show", "acme").out


def test_a_whole_policy_comes_as_json_or_from_a_file(office, tmp_path):
    policy = {"on_fax": "carry_on", "pace": "fast", "sensitivity": 0.3}
    assert office("accounts", "set", "acme", "--detection-policy", json.dumps(policy)).code == 0
    assert office("accounts", "show", "acme", "--json").document["detection"] == policy
    file = tmp_path / "policy.json"
    file.write_text('{"pace": "careful"}')
    assert office("accounts", "set", "acme", "--detection-policy", str(file), "--on-menu", "hang_up").code == 0
    assert office("accounts", "show", "acme", "--json").document["detection"] == {
        **policy,
        "pace": "careful",
        "on_menu": "hang_up",
    }


def test_a_new_account_can_be_made_without_detection(office):
    assert office(*ADD, "--detection", "off").code == 0
    assert office("accounts", "show", "globex", "--json").document["detection"] == {"on": False}
    assert "detection          off" in office("accounts", "show", "globex").out


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--detection", "maybe"), "on must be true or false"),
        (("--on-voicemail", "hangup"), "on_voicemail must be one of carry_on, hang_up, leave_message"),
        (("--on-menu", "leave_message"), "on_menu must be one of carry_on, hang_up"),
        (("--hang-up-probability", "0.5"), "hang_up_probability must be a number from 0.9 to 1"),
        (("--hang-up-probability", "high"), "hang_up_probability must be a number"),
        (("--silence", "20"), "--silence: '20' is no duration"),
        (("--silence", "20s", "--silence-warning", "30s"), "silence_warning_s (30) must be below silence_s (20)"),
        (("--message", "bye.wav"), "message must be the absolute path"),
        (("--detection-policy", "/no/such/file"), "neither a JSON object nor a file"),
        (("--detection-policy", '{"on_menue": "hang_up"}'), "did you mean on_menu?"),
        (("--detection-policy", "{"), "must be on, off or a JSON object"),
    ],
)
def test_a_bad_policy_is_one_line_that_names_it_and_changes_nothing(office, arguments, names):
    before = office("accounts", "list", "--json").document
    for command in (("accounts", "set", "acme", "--paused"), ADD):
        refused = office(*command, *arguments)
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert names in refused.err
    assert office("accounts", "list", "--json").document == before


def stored(database_url: str) -> list[object]:
    """What calls say, oldest first."""

    async def read() -> list[object]:
        connection = await Database(database_url).connect()
        rows = await connection.fetch("SELECT detection::text AS said FROM calls ORDER BY id")
        await connection.close()
        return [None if row["said"] is None else json.loads(row["said"]) for row in rows]

    return asyncio.run(read())


def test_a_call_has_a_policy_of_its_own(office, database_url):
    for detection in ("off", '{"on_voicemail": "hang_up"}'):
        assert office("enqueue", "--account", "acme", "--to", "+12125550100", "--detection", detection).code == 0
    assert stored(database_url) == [{"on": False}, {"on_voicemail": "hang_up"}]
    refused = office("enqueue", "--account", "acme", "--to", "+12125550100", "--detection", '{"on_voicemail": "hangup"}')
    assert refused.code == 2
    assert "on_voicemail must be one of" in refused.err


def test_a_call_that_contradicts_its_account_is_refused(office):
    office("accounts", "set", "acme", "--silence", "10s")
    refused = office("enqueue", "--account", "acme", "--to", "+12125550100", "--detection", '{"silence_warning_s": 15}')
    assert refused.code == 2
    assert "silence_warning_s (15) must be below silence_s (10)" in refused.err


def test_a_file_of_calls_has_a_column_for_it(office, database_url, tmp_path):
    file = tmp_path / "calls.csv"
    file.write_text(
        'to,detection\n+12125550100,off\n+12125550101,"{""on_menu"": ""hang_up""}"\n+12125550102,\n+12125550103,{\n'
    )
    said = office("enqueue", "--account", "acme", "--file", str(file), "--batch", "b", "--detection", "on")
    assert said.code == 3
    assert "line 5: detection must be on, off or a JSON object" in said.err
    assert stored(database_url) == [{"on": False}, {"on_menu": "hang_up"}, {"on": True}]
    lines = tmp_path / "calls.jsonl"
    lines.write_text('{"to": "+12125550104", "detection": {"on_fax": "carry_on"}}\n')
    assert office("enqueue", "--account", "acme", "--file", str(lines), "--batch", "c").code == 0
    assert stored(database_url)[-1] == {"on_fax": "carry_on"}


@pytest.mark.parametrize(
    ("kind", "detail", "what", "evidence"),
    [
        (
            "verdict",
            {
                "kind": "mailbox_full",
                "stage": "final",
                "machine_probability": 0.997,
                "rule": "phrase",
                "after_answer_s": 4.2,
                "words": 9,
            },
            "  final verdict: mailbox full",
            "machine probability 0.997, by phrase, 4.2 s after the answer   words=9",
        ),
        (
            "beep",
            {"tone": "beep", "lasted_s": 0.4, "frequencies_hz": "1000", "level_dbm0": -14.0, "after_answer_s": 8.0},
            "  beep",
            "0.4 s, 1000 Hz, 8.0 s after the answer   level_dbm0=-14.0",
        ),
        ("message", {"by": "file", "after": "beep"}, "  message plays", "after the beep"),
        (
            "message",
            {"by": "agent", "after": "greeting"},
            "  agent is told to leave its message",
            "after the greeting, without a beep",
        ),
        ("message_played", {"complete": True, "played_s": 4.2}, "  message was played to its end", "4.2 s"),
        (
            "message_played",
            {"complete": False, "played_s": 0, "why": "gone"},
            "  message was not played to its end",
            "0 s   why=gone",
        ),
        ("listening_lost", {"why": "it died"}, "  nobody listens: the call goes on without detection", "it died"),
        ("plan_called_off", {"plan": "wait_for_beep", "why": "x"}, "  wait for beep is called off", "x"),
        ("silence_warning", {"silent_s": 10.0}, "  agent is warned of silence", "the callee has been silent for 10.0 s"),
    ],
)
def test_what_was_heard_is_told_in_words(kind, detail, what, evidence):
    assert heard(kind, detail) == (what, evidence)


def test_other_events_are_not_ours_to_word():
    assert heard("digit", {"digit": "1"}) is None


def test_what_a_stranger_chose_moves_no_cursor():
    words = heard("verdict", {"kind": "\x1b[2J", "stage": "final", "machine_probability": 1, "rule": "\x07"})
    assert words is not None
    assert all(text.isprintable() for text in words)
