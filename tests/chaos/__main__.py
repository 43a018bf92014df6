"""`make chaos`: run the traffic while things go wrong, then say what must never have happened and did not."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import Sequence

import structlog

from tests.chaos import breaches, desk
from tests.chaos.faults import Faults
from tests.chaos.limits import Watch
from tests.chaos.traffic import WAVE, Traffic
from tests.chaos.verdict import WHATS, Verdict, come_to_rest, judge
from tests.chaos.world import TRUNK, world

REST_S = 120.0
LIMIT_S = 1500.0
TELL_S = 15.0


async def run(
    *,
    calls: int,
    faults: int,
    seed: int,
    without: str = "",
    first: Sequence[str] = (),
    limit_s: float = LIMIT_S,
    tell: bool = True,
) -> tuple[Verdict, Faults, float]:
    """One run, from empty to at rest. `first`: faults that happen in any case, if need be with more calls."""
    started_s = time.monotonic()
    chance = random.Random(seed)
    verdict = Verdict()
    async with world(without=without) as everything:
        traffic = Traffic(world=everything, total=calls, chance=random.Random(chance.random()))
        trouble = Faults(
            world=everything,
            total=faults,
            chance=random.Random(chance.random()),
            progress=lambda: traffic.progress,
            first=first,
        )
        traffic.is_enough = lambda: making.done() or not trouble.missing
        watching = asyncio.create_task(Watch(scene=everything, verdict=verdict).run())
        making = asyncio.create_task(trouble.run())
        stopping = asyncio.create_task(
            desk.run(
                everything.desk,
                chance=random.Random(chance.random()),
                accounts=list(everything.limits.accounts),
                trunk=TRUNK,
                agents=list(everything.limits.agents),
            )
        )
        tasks = [watching, making, stopping]
        traffic.may_queue = lambda index: making.done() or index < calls * (trouble.count + 5) / max(1, faults) + WAVE
        if tell:
            tasks.append(asyncio.create_task(_tell(traffic, trouble, started_s)))
        try:
            async with asyncio.timeout(limit_s):
                await traffic.run()
                while not making.done() and traffic.progress < 1:
                    await traffic.look()
                    await asyncio.sleep(0.2)
                for task in (making, stopping):
                    task.cancel()
                await asyncio.wait([making, stopping])
                await come_to_rest(everything, patience_s=REST_S)
        except TimeoutError:
            verdict.found("lost", f"not at rest after {limit_s:.0f} s")
            for task in asyncio.all_tasks():
                task.print_stack(file=sys.stderr)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            trouble.heal()
        for error in ended:
            if isinstance(error, Exception):  # what watches or makes trouble must not stop doing so
                raise error
        await judge(everything, traffic.queued, verdict)
        everything.keep_files = not verdict.is_clean and not without
        if everything.keep_files:
            print(f"files are kept in {everything.directory}", file=sys.stderr)
    return verdict, trouble, time.monotonic() - started_s


async def _tell(traffic: Traffic, trouble: Faults, started_s: float) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        await traffic.look()
        print(
            f"{time.monotonic() - started_s:6.0f} s: {len(traffic.queued):,} calls queued, {traffic.ended:,} ended,"
            f" {trouble.count} of {trouble.total} faults",
            flush=True,
        )


async def try_protections(only: Sequence[str]) -> int:
    """Print a table of the protections; 1 unless each one's absence was noticed."""
    failed = 0
    print(breaches.HEADING)
    async for trial in breaches.trials(only):
        failed += not trial.passed
        print(trial, flush=True)
    return 1 if failed else 0


def main() -> int:
    """Run and print; 1 if anything was breached."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--without", default="", help="a protection to take out of the workers, see tests.chaos.removals")
    parser.add_argument("--breaches", action="store_true", help="take each protection out in turn, and see that it is noticed")
    parser.add_argument("--only", action="append", default=[], help="with --breaches: this protection")
    arguments = parser.parse_args()
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # it tells of every restart
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if arguments.breaches:
        return asyncio.run(try_protections(arguments.only))
    verdict, trouble, took_s = asyncio.run(
        run(
            calls=arguments.calls,
            faults=arguments.faults,
            seed=arguments.seed,
            without=arguments.without,
            limit_s=arguments.limit_s,
        )
    )
    print(f"seed {arguments.seed}: {verdict.calls:,} calls, {verdict.dials:,} requests, {took_s:.0f} s")
    for name, count in sorted(trouble.done.items()):
        print(f"  {count:5,}  {name}")
    print(f"  {len(trouble.steps_hit):5,}  different steps at which a worker was killed or stopped")
    for reason, count in verdict.reasons.most_common():
        print(f"  {count:5,}  {reason}")
    for what in WHATS:
        seen = verdict.breaches.get(what, [])
        print(f"{len(seen):5,}  {what}")
        for line in seen[:3]:
            print(f"         {line}")
    return 0 if verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
