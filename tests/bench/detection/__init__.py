"""Who answered, measured: a corpus of labelled calls, the classic cadence rules, and the benchmark (`make bench-detection`).

Build once (cached; ORCHESTRATOR_DETECTION_CORPUS or a temporary directory), then load:

    python -m tests.bench.detection.build --small      # some 400 clips a half; without --small some 10,300 in all

    from tests.bench.detection.corpus import load_clips
    for clip in load_clips(half="train", size="small"):  # "full" is the default; part="main" leaves the extra part out
        clip.samples                                           # int16, mono, 8 kHz, the answer is at 0
        clip.label.kind, clip.label.is_long, clip.label.first_speech_s, clip.label.first_utterance_end_s, clip.label.words

`complete=False` gives what a build that still runs has made so far. Reporting and tuning never use the same half: train and
tune on "train" only. `every=2, start=0|1` shares a half among processes. labels.py says what is known of a clip. Speech comes
from Debian packages (speech.PACKAGES, and libopus0); the build names those that are missing.
"""
