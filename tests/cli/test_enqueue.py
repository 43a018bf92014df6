"""Queueing by the command line: one call, and files of them."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import TO

ONE = ("enqueue", "--account", "acme", "--to", TO)


def batch_of(office, batch="b") -> list[dict]:
    return office("calls", "list", "--batch", batch, "--numbers", "--limit", "1000", "--json").document


def test_a_call_is_queued_with_all_that_was_asked_for(office):
    office("accounts", "set", "acme", "--caller-id", "+12125550190")
    queued = office(
        *ONE, "--json", "--metadata", '{"order": 7}', "--caller-id", "212 555 0190", "--run-at", "2030-01-01T09:00:00+01:00",
        "--expires-at", "2030-01-02T00:00:00Z", "--priority", "5", "--key", "order-7", "--batch", "spring", "--agent", "bob",
        "--header", "X-Campaign=spring=1", "--display-name", "Acme", "--dtmf", "ww12#", "--ring-timeout", "20",
        "--max-duration", "60",
    )  # fmt: skip
    assert queued.code == 0, queued.err
    assert queued.document == {"call_id": 1, "created": True}
    shown = office("calls", "show", "1", "--json").document
    assert shown["state"] == "scheduled"
    assert shown["call_status"] == "queued"
    assert shown["run_at"] == "2030-01-01T08:00:00Z"
    assert shown["expires_at"] == "2030-01-02T00:00:00Z"
    assert shown["metadata"] == {"order": 7}
    assert (shown["agent_name"], shown["caller_id"], shown["batch"], shown["priority"]) == ("bob", "+12125550190", "spring", 5)


def test_the_same_key_queues_one_call_and_another_call_under_it_is_refused(office):
    assert office(*ONE, "--key", "k").out == "call 1 is queued\n"
    assert office(*ONE, "--key", "k").out == "call 1 was queued before under this key\n"
    refused = office("enqueue", "--account", "acme", "--to", "+12125550101", "--key", "k")
    assert refused.code == 2
    assert "'k'" in refused.err
    assert len(office("calls", "list", "--json").document) == 1


def test_a_short_ring_timeout_is_warned_of_and_taken(office):
    queued = office(*ONE, "--ring-timeout", "10")
    assert queued.code == 0
    assert "15 s and more is usual" in queued.err


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (("enqueue", "--account", "nobody", "--to", TO), 4, "nobody"),
        (("enqueue", "--account", "acme", "--to", "five"), 2, "'five'"),
        (("enqueue", "--account", "acme", "--to", "+442079460123"), 2, "GB"),
        ((*ONE, "--caller-id", "+12125550192"), 4, "+12125550192"),
        ((*ONE, "--trunk", "side"), 4, "side"),
        ((*ONE, "--calling-hours", "mon-fri 17:00-09:00"), 2, "17:00-09:00"),
        ((*ONE, "--max-attempts", "0"), 2, "max_attempts"),
        ((*ONE, "--redial", '{"delays": {"never": [1]}}'), 2, "never"),
        ((*ONE, "--redial", "{"), 2, "not JSON"),
        ((*ONE, "--metadata", "[1]"), 2, "JSON object"),
        ((*ONE, "--metadata", "{"), 2, "not JSON"),
        ((*ONE, "--metadata", json.dumps({"a": "x" * 65_536})), 2, "65,536"),
        ((*ONE, "--run-at", "2020-01-01T00:00:00Z"), 2, "in the past"),
        ((*ONE, "--run-at", "noon"), 2, "'noon'"),
        ((*ONE, "--expires-at", "2020-01-01T00:00:00Z"), 2, "is not after run_at"),
        ((*ONE, "--run-at", "2030-01-02T00:00:00Z", "--expires-at", "2030-01-01T00:00:00Z"), 2, "is not after"),
        ((*ONE, "--ring-timeout", "0"), 2, "ring timeout"),
        ((*ONE, "--header", "X-A"), 2, "NAME=VALUE"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_queues_nothing(office, arguments, code, names):
    refused = office(*arguments)
    assert refused.code == code
    assert refused.out == ""
    assert refused.err.splitlines()[-1].startswith("error: ")
    assert names in refused.err
    assert office("calls", "list", "--json").document == []


def test_metadata_of_exactly_64_kib_is_taken_and_stored_as_it_was(office):
    metadata = {"a": "é" * ((65_536 - len('{"a": ""}')) // 2)}
    assert office(*ONE, "--metadata", json.dumps(metadata)).code == 0
    assert office("calls", "show", "1", "--json").document["metadata"] == metadata


def test_a_files_good_lines_are_queued_and_each_bad_one_is_told(office, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_bytes(
        b"\xef\xbb\xbfto,metadata.name,run_at\r\n"
        b"212 555 0100,Ann,\r\n"
        b"911,Eve,\r\n"
        b'+12125550101,"Bob ""B."", Jr",2030-01-01T00:00:00Z\r\n'
        b"+12125550100,Ann again,\r\n"
        b"+12125550102,Jos\xe9,\r\n"
        b"+12125550103\r\n"
    )
    done = office("enqueue", "--file", str(path), "--batch", "b", "--account", "acme")
    assert done.code == 3
    assert done.out == "batch b: 6 lines: 2 queued, 0 queued before, 4 refused\n"
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["line 3", "line 5", "line 6", "line 7"]
    assert {call["to"]: call["metadata"] for call in batch_of(office)} == {
        "+12125550100": {"name": "Ann"},
        "+12125550101": {"name": 'Bob "B.", Jr'},
    }
    again = office("enqueue", "--file", str(path), "--batch", "b", "--account", "acme", "--json")
    assert again.code == 3
    assert again.documents[-1] == {
        "batch": "b", "finished": True, "lines": 6, "queued": 0, "already_queued": 2, "refused": 4,
    }  # fmt: skip
    assert again.documents[0]["line"] == 3
    assert len(batch_of(office)) == 2


def test_json_lines_are_queued_with_their_objects(office, tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text(
        '{"to": "+12125550100", "account": "acme", "metadata": {"order": {"id": 7}}, "priority": 3, "key": "seven"}\n'
        '{"to": "+12125550101"}\n'
    )
    done = office("enqueue", "--file", str(path), "--batch", "b")
    assert done.code == 3
    assert "line 2: 'account' is missing" in done.err
    (call,) = batch_of(office)
    assert (call["metadata"], call["priority"], call["idempotency_key"]) == ({"order": {"id": 7}}, 3, "seven")


def test_a_file_may_give_each_call_hours_and_attempts_of_its_own(office, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text(
        "to,calling_hours,max_attempts,redial\n"
        "+12125550100,mon-fri 09:00-17:00; sun closed,3,\n"
        '+12125550101,,,"{""max_attempts"": 2, ""delays"": {""soon"": [600]}}"\n'
        '+12125550102,,2,"{""max_attempts"": 2}"\n'
        "+12125550103,sometimes,,\n"
    )
    done = office("enqueue", "--file", str(path), "--batch", "b", "--account", "acme")
    assert done.out == "batch b: 4 lines: 2 queued, 0 queued before, 2 refused\n"
    assert "line 4: max_attempts stands there twice" in done.err
    assert "line 5: " in done.err
    assert "sometimes" in done.err


def test_a_file_that_is_run_again_when_its_times_are_past_calls_nobody_again_and_says_so(office, tmp_path):
    path = tmp_path / "calls.csv"
    soon = datetime.now(UTC) + timedelta(seconds=2)
    path.write_text(f"to,expires_at\n+12125550100,{soon.isoformat()}\n")
    command = ("enqueue", "--file", str(path), "--account", "acme", "--batch")
    assert office(*command, "b").out == "batch b: 1 line: 1 queued, 0 queued before, 0 refused\n"
    while datetime.now(UTC) <= soon:
        pass
    assert office(*command, "b").out == "batch b: 1 line: 0 queued, 1 queued before, 0 refused\n"
    assert office(*command, "c").code == 3, "a new batch is a new call, and that comes too late"


def test_a_listed_number_refuses_its_line(office, tmp_path):
    assert office("do-not-call", "add", TO, "--account", "acme", "--reason", "asked by letter").code == 0
    path = tmp_path / "calls.csv"
    path.write_text(f"to\n{TO}\n+12125550101\n")
    done = office("enqueue", "--file", str(path), "--batch", "b", "--account", "acme")
    assert done.code == 3
    assert done.err == f"line 2: {TO} is on the do-not-call list of account acme (asked by letter)\n"
    assert [call["to"] for call in batch_of(office)] == ["+12125550101"]


def test_a_key_that_stands_for_another_call_refuses_its_line_only(office, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text("to,metadata.n\n" + "".join(f"+1212555{n:04},{n}\n" for n in range(1000, 1040)))
    assert office("enqueue", "--file", str(path), "--batch", "b", "--account", "acme").code == 0
    path.write_text(path.read_text().replace(",1007\n", ",other\n") + "+12125559000,new\n")
    done = office("enqueue", "--file", str(path), "--batch", "b", "--account", "acme")
    assert done.out == "batch b: 41 lines: 1 queued, 39 queued before, 1 refused\n"
    assert done.err.startswith("line 9: ")


def test_a_file_of_which_nothing_can_be_read_leaves_with_2(office, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text("phone\n+12125550100\n")
    refused = office("enqueue", "--file", str(path), "--batch", "b", "--account", "acme")
    assert refused.code == 2
    assert refused.err == f"error: {path}: the column 'phone' is not known; did you mean 'to'?\n"


def test_an_unknown_account_refuses_every_line_that_names_it(office, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text("to,account\n+12125550100,acme\n+12125550101,acne\n")
    done = office("enqueue", "--file", str(path), "--batch", "b")
    assert done.code == 3
    assert done.err == "line 3: there is no account acne\n"


def test_a_file_interrupted_by_ctrl_c_goes_on_where_it_stopped(office, tmp_path, started):
    path = tmp_path / "calls.csv"
    numbers = [f"+1212{n}" for n in range(2_000_000, 2_020_000) if n // 10_000 % 1000 != 976]
    path.write_text("\n".join(["to", *numbers]))
    command = ("enqueue", "--file", str(path), "--batch", "b", "--account", "acme")
    process = started(*command)
    while office("calls", "list", "--batch", "b", "--limit", "1", "--json").document == [] and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "run the same command again to go on, nobody is called twice" in out
    assert "Traceback" not in err
    stopped_at = office("calls", "summary", "b", "--json").document["total"]
    assert 0 < stopped_at < len(numbers)
    done = office(*command, "--json").documents[-1]
    assert done["already_queued"] == stopped_at
    assert (
        office("calls", "summary", "b", "--json").document["total"]
        == done["queued"] + stopped_at
        == done["lines"] - done["refused"]
    )
