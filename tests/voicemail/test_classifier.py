"""Timing features and the trees that weigh them."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from sip.voicemail.classifier import BoostedTrees, parse, stock_classifier
from sip.voicemail.features import FEATURES, measure
from sip.voicemail.hindsight import Past


def test_features_of_hello_a_pause_and_more() -> None:
    timing = measure(Past([(50, 100), (170, 290)], contrast_db=24.0, unrest_db=1.5), anchor_hop=0, now_hop=350)
    assert timing is not None
    assert timing.evidence == {
        "since_first_s": 3.0,
        "onset_s": 0.5,
        "first_utterance_s": 0.5,
        "first_sentence_s": 0.5,
        "first_pause_s": 0.7,
        "first_wait_s": 0.7,
        "quiet_s": 0.6,
        "longest_pause_s": 0.7,
        "pause_before_last_s": 0.7,
        "last_utterance_s": 1.2,
        "longest_utterance_s": 1.2,
        "longest_sentence_s": 1.2,
        "speech_s": 1.7,
        "speech_share": pytest.approx(0.567),
        "recent_share": pytest.approx(0.6),
        "utterances": 2.0,
        "sentences": 2.0,
        "pause_two_before_s": 0.0,
        "longest_inner_pause_s": 0.7,
        "mean_inner_pause_s": 0.7,
        "quiet_beyond_longest_s": pytest.approx(-0.1),
        "long_utterances": 1.0,
        "second_utterance_s": 1.2,
        "utterance_before_last_s": 0.5,
        "inner_pause_1_s": 0.7,
        "inner_pause_2_s": 0.0,
        "span_s": 2.4,
        "breaths": 1.0,
        "speech_after_pause_s": 1.2,
        "speech_before_pause_s": 0.5,
        "speech_after_wait_s": 0.0,
        "contrast_db": 24.0,
        "unrest_db": 1.5,
    }


def test_pauses_below_600_ms_are_within_a_sentence() -> None:
    timing = measure(Past([(0, 100), (140, 300)]), anchor_hop=0, now_hop=300)
    assert timing is not None
    assert timing.evidence["first_sentence_s"] == 3.0
    assert timing.evidence["first_wait_s"] == 0
    assert timing.evidence["utterances"] == 2


def test_nothing_said_has_no_features() -> None:
    assert measure(Past([]), anchor_hop=0, now_hop=500) is None


def test_every_feature_is_explained_and_says_its_unit() -> None:
    counts = {"utterances", "long_utterances", "sentences", "breaths"}
    assert all(name.endswith(("_s", "_share", "_db")) or name in counts for name in FEATURES)
    assert all(FEATURES.values())


def a_tree(**changes: object) -> dict[str, object]:
    model: dict[str, object] = {
        "features": list(FEATURES),
        "bias": 0.5,
        "calibration": {"trees_log_odds": [-2.0, 2.0], "log_odds": [-1.0, 1.0]},
        "trees": [{"features": [0, 2, 2], "thresholds": [1.0, 3.0, 5.0], "leaves": [-2.0, -1.0, 1.0, 2.0]}],
    }
    return model | changes


@pytest.mark.parametrize(("since_s", "first_s", "leaf"), [(0.5, 2.0, -2.0), (1.0, 4.0, -1.0), (1.1, 5.0, 1.0), (9.0, 6.0, 2.0)])
def test_a_tree_is_walked_by_its_thresholds(since_s: float, first_s: float, leaf: float) -> None:
    values = [since_s, 0.0, first_s] + [0.0] * (len(FEATURES) - 3)
    trees = parse(json.dumps(a_tree()))
    assert trees.raw_log_odds(values) == pytest.approx(0.5 + leaf)
    calibrated = np.clip((0.5 + leaf) / 2, -1, 1)
    assert trees.machine_probability(values) == pytest.approx(1 / (1 + np.exp(-calibrated)))


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["something_else"]},
        {"trees": [{"features": [0, 1], "thresholds": [1.0, 2.0], "leaves": [0.0, 1.0, 2.0]}]},
        {"trees": [{"features": [99, 0, 0], "thresholds": [1.0, 2.0, 3.0], "leaves": [0.0] * 4}]},
    ],
)
def test_a_model_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"feature|complete"):
        parse(json.dumps(a_tree(**changes)))


def test_trees_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="complete"):
        BoostedTrees(
            features=np.zeros((1, 3), np.intp),
            thresholds=np.zeros((1, 3)),
            leaves=np.zeros((1, 3)),
            bias=0.0,
            curve=([0.0], [0.0]),
        )


def test_the_packages_model_says_how_it_came_about_and_tells_hello_from_a_speech() -> None:
    model = json.loads(files("sip.voicemail").joinpath("model.json").read_text(encoding="utf-8"))
    assert {"by", "date", "corpus", "clips", "people", "cross_validated_by_text_and_voice"} <= model["came_about"].keys()
    assert model["came_about"]["corpus"]["half"] == "train"
    curve = model["calibration"]["log_odds"]
    assert curve == sorted(curve)
    hello = measure(Past([(50, 100)], contrast_db=40.0, unrest_db=1.5), anchor_hop=0, now_hop=260)
    speech = measure(Past([(50, 250), (290, 640)], contrast_db=40.0, unrest_db=1.5), anchor_hop=0, now_hop=640)
    assert hello is not None
    assert speech is not None
    assert stock_classifier().machine_probability(hello.values) < 0.1
    assert stock_classifier().machine_probability(speech.values) > 0.9
