"""What the timing of speech comes to at a moment: the numbers that the classifier decides on.

Everything is counted from an anchor: the answer, or the moment after which somebody may have picked up. Nothing here depends on
the voice, the level or the channel.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sip.voicemail.framing import HOP_S
from sip.voicemail.hindsight import Span

LONG_PAUSE_S = 0.6
"""Pauses between sentences and waits for an answer; shorter ones are breaths."""
_RECENT_S = 1.5

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
}
"""Names, in the order of the vector, and what they mean. Seconds where the name ends in `_s`."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The features of one moment."""

    values: Sequence[float]
    """In the order of `FEATURES`."""

    @property
    def evidence(self) -> dict[str, float]:
        """By name, rounded to milliseconds."""
        return {name: round(value, 3) for name, value in zip(FEATURES, self.values, strict=True)}


def measure(spans: Sequence[Span], *, anchor_hop: int, now_hop: int) -> Timing | None:
    """The features at the end of the hop before `now_hop`, of the utterances from the anchor on; None if there are none."""
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
    pauses = [later[0] - earlier[1] for earlier, later in itertools.pairwise(spans)]
    pauses.append(quiet)
    waits = [pause for pause in pauses if pause * HOP_S >= LONG_PAUSE_S]
    speech = sum(until - begun for begun, until in spans)
    elapsed = max(1, now_hop - first_hop)
    recent_from = max(first_hop, now_hop - round(_RECENT_S / HOP_S))
    recent = sum(until - max(begun, recent_from) for begun, until in spans if until > recent_from)
    return Timing(
        (
            elapsed * HOP_S,
            (first_hop - anchor_hop) * HOP_S,
            (first_until - first_hop) * HOP_S,
            (sentences[0][1] - sentences[0][0]) * HOP_S,
            pauses[0] * HOP_S,
            (waits[0] if waits else 0) * HOP_S,
            quiet * HOP_S,
            max(pauses) * HOP_S,
            (pauses[-2] if len(pauses) > 1 else 0) * HOP_S,
            (last_until - last_from) * HOP_S,
            max(until - begun for begun, until in spans) * HOP_S,
            max(until - begun for begun, until in sentences) * HOP_S,
            speech * HOP_S,
            speech / elapsed,
            recent / max(1, now_hop - recent_from),
            float(len(spans)),
            float(len(sentences)),
        )
    )
