"""The probability of a machine from the timing of its speech: shallow boosted trees, and a curve that calibrates their sum.

The trees and how they came about are in model.json, written by the training script of the repository. All nodes
answer at once, then each tree is walked down by its answers, one numpy step per depth: about 20 us for a moment. Knows
features by their order only, nothing of thresholds and verdicts.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sip.voicemail.features import FEATURES


class Classifier(Protocol):
    """Anything that turns features into a probability."""

    def machine_probability(self, values: Sequence[float]) -> float:
        """Of a machine, for the `values` of a `Timing`; 0 to 1, both excluded."""
        ...


class BoostedTrees:
    """Complete binary trees of one depth: node `n` asks whether feature[n] > threshold[n] and goes to 2n+1 (no) or 2n+2."""

    def __init__(
        self,
        *,
        features: NDArray[np.intp],
        thresholds: NDArray[np.float64],
        leaves: NDArray[np.float64],
        bias: float,
        curve: tuple[Sequence[float], Sequence[float]],
        names: Sequence[str] = tuple(FEATURES),
    ) -> None:
        """`features` and `thresholds` (trees, 2^depth - 1), `leaves` (trees, 2^depth): log odds to add to `bias`.

        `curve`: log odds of the trees, ascending, and the calibrated log odds that belong to them; straight lines between.
        `names`: of the features. ValueError if the shapes do not fit.
        """
        trees, nodes = features.shape
        self._depth = (nodes + 1).bit_length() - 1
        if 2**self._depth != nodes + 1 or thresholds.shape != (trees, nodes) or leaves.shape != (trees, nodes + 1):
            raise ValueError(f"trees of {nodes} nodes with {leaves.shape} leaves are not complete")
        if features.size and not 0 <= int(features.min()) <= int(features.max()) < len(names):
            raise ValueError("a tree asks for a feature that there is not")
        # Node by node, a depth after the other: node p of a depth has the nodes 2p and 2p + 1 of the next one.
        depths = [slice(2**depth - 1, 2 ** (depth + 1) - 1) for depth in range(self._depth)]
        self._features = np.concatenate([features[:, nodes_at].ravel() for nodes_at in depths])
        self._thresholds = np.concatenate([thresholds[:, nodes_at].ravel() for nodes_at in depths])
        self._leaves = leaves.ravel()
        self._first = np.arange(trees)
        self._bias = bias
        self._raw, self._calibrated = np.asarray(curve[0], dtype=np.float64), np.asarray(curve[1], dtype=np.float64)

    def raw_log_odds(self, values: Sequence[float]) -> float:
        """Before calibration."""
        row = np.asarray(values, dtype=np.float64)
        answers = row.take(self._features, mode="clip") > self._thresholds
        node, begin = self._first, 0
        for depth in range(self._depth):
            end = begin + (len(self._first) << depth)
            node = 2 * node + answers[begin:end].take(node, mode="clip")
            begin = end
        return self._bias + float(np.add.reduce(self._leaves.take(node, mode="clip")))

    def machine_probability(self, values: Sequence[float]) -> float:
        """Calibrated, see `Classifier`."""
        log_odds = float(np.interp(self.raw_log_odds(values), self._raw, self._calibrated))
        return 1 / (1 + math.exp(-log_odds))


def parse(document: str, *, names: Sequence[str] = tuple(FEATURES)) -> BoostedTrees:
    """The trees of a model file (JSON). ValueError if it is none, or was trained on other features than `names`."""
    model = json.loads(document)
    if list(model["features"]) != list(names):
        raise ValueError("the model was trained on other features; train it anew")
    trees = model["trees"]
    return BoostedTrees(
        features=np.array([tree["features"] for tree in trees], dtype=np.intp),
        thresholds=np.array([tree["thresholds"] for tree in trees]),
        leaves=np.array([tree["leaves"] for tree in trees]),
        bias=model["bias"],
        curve=(model["calibration"]["trees_log_odds"], model["calibration"]["log_odds"]),
        names=names,
    )


@functools.cache
def stock_classifier() -> BoostedTrees:
    """The package's own, read once: it is shared by all streams and never changes."""
    return parse(files("sip.voicemail").joinpath("model.json").read_text(encoding="utf-8"))
