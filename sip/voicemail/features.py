"""What the timing of speech comes to at a moment: the numbers that the classifier decides on.

Everything is counted from an anchor: the answer, or the moment after which somebody may have picked up. Nothing here depends on
the voice or its level. Two numbers tell how well pauses can be heard on the line at all, so that the classifier trusts them
accordingly; they say nothing of who speaks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sip.voicemail.framing import HOP_S
from sip.voicemail.hindsight import Past

LONG_PAUSE_S = 0.6
"""Pauses between sentences and waits for an answer; shorter ones are breaths."""
_RECENT_S = 1.5
_BREATH_S = 0.4
_WAIT_S = 1.0
_LONG_UTTERANCE_S = 1.0

FEATURES: Mapping[str, str] = {
    "since_first_s": "since the first speech began",
    "onset_s": "from the anchor to the first speech",
    "first_utterance_s": "length of the first utterance so far; pauses below 0.2 s do not end it",
    "first_sentence_s": "length of the first stretch of speech without a pause of 0.6 s, so far",
    "first_pause_s": "the pause after the first utterance, so far; 0 while it goes on",
    "first_wait_s": "the first pause of 0.6 s or more, so far; 0 if there was none",
    "quiet_s": "since the last speech; next to nothing while speaking",
    "longest_pause_s": "the longest pause, the present one included",
    "pause_before_last_s": "the pause before the utterance that came last; 0 if it is the first",
    "last_utterance_s": "length of the utterance that came last, so far",
    "longest_utterance_s": "length of the longest utterance so far",
    "longest_sentence_s": "length of the longest stretch of speech without a pause of 0.6 s, so far",
    "speech_s": "all speech, pauses of 0.2 s and more left out",
    "speech_share": "`speech_s` over `since_first_s`",
    "recent_share": "share of speech in the last 1.5 s (or since the first speech)",
    "utterances": "how many there were",
    "sentences": "how many stretches of speech without a pause of 0.6 s there were",
    "pause_two_before_s": "the pause before the utterance before the last; 0 if there is none",
    "longest_inner_pause_s": "the longest pause that is over",
    "mean_inner_pause_s": "the mean of the pauses that are over",
    "quiet_beyond_longest_s": "`quiet_s` less the longest pause that is over: a wait is longer than the breaths before it",
    "long_utterances": "how many utterances of 1 s or more there were",
    "second_utterance_s": "length of the second utterance so far; 0 if there is none",
    "utterance_before_last_s": "length of the utterance before the last; 0 if there is none",
    "inner_pause_1_s": "the first pause that is over; 0 if there is none",
    "inner_pause_2_s": "the second pause that is over; 0 if there is none",
    "span_s": "from the first speech to the last",
    "breaths": "how many pauses of 0.4 s or more are over",
    "speech_after_pause_s": "speech after the first pause of 0.6 s that is over",
    "speech_before_pause_s": "speech before it; all speech if there was none",
    "speech_after_wait_s": "speech after the first pause of 1 s that is over",
    "contrast_db": "voice over background: how well pauses can be heard",
    "unrest_db": "standard deviation of the background's level: the same",
}
"""Names, in the order of the vector, and what they mean. Seconds where the name ends in `_s`, decibels in `_db`."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The features of one moment."""

    values: Sequence[float]
    """In the order of `FEATURES`."""
    first_speech_s: float
    """When the first speech began, in seconds of the stream."""

    @property
    def evidence(self) -> dict[str, float]:
        """By name, rounded to milliseconds."""
        return {name: round(value, 3) for name, value in zip(FEATURES, self.values, strict=True)}


def measure(past: Past, *, anchor_hop: int, now_hop: int) -> Timing | None:
    """The features at the end of the hop before `now_hop`, of what was heard from the anchor on; None if nobody spoke."""
    spans = past.spans
    if not spans:
        return None
    first_hop, first_until = spans[0]
    last_from, last_until = spans[-1]
    quiet = now_hop - last_until
    sentences = [spans[0]]
    for span in spans[1:]:
        if (span[0] - sentences[-1][1]) * HOP_S < LONG_PAUSE_S:
            sentences[-1] = (sentences[-1][0], span[1])
        else:
            sentences.append(span)
    inner = [later[0] - earlier[1] for earlier, later in itertools.pairwise(spans)]
    pauses = [*inner, quiet]
    lengths = [until - begun for begun, until in spans]
    speech = sum(lengths)
    longest_inner = max(inner, default=0)
    paused = _first_of_at_least(LONG_PAUSE_S, inner)
    waited = _first_of_at_least(_WAIT_S, inner)
    first_wait = _first_of_at_least(LONG_PAUSE_S, pauses)
    elapsed = max(1, now_hop - first_hop)
    recent_from = max(first_hop, now_hop - round(_RECENT_S / HOP_S))
    recent = sum([until - max(begun, recent_from) for begun, until in spans if until > recent_from])
    return Timing(
        (
            elapsed * HOP_S,
            (first_hop - anchor_hop) * HOP_S,
            (first_until - first_hop) * HOP_S,
            (sentences[0][1] - sentences[0][0]) * HOP_S,
            pauses[0] * HOP_S,
            (pauses[first_wait] if first_wait < len(pauses) else 0) * HOP_S,
            quiet * HOP_S,
            max(pauses) * HOP_S,
            _at(inner, -1) * HOP_S,
            (last_until - last_from) * HOP_S,
            max(lengths) * HOP_S,
            max([until - begun for begun, until in sentences]) * HOP_S,
            speech * HOP_S,
            speech / elapsed,
            recent / max(1, now_hop - recent_from),
            float(len(spans)),
            float(len(sentences)),
            _at(inner, -2) * HOP_S,
            longest_inner * HOP_S,
            sum(inner) / max(1, len(inner)) * HOP_S,
            (quiet - longest_inner) * HOP_S,
            float(len([length for length in lengths if length * HOP_S >= _LONG_UTTERANCE_S])),
            _at(lengths, 1) * HOP_S,
            _at(lengths, -2) * HOP_S,
            _at(inner, 0) * HOP_S,
            _at(inner, 1) * HOP_S,
            (last_until - first_hop) * HOP_S,
            float(len([pause for pause in inner if pause * HOP_S >= _BREATH_S])),
            sum(lengths[paused + 1 :]) * HOP_S,
            sum(lengths[: paused + 1]) * HOP_S,
            sum(lengths[waited + 1 :]) * HOP_S,
            past.contrast_db,
            past.unrest_db,
        ),
        first_speech_s=first_hop * HOP_S,
    )


def _at(hops: Sequence[int], place: int) -> int:
    """0 where there is none."""
    return hops[place] if -len(hops) <= place < len(hops) else 0


def _first_of_at_least(length_s: float, pauses: Sequence[int]) -> int:
    """The place of the first pause that is so long; behind the last if there is none."""
    for place, pause in enumerate(pauses):
        if pause * HOP_S >= length_s:
            return place
    return len(pauses)
