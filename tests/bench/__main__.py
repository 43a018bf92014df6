"""Run the benchmarks, all or those named: `python -m tests.bench [latency load claim livekit listening]`; prints one table."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import uvloop

from tests.bench import bench_claim, latency, load

Rows = list[tuple[str, str, str]]
WARNING = 30


def measure_claim() -> Rows:
    few, many = asyncio.run(bench_claim.run())
    return [
        (f"claim of 20, {few.ready:,} ready, median", f"{few.median_ms:.2f} ms", ""),
        (f"claim of 20, {many.ready:,} ready, median", f"{many.median_ms:.2f} ms", ""),
        ("ratio of the medians", f"{many.median_ms / few.median_ms:.2f}", f"at most {bench_claim.MOST_RATIO}"),
    ]


def measure_livekit() -> Rows:
    code = pytest.main(["-q", "-s", "-p", "no:cacheprovider", str(Path(__file__).with_name("through_livekit.py"))])
    return [("exit code", str(int(code)), "0")]


def measure_listening() -> Rows:
    code = pytest.main(
        ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:logging", str(Path(__file__).with_name("listening.py"))]
    )
    return [("exit code", str(int(code)), "0")]


BENCHES: dict[str, Callable[[], Rows]] = {
    "latency": lambda: uvloop.run(latency.measure()),
    "load": lambda: uvloop.run(load.measure()),
    "claim": measure_claim,
    "livekit": measure_livekit,
    "listening": measure_listening,
}


def main(names: list[str]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(WARNING))
    for name in names or BENCHES:
        for what, measured, wanted in BENCHES[name]():
            print(f"{name:<8} | {what:<38} | {measured:>12} | {wanted}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
