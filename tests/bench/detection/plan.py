"""Which clips a corpus has: for each one its half, part, group and scenario, in exact shares, from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.bench.detection import others
from tests.bench.detection.labels import Half, Part


@dataclass(frozen=True, slots=True)
class Size:
    """How many clips a corpus has."""

    name: str
    main: dict[Half, int]
    extra: dict[Half, float]
    """Times the numbers of others.EXTRA."""


FULL = Size(name="full", main={Half.TRAIN: 6000, Half.TEST: 3240}, extra={Half.TRAIN: 0.5, Half.TEST: 1.0})
SMALL = Size(name="small", main={Half.TRAIN: 340, Half.TEST: 340}, extra={Half.TRAIN: 0.1, Half.TEST: 0.1})
SIZES = {size.name: size for size in (FULL, SMALL)}


@dataclass(frozen=True, slots=True)
class Order:
    """One clip to be made."""

    clip_id: str
    number: int
    """Unique in the corpus; with the corpus's seed it seeds the clip."""
    half: Half
    part: Part
    group: str
    scenario: str
    clean: bool | None
    """A surely clean channel, a surely degraded one, or any."""


def apportioned(shares: dict[str, float], count: int) -> dict[str, int]:
    """Whole numbers in these shares that sum up to `count` (largest remainders)."""
    total = sum(shares.values())
    exact = {name: share / total * count for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_remainder[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def orders(*, size: Size, half: Half, seed: int) -> list[Order]:
    """All clips of a half, in a shuffled order that is the same each time."""
    wanted: list[tuple[Part, str, str, bool | None]] = []
    for group, group_count in apportioned(others.MAIN_SHARES, size.main[half]).items():
        shares = {name: share for name, (share, _) in others.MAIN[group].items()}
        for scenario, count in apportioned(shares, group_count).items():
            wanted += [(Part.MAIN, group, scenario, None)] * count
    for scenario, (count, _) in others.EXTRA.items():
        scaled = max(2, round(count * size.extra[half]))
        wanted += [(Part.EXTRA, "extra", scenario, index % 2 == 0) for index in range(scaled)]
    first = 0 if half is Half.TRAIN else 1_000_000
    shuffled = np.random.default_rng([seed, first]).permutation(len(wanted))
    return [Order(f"{half.value}-{index:05d}", first + index, half, *wanted[place]) for index, place in enumerate(shuffled)]
