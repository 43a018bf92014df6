"""The classic cadence rules with Asterisk's default parameters, for comparison: app_amd.c and ast_dsp_silence, rule by rule.

Frames of 20 ms; a frame is silence when the mean of |sample| is below the threshold. Quirks are kept: it begins in the state of
a word, so that speech from the first frame on is counted as a word only after a silence; all times are whole frames.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_MS = 20
INITIAL_SILENCE_MS = 2500
GREETING_MS = 1500
AFTER_GREETING_SILENCE_MS = 800
TOTAL_ANALYSIS_MS = 5000
MIN_WORD_MS = 100
BETWEEN_WORDS_SILENCE_MS = 50
MAX_WORDS = 2
SILENCE_THRESHOLD = 256
MAX_WORD_MS = 5000


class Said(enum.Enum):
    """What the rules say."""

    HUMAN = "HUMAN"
    MACHINE = "MACHINE"
    NOTSURE = "NOTSURE"


@dataclass(frozen=True, slots=True)
class CadenceVerdict:
    """What the rules said, why (as AMDCAUSE begins), and when."""

    said: Said
    cause: str
    told_s: float


def judge(samples: npt.NDArray[np.int16]) -> CadenceVerdict:
    """What AMD() says of a call's audio from the answer on (mono, 8 kHz)."""
    frame = FRAME_MS * 8
    loudness = np.abs(samples[: samples.size // frame * frame].astype(np.int32)).reshape(-1, frame).sum(axis=1) // frame
    total_ms = silence_ms = dsp_silence_ms = voice_ms = consecutive_voice_ms = words = 0
    in_initial_silence, in_greeting, in_word = True, False, True
    for loud in loudness:
        total_ms += FRAME_MS
        if total_ms >= TOTAL_ANALYSIS_MS:
            return CadenceVerdict(Said.NOTSURE, "TOOLONG", total_ms / 1000)
        dsp_silence_ms = dsp_silence_ms + FRAME_MS if loud < SILENCE_THRESHOLD else 0
        if dsp_silence_ms:
            silence_ms = dsp_silence_ms
            if silence_ms >= BETWEEN_WORDS_SILENCE_MS:
                in_word = False
                consecutive_voice_ms = 0
            if in_initial_silence and silence_ms >= INITIAL_SILENCE_MS:
                return CadenceVerdict(Said.MACHINE, "INITIALSILENCE", total_ms / 1000)
            if in_greeting and silence_ms >= AFTER_GREETING_SILENCE_MS:
                return CadenceVerdict(Said.HUMAN, "HUMAN", total_ms / 1000)
            continue
        consecutive_voice_ms += FRAME_MS
        voice_ms += FRAME_MS
        if consecutive_voice_ms >= MIN_WORD_MS and not in_word:
            words += 1
            in_word = True
        if consecutive_voice_ms >= MAX_WORD_MS:
            return CadenceVerdict(Said.MACHINE, "MAXWORDLENGTH", total_ms / 1000)
        if words > MAX_WORDS:
            return CadenceVerdict(Said.MACHINE, "MAXWORDS", total_ms / 1000)
        if in_greeting and voice_ms >= GREETING_MS:
            return CadenceVerdict(Said.MACHINE, "LONGGREETING", total_ms / 1000)
        if voice_ms >= MIN_WORD_MS:
            silence_ms = 0
        if consecutive_voice_ms >= MIN_WORD_MS and not in_greeting:
            in_initial_silence = False
            in_greeting = True
    return CadenceVerdict(Said.NOTSURE, "TOOLONG", total_ms / 1000)
