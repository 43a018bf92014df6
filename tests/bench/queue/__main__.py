"""`python -m tests.bench.queue [throughput flatness fairness pacing feeding listing]`: one table, the peers in the same run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from tests.bench.queue import fairness, feeding, flatness, listing, pacing, throughput
from tests.bench.queue.layout import server

WARNING = 30
Rows = list[tuple[str, str, str]]

SECTIONS: dict[str, Callable[[str], Awaitable[Rows]]] = {
    "throughput": throughput.run,
    "flatness": flatness.measure,
    "fairness": fairness.run,
    "pacing": pacing.run,
    "feeding": feeding.run,
    "listing": listing.run,
}


async def run(names: list[str]) -> None:
    """Each section on databases of its own, all on one server."""
    async with server() as url:
        for name in names or SECTIONS:
            for what, measured, wanted in await SECTIONS[name](url):
                print(f"{name:<10} | {what:<92} | {measured:>28} | {wanted}", flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(WARNING))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(sys.argv[1:]))
