"""Trains the model of sip/voicemail that says how like speech a hop is, on the corpus's training half: speech.json.

A perceptron of one hidden layer learns which hops are speech by the labels, from levels, noise floor and flags of the hop and
its neighbours; a logistic regression then learns to weigh its log odds against where the hop stands between background and
voice, as seen from moments of the call. Weights are rounded to whole numbers. Responsible for this file only; `train.py`
calls it before it trains the classifier.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from sip.voicemail.activity import SpeechActivity
from sip.voicemail.framing import HOP_S, Framer
from sip.voicemail.hindsight import KEPT_HOPS, Hindsight
from sip.voicemail.likeness import CHANNELS, CONTEXT_HOPS, STRETCHES, Seen, bands, inputs, parse, seen
from sip.voicemail.spectrum import SpectrumAnalyser
from sip.voicemail.tones import LAG_HOPS, ToneDetector
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Label

UNITS = 16
MOST_EPOCHS = 80
LEAST_GAIN = 2.5e-4
"""Of the loss (log loss and shrinkage) in an epoch: two in a row that gain less are the last. About 16 in all."""
LEARNING_RATE = 3e-3
SHRINKAGE = 1e-3
BATCH = 512
EACH_HOP = 5
"""Of the hops, one in so many is learnt from: neighbours tell the same."""
HEARD_S = 10.5
MOMENTS_S = (1.0, 2.0, 3.5, 5.0, 6.4)
"""After the first speech: from where hindsight looks back."""
_WEIGHT_UNIT = 2.0**14
_OUT_UNIT = 2.0**10


@dataclass(frozen=True, slots=True)
class Listened:
    """What the detectors saw of a clip."""

    label: Label
    rows: Seen
    """(n, 9): see `likeness.seen`."""
    tonal: npt.NDArray[np.bool_]
    """(n,)."""

    @property
    def is_speech(self) -> npt.NDArray[np.bool_]:
        """(n,): by the label."""
        spoken = np.zeros(len(self.rows), np.bool_)
        for began_s, ended_s in self.label.speech:
            spoken[round(began_s / HOP_S) : round(ended_s / HOP_S)] = True
        return spoken


def listen(clip: Clip) -> Listened:
    """Let the detectors hear the beginning of a clip, as long as a verdict may take."""
    framer, spectrum, activity, tones = (
        Framer(sample_rate_hz=SAMPLE_RATE_HZ),
        SpectrumAnalyser(),
        SpeechActivity(),
        ToneDetector(),
    )
    rows, tonal = [], []
    block = SAMPLE_RATE_HZ
    samples = clip.samples[: round(HEARD_S * SAMPLE_RATE_HZ)]
    for begin in range(0, samples.size, block):
        hops = framer.feed(samples[begin : begin + block])
        spectra = spectrum.analyse(hops)
        tones.feed(hops, spectra)
        tonal.append(tones.is_tone.copy())
        rows.append(seen(activity.feed(hops, spectra), bands(spectra)))
    late = np.concatenate(tonal)
    return Listened(clip.label, np.concatenate(rows), np.concatenate((late[LAG_HOPS:], np.zeros(LAG_HOPS, np.bool_))))


def speech_model(listened: Sequence[Listened], *, came_about: dict[str, object]) -> str:
    """The model file, one line for each hidden unit: the same for the same clips, on machines of one kind."""
    with threadpool_limits(limits=1):  # sums that threads share are rounded otherwise with each number of threads
        return _trained(listened, came_about=came_about)


def _trained(listened: Sequence[Listened], *, came_about: dict[str, object]) -> str:
    windows, spoken = [], []
    for one in listened:
        windows.append(_pooled(one.rows)[::EACH_HOP])
        spoken.append(one.is_speech[CONTEXT_HOPS:-CONTEXT_HOPS][::EACH_HOP])
    x, y = np.concatenate(windows), np.concatenate(spoken)
    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
    net = MLPClassifier(
        (UNITS,),
        alpha=SHRINKAGE,
        batch_size=BATCH,
        learning_rate_init=LEARNING_RATE,
        max_iter=MOST_EPOCHS,
        tol=LEAST_GAIN,
        n_iter_no_change=1,
        random_state=0,
    ).fit((x - mean) / spread, y)
    weights = net.coefs_[0] / spread[:, None]
    bias = net.intercepts_[0] - mean @ weights
    head: dict[str, object] = {
        "came_about": came_about | {"clips": len(listened), "hops": len(y), "hidden_units": UNITS, "epochs": net.n_iter_},
        "channels": list(CHANNELS),
        "stretches": [list(stretch) for stretch in STRETCHES],
        "unit": _WEIGHT_UNIT * _OUT_UNIT,
        "out_bias": round(float(net.intercepts_[1].item()) * _WEIGHT_UNIT * _OUT_UNIT),
    }
    units = [
        {
            "bias": round(float(bias[unit]) * _WEIGHT_UNIT),
            "out": round(float(net.coefs_[1][unit, 0]) * _OUT_UNIT),
            "weights": np.rint(weights[:, unit] * _WEIGHT_UNIT).astype(int).reshape(len(CHANNELS), -1).tolist(),
        }
        for unit in range(UNITS)
    ]
    line = _line(listened, _document(head | {"with_hindsight": [1.0, 0.0, 0.0, 0.0]}, units))
    return _document(head | {"with_hindsight": line}, units)


def _pooled(rows: Seen) -> npt.NDArray[np.float32]:
    """The channels, summed over the stretches that share a weight: (n - 20, channels * stretches)."""
    count, sums = len(rows) - 2 * CONTEXT_HOPS, inputs(rows)
    held = [
        sums[CONTEXT_HOPS + end : CONTEXT_HOPS + end + count] - sums[CONTEXT_HOPS + begin : CONTEXT_HOPS + begin + count]
        for begin, end in STRETCHES
    ]
    return np.stack(held, axis=2).reshape(count, -1).astype(np.float32)


def _line(listened: Sequence[Listened], document: str) -> list[float]:
    """The weights of the log odds and of the two places, and the offset."""
    model = parse(document)
    rng = np.random.default_rng(0)
    seen_from, spoken = [], []
    for one in listened:
        now_hop = round((one.label.speech[0][0] + float(rng.choice(MOMENTS_S))) / HOP_S)
        now_hop = min(now_hop, len(one.rows) - CONTEXT_HOPS)
        hindsight = Hindsight(model=model)
        for begin in range(0, len(one.rows), KEPT_HOPS // 2):
            hindsight.take(one.rows[begin : begin + KEPT_HOPS // 2])
        hindsight.mark_tonal(one.tonal)
        view = hindsight.view(
            from_hop=0, until_hop=now_hop, floor_dbm0=float(one.rows[now_hop - 1, 0] - one.rows[now_hop - 1, 1])
        )
        if view is not None:
            places = [(level - view.background_dbm0) * view.a_db for level in (view.smooth_dbm0, view.around_dbm0)]
            seen_from.append(np.stack((view.log_odds, *places), axis=1)[::EACH_HOP])
            spoken.append(one.is_speech[view.first_hop : now_hop][::EACH_HOP])
    line = LogisticRegression().fit(np.concatenate(seen_from), np.concatenate(spoken))
    return [round(float(weight), 4) for weight in (*line.coef_[0], line.intercept_.item())]


def _document(head: dict[str, object], units: list[dict[str, object]]) -> str:
    lines = ",\n".join(json.dumps(unit) for unit in units)
    return json.dumps(head, indent=1)[:-2] + ',\n "units": [\n' + lines + "\n]}\n"
