"""The benchmark: `python -m tests.bench.detection [--small] [--most N] [--keep]` (`make bench-detection` keeps its results)."""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.detection import corpus, curve, report, trials
from tests.bench.detection.labels import Half

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.txt"
PICTURE = HERE / "errors_over_sensitivity.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="on the small corpus")
    parser.add_argument("--most", type=int, default=0, help="only about so many clips, for a quick look")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help=f"keep the results in {RESULTS.name} and {PICTURE.name}")
    options = parser.parse_args()
    size = "small" if options.small else "full"
    for done, total in corpus.build(size=size, seed=options.seed, halves=[Half.TEST], processes=options.processes):
        print(f"\rcorpus: {done:,} of {total:,} clips", end="", file=sys.stderr, flush=True)
    began_s = time.monotonic()
    print("\nlistening ...", file=sys.stderr, flush=True)
    tried = trials.attempt_all(half="test", size=size, seed=options.seed, processes=options.processes, most=options.most)
    some = list(itertools.islice(corpus.load_clips(half="test", size=size, seed=options.seed), 12))
    memory_bytes = trials.memory_per_stream_bytes(clips=some)
    picture = PICTURE if options.keep else Path(tempfile.gettempdir()) / PICTURE.name
    sensitivity = curve.draw(tried, picture)
    title = "The two errors over sensitivity"
    command = f"python -m tests.bench.detection {' '.join(sys.argv[1:])}"
    lines = [
        f"Who answered: the test half of the corpus, seed {options.seed}, size {size}, {len(tried):,} clips.",
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}; {command}",
        f"It took {time.monotonic() - began_s:.0f} s on {options.processes} processes after the corpus was built.",
        *report.whole(tried, memory_bytes=memory_bytes),
        "",
        title,
        "-" * len(title),
        *sensitivity,
        f"  drawn in {picture.name}",
    ]
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    print(text)
    if options.keep:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
