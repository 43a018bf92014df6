"""Each protection taken out in turn: the verdict must report the breach, and be clean with the protection in place.

A check that cannot fail proves nothing. The database's protections are tried at a table (rehearsal.py, a second each), those of
the program with real workers and a real media server (staging.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from tests.chaos import rehearsal, staging
from tests.chaos.gate_scenes import GATE_SCENES
from tests.chaos.removals import REMOVALS
from tests.chaos.scenarios import CLAIM_SCENES
from tests.chaos.staging import SCENES
from tests.chaos.statements import CUTS
from tests.chaos.sweep_scenes import SWEEP_SCENES
from tests.chaos.verdict import Verdict, judge
from tests.chaos.world import World

SCENARIOS = {**CLAIM_SCENES, **GATE_SCENES, **SWEEP_SCENES}
"""What is tried at a table."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one protection's absence."""

    protection: str
    expected: str
    found: dict[str, list[str]]
    """Without it."""
    with_it: dict[str, list[str]]

    @property
    def passed(self) -> bool:
        """The breach was found, and is not there with the protection."""
        return bool(self.found.get(self.expected)) and not any(self.with_it.values())

    def __str__(self) -> str:
        found = ", ".join(sorted(what for what, seen in self.found.items() if seen)) or "NOTHING"
        clean = "clean" if not any(self.with_it.values()) else f"NOT CLEAN: {self.with_it}"
        return f"{'ok  ' if self.passed else 'FAIL'}  {self.protection:36} {self.expected:42} {found:42} {clean}"


HEADING = f"      {'protection':36} {'breach expected':42} {'found without it':42} with it"


def all_are_tried() -> bool:
    """Every protection has its scenario, and every scenario its protection."""
    return set(SCENARIOS) == {*CUTS, *SWEEP_SCENES} and set(SCENES) == set(REMOVALS)


async def rehearse(theatre: rehearsal.Theatre, name: str) -> Trial:
    """One of the database's protections."""
    scenario = SCENARIOS[name]
    verdicts: list[Verdict] = []
    for missing in (True, False):
        async with theatre.rehearsal(limits=scenario.limits, without=name if missing else "") as stage:
            await scenario.play(stage, missing)
            await stage.look()
            await judge(stage, stage.queued, stage.verdict)
            verdicts.append(stage.verdict)
    return Trial(name, scenario.breach, dict(verdicts[0].breaches), dict(verdicts[1].breaches))


async def perform(stage: World, name: str) -> Trial:
    """One of the program's protections."""
    without, with_it = [await staging.perform(stage, name, without=missing) for missing in (True, False)]
    return Trial(name, SCENES[name].breach, dict(without.breaches), dict(with_it.breaches))


async def trials(only: Collection[str] = ()) -> AsyncIterator[Trial]:
    """All protections, or those named."""
    if not all_are_tried():
        raise AssertionError("every protection needs its scenario, and every scenario its protection")
    wanted = [name for name in (*SCENARIOS, *SCENES) if not only or name in only]
    if any(name in SCENARIOS for name in wanted):
        async with rehearsal.theatre() as theatre:
            for name in filter(SCENARIOS.__contains__, wanted):
                yield await rehearse(theatre, name)
    if any(name in SCENES for name in wanted):
        async with staging.theatre() as stage:
            for name in filter(SCENES.__contains__, wanted):
                yield await perform(stage, name)
