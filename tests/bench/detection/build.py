"""Builds a corpus: `python -m tests.bench.detection.build [--small] [--half train|test] [--seed N]`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.bench.detection import corpus
from tests.bench.detection.labels import Half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="some 400 clips a half, for a quick look")
    parser.add_argument("--size", choices=["full", "small"], default="full")
    parser.add_argument("--half", choices=["train", "test"])
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    size = "small" if options.small else options.size
    halves = [Half(options.half)] if options.half else list(Half)
    began_s = time.monotonic()
    for done, total in corpus.build(size=size, seed=options.seed, halves=halves, processes=options.processes):
        print(f"\r{done:,} of {total:,} clips, {time.monotonic() - began_s:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(corpus.directory(size=size, seed=options.seed))


if __name__ == "__main__":
    main()
