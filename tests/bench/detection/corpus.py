"""Makes clips, keeps them in shards under a cache directory, and loads them.

Each clip depends on the seed and its number alone, so that a build can be cut, resumed and shared by processes. A corpus
built by other code than today's is another corpus: the directory's name has a digest of what the sources say.
"""

from __future__ import annotations

import ast
import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sip.voicemail.events import Kind
from tests.bench.detection import opus, sounds, speech
from tests.bench.detection.labels import Clip, Half, Label
from tests.bench.detection.making import make
from tests.bench.detection.plan import SIZES, Order, orders

SEED = 20261121
SHARD = 40
"""Clips in one file."""
CACHE_VARIABLE = "ORCHESTRATOR_DETECTION_CORPUS"
"""Environment variable that names the directory for corpora."""
SOURCES = ("channel", "labels", "machines", "making", "opus", "others", "people", "plan", "scene", "script", "sounds", "speech")


def home() -> Path:
    """Where corpora are kept."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / "orchestrator-detection-corpus"


def directory(*, size: str, seed: int) -> Path:
    """Where a corpus is, or will be."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in [*(here / f"{name}.py" for name in SOURCES), *sorted((here / "texts").glob("*.toml"))]:
        source = path.read_text(encoding="utf-8")
        digest.update((ast.dump(ast.parse(source)) if path.suffix == ".py" else source).encode())
    return home() / f"{size}-{seed}-{digest.hexdigest()[:10]}"


def _make_shard(task: tuple[list[Order], int, Path]) -> int:
    todo, seed, path = task
    clips = [make(order, seed=seed) for order in todo]
    stem = path.with_suffix("")
    written = stem.with_suffix(f".{os.getpid()}.npy")
    np.save(written, np.concatenate([clip.samples for clip in clips]))
    index = stem.with_suffix(f".{os.getpid()}.jsonl")
    index.write_text("".join(clip.label.to_json() + "\n" for clip in clips), encoding="utf-8")
    index.replace(stem.with_suffix(".jsonl"))
    written.replace(path)
    return len(clips)


def build(*, size: str, seed: int, halves: Sequence[Half] = tuple(Half), processes: int = 2) -> Iterator[tuple[int, int]]:
    """Make what is missing of a corpus; yields how many clips are there, and how many there will be.

    Raises VoicesMissing or OpusMissing, which name the Debian package.
    """
    speech.require_packages()
    opus.library()
    root = directory(size=size, seed=seed)
    root.mkdir(parents=True, exist_ok=True)
    tasks, done, total = [], 0, 0
    for half in halves:
        wanted = orders(size=SIZES[size], half=half, seed=seed)
        total += len(wanted)
        for begin in range(0, len(wanted), SHARD):
            path = root / f"{half.value}-{begin // SHARD:03d}.npy"
            if path.exists():
                done += len(wanted[begin : begin + SHARD])
            else:
                tasks.append((wanted[begin : begin + SHARD], seed, path))
    yield done, total
    if not tasks:
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=os.nice, initargs=(5,)) as pool:
        for made in pool.imap_unordered(_make_shard, tasks):
            done += made
            yield done, total


def load_clips(
    *, half: str, size: str = "full", seed: int = SEED, part: str | None = None, kinds: Sequence[Kind] | None = None,
    every: int = 1, start: int = 0, complete: bool = True,
) -> Iterator[Clip]:  # fmt: skip
    """Clips of a half ("train", "test") that has been built, in its order: each `every`th from `start` on.

    Raises FileNotFoundError when it has not been built whole, unless `complete` is False: then what is there is given.
    """
    root = directory(size=size, seed=seed)
    wanted = orders(size=SIZES[size], half=Half(half), seed=seed)
    number = 0
    for shard in range((len(wanted) + SHARD - 1) // SHARD):
        path = root / f"{half}-{shard:03d}.npy"
        if not path.exists():
            if not complete:
                continue
            raise FileNotFoundError(
                f"{path}: build it first, python -m tests.bench.detection.build --size {size} --seed {seed}"
            )
        samples: npt.NDArray[np.int16] = np.load(path, mmap_mode="r")
        at = 0
        for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
            label = Label.from_json(line)
            count = sounds.samples_of(label.duration_s)
            chosen = (part is None or label.part.value == part) and (kinds is None or label.kind in kinds)
            if chosen:
                if number % every == start:
                    yield Clip(label=label, samples=np.array(samples[at : at + count]))
                number += 1
            at += count
