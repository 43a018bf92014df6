"""The short version of `make chaos`."""

from __future__ import annotations

import os

import pytest

from tests.chaos import rehearsal, staging
from tests.chaos.__main__ import run
from tests.chaos.breaches import SCENARIOS, Trial, all_are_tried, perform, rehearse
from tests.chaos.faults import LOST_DIAL
from tests.fixtures.livekit import NOTHING_SKIPPED, NoLiveKitServerError, find_server

FIRST = (LOST_DIAL, "stop between intent and request", "kill at a step", "lose answers of the database")
"""What the short run survives in any case, beside what is drawn."""
QUICK_SCENES = ("closing of rooms", "one request for a dial")
"""The others wait for leases: `make chaos` plays them."""


@pytest.fixture
def livekit_server() -> None:
    """Skips where there is none."""
    try:
        find_server()
    except NoLiveKitServerError as reason:
        if os.environ.get(NOTHING_SKIPPED) == "1":
            pytest.fail(f"{NOTHING_SKIPPED} is set, but: {reason}")
        pytest.skip(f"NO REAL LIVEKIT: {reason}")


@pytest.mark.livekit
@pytest.mark.xdist_group("livekit")
@pytest.mark.timeout(540)
@pytest.mark.usefixtures("livekit_server")
async def test_nobody_is_called_twice_and_nothing_is_lost_or_left_while_things_go_wrong():
    verdict, trouble, _ = await run(calls=60, faults=12, seed=4, first=FIRST, limit_s=420, tell=False)
    assert verdict.is_clean, dict(verdict.breaches)
    assert verdict.calls > 40
    assert not trouble.missing, "what this run is to survive has not happened"
    assert trouble.steps_hit


def test_every_protection_has_a_scenario_that_misses_it():
    assert all_are_tried()


class TestTheVerdictFindsTheBreach:
    async def test_when_a_protection_of_the_database_is_missing(self):
        async with rehearsal.theatre() as theatre:
            trials = [await rehearse(theatre, name) for name in SCENARIOS]
        _all_passed(trials)

    @pytest.mark.livekit
    @pytest.mark.xdist_group("livekit")
    @pytest.mark.timeout(540)
    @pytest.mark.usefixtures("livekit_server")
    async def test_when_a_protection_of_the_program_is_missing(self):
        async with staging.theatre() as stage:
            trials = [await perform(stage, name) for name in QUICK_SCENES]
        _all_passed(trials)


def _all_passed(trials: list[Trial]) -> None:
    failed = [trial for trial in trials if not trial.passed]
    assert not failed, "\n".join(map(str, failed))
