"""Run the benchmarks, all or those named, and print one table: `python -m tests.bench [load latency claim livekit]`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from tests.bench import latency, load

Rows = list[tuple[str, str, str]]
BENCHES: dict[str, Callable[[], Awaitable[Rows]]] = {"load": load.measure, "latency": latency.measure}


def main(names: list[str]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    for name in names or BENCHES:
        for what, measured, wanted in uvloop.run(BENCHES[name]()):
            print(f"{name:<8} | {what:<38} | {measured:>12} | {wanted}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
