"""Who or what answered: detectors that hear a callee's audio and say what they find.

    events.py      what is told: speech, tones, phrases, verdicts; settings of a detector
    detector.py    all detectors of one call behind one `feed`

Pure functions of frames: no I/O, no clock, no state outside the objects; the same result however a stream is cut into frames.
Times are seconds of the stream. This module imports nothing, so that whoever only reads verdicts needs no numerical library.
"""
