"""Listing, showing, cancelling and watching calls."""

from __future__ import annotations

import signal

from sip.simulated import callees
from tests.cli.conftest import TO

ONE = ("enqueue", "--account", "acme", "--to", TO, "--run-at", "2030-01-01T00:00:00Z")


def test_calls_are_listed_newest_first_and_page_by_page(office):
    for _ in range(3):
        office(*ONE)
    assert [call["call_id"] for call in office("calls", "list", "--json").document] == [3, 2, 1]
    page = office("calls", "list", "--limit", "2")
    assert "add --before 2" in page.out
    assert [call["call_id"] for call in office("calls", "list", "--before", "2", "--json").document] == [1]


def test_calls_are_found_by_account_batch_state_and_end_reason(office):
    office("accounts", "add", "globex", "--country", "US", "--max-concurrent", "5", "--trunk", "main", "--agent", "ann")
    office(*ONE, "--batch", "x")
    office("enqueue", "--account", "globex", "--to", TO, "--run-at", "2030-01-01T00:00:00Z")
    office("calls", "cancel", "1")

    def ids(*arguments: str) -> list[int]:
        return [call["call_id"] for call in office("calls", "list", "--json", *arguments).document]

    assert ids("--account", "globex") == [2]
    assert ids("--batch", "x") == [1]
    assert ids("--state", "queued") == [2]
    assert ids("--state", "done") == [1]
    assert ids("--state", "scheduled", "--state", "canceled") == [2, 1]
    assert ids("--state", "live") == []
    assert ids("--end-reason", "CANCELED_BY_REQUEST") == [1]
    unknown = office("calls", "list", "--account", "acne")
    assert (unknown.code, unknown.out) == (4, "")


def test_numbers_are_masked_in_lists_and_full_where_one_call_is_shown(office):
    office(*ONE)
    for arguments in (("list",), ("list", "--json")):
        assert "12125550100" not in office("calls", *arguments).out
        assert TO in office("calls", *arguments, "--numbers").out
    assert TO in office("calls", "show", "1").out


def test_a_call_is_shown_with_its_timeline(office):
    office(*ONE)
    office("calls", "cancel", "1")
    shown = office("calls", "show", "1")
    assert "canceled: CANCELED_BY_REQUEST" in shown.out
    steps = [line for line in shown.out.splitlines() if line[2:3] == ":"]
    assert "scheduled" in steps[0]
    assert "canceled" in steps[-1]
    assert [event["state"] for event in office("calls", "show", "1", "--json").document["events"] if event["state"]] == [
        "scheduled",
        "canceled",
    ]


def test_a_call_that_is_not_there_leaves_with_4(office):
    missing = office("calls", "show", "7")
    assert (missing.code, missing.out) == (4, "")
    assert "7" in missing.err
    assert office("calls", "summary", "nothing").code == 4


def test_cancelling_tells_what_became_of_each_call(office):
    office(*ONE)
    office(*ONE)
    assert office("calls", "cancel", "1").out == "call 1: canceled\n"
    again = office("calls", "cancel", "1", "2", "9", "--json")
    assert again.code == 3
    assert again.document == [
        {"call_id": 1, "result": "already_ended"},
        {"call_id": 2, "result": "canceled"},
        {"call_id": 9, "result": "not_found"},
    ]
    assert office("calls", "cancel", "9").code == 4
    assert office("calls", "cancel", "1").code == 1


def test_a_batch_is_summed_up(office):
    office(*ONE, "--batch", "x")
    office(*ONE, "--batch", "x")
    office("calls", "cancel", "1")
    assert office("calls", "summary", "x", "--json").document == {
        "batch": "x", "total": 2, "unfinished": {"scheduled": 1}, "ended": {"CANCELED_BY_REQUEST": 1},
    }  # fmt: skip
    assert "x: 2 calls, 1 ended, 1 not yet" in office("calls", "summary", "x").out


def test_watching_goes_on_until_ctrl_c_and_leaves_with_0(office, started):
    process = started("calls", "watch", "--json")
    assert process.stdout is not None
    daemon = started("run", ORCHESTRATOR_SIMULATED__TIME_SCALE="10")
    office("enqueue", "--account", "acme", "--to", callees.TALKS_ON)
    seen = [process.stdout.readline()]  # it goes on until somebody ends it, however late the first look is
    office("calls", "cancel", "1")
    while not any(state in seen[-1] for state in ('"ended"', '"canceled"')):
        seen.append(process.stdout.readline())
        assert seen[-1], "the watch went away"
    assert len(seen) > 1
    assert all('"call_id": 1' in line for line in seen)
    assert callees.TALKS_ON not in "".join(seen)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    daemon.terminate()
    _, log = daemon.communicate(timeout=120)
    assert daemon.returncode == 0, log


def test_an_answer_into_a_pipe_that_nobody_reads_leaves_without_a_word(office, started):
    process = started("calls", "list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr is not None
    assert process.stderr.read() == ""
