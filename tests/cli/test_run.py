"""`orchestrator run`, with and without a demo."""

from __future__ import annotations

import json
import re
import signal

from orchestrator.demo import ACCOUNTS

FAST = {"ORCHESTRATOR_SIMULATED__TIME_SCALE": "8"}


def test_a_demo_says_that_no_phone_rings_shows_its_calls_and_keeps_every_promise(orchestrator, started):
    process = started("run", "--demo", "24", "--until-idle", **FAST)
    out, err = process.communicate(timeout=120)
    lines = out.splitlines()
    assert lines[-1] == "24 passed, 0 failed", out
    assert process.returncode == 0
    assert "no phone will ring" in lines[0]
    assert sum(re.match(r" +\d+ of 24  demo-", line) is not None for line in lines) == 24
    assert "Traceback" not in err
    limits = {row["name"]: row["max_concurrent"] for row in orchestrator("accounts", "list", "--json").document}
    assert limits == {account.name: account.max_concurrent for account in ACCOUNTS}


def test_a_second_demo_on_the_same_database_is_its_own_and_answers_programs_too(started):
    for _ in range(2):
        process = started("run", "--demo", "5", "--until-idle", "--json", **FAST)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        document = json.loads(out)
        assert (document["passed"], document["failed"], document["broken"]) == (5, 0, [])


def test_a_promise_that_is_broken_is_told_and_leaves_with_1(started):
    # Nobody comes for the demo's calls, so none of them is dialled.
    missing = {"ORCHESTRATOR_SIMULATED__MISSING_AGENTS": "demo-agent", "ORCHESTRATOR_CALLS__EXPIRES_AFTER_S": "6"}
    quick = {"ORCHESTRATOR_CALLS__AGENT_JOIN_TIMEOUT_S": "1", "ORCHESTRATOR_CALLS__AGENT_DELAYS_S": "0.5,0.5"}
    process = started("run", "--demo", "3", "--until-idle", **missing, **quick)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out.splitlines()[-1] == "0 passed, 3 failed"
    assert "AGENT_NEVER_JOINED   BROKEN: " in out


def test_a_demo_that_is_stopped_says_so_and_leaves_with_1(started):
    process = started("run", "--demo", "60", "--until-idle", ORCHESTRATOR_WORKER__DRAIN_S="0")
    assert process.stdout is not None
    while " of 60" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert out.splitlines()[-1] == "the demo was stopped before its last call ended"
    assert "Traceback" not in err


def test_without_a_demo_it_leaves_when_nothing_is_queued_any_more(office, started):
    office("enqueue", "--account", "acme", "--to", "+12125550101")
    process = started("run", "--until-idle", **FAST)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert office("calls", "show", "1", "--json").document["end_reason"] == "USER_BUSY"
