"""Opus by Debian's libopus0: encode, lose packets, decode with the codec's own concealment. Narrow band, 20 ms packets."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools

import numpy as np
import numpy.typing as npt

FRAME = 160
VOIP = 2048
SET_BITRATE, SET_COMPLEXITY = 4002, 4010
LOOKAHEAD = 52
"""Samples at 8 kHz by which libopus delays (6.5 ms)."""


class OpusMissing(Exception):
    """libopus is not installed: apt-get install libopus0."""


@functools.cache
def library() -> ctypes.CDLL:
    """libopus, its calls typed."""
    name = ctypes.util.find_library("opus") or "libopus.so.0"
    try:
        opus = ctypes.CDLL(name)
    except OSError as missing:
        raise OpusMissing("apt-get install libopus0") from missing
    for create in (opus.opus_encoder_create, opus.opus_decoder_create):
        create.restype = ctypes.c_void_p
    for destroy in (opus.opus_encoder_destroy, opus.opus_decoder_destroy):
        destroy.argtypes = [ctypes.c_void_p]
    opus.opus_encode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int32]
    opus.opus_decode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    return opus


def transmitted(samples: npt.NDArray[np.int16], *, lost: npt.NDArray[np.bool_], bitrate: int) -> npt.NDArray[np.int16]:
    """What arrives when the packets of 20 ms marked in `lost` do not; aligned with what was sent."""
    opus = library()
    failed = ctypes.c_int()
    encoder = ctypes.c_void_p(opus.opus_encoder_create(8000, 1, VOIP, ctypes.byref(failed)))
    decoder = ctypes.c_void_p(opus.opus_decoder_create(8000, 1, ctypes.byref(failed)))
    opus.opus_encoder_ctl(encoder, SET_BITRATE, ctypes.c_int32(bitrate))
    opus.opus_encoder_ctl(encoder, SET_COMPLEXITY, ctypes.c_int32(3))
    frames = samples.size // FRAME + 1
    padded = np.zeros(frames * FRAME + FRAME, np.int16)
    padded[: samples.size] = samples
    arrived = np.zeros_like(padded)
    packet = ctypes.create_string_buffer(1500)
    for index in range(frames + 1):
        size = opus.opus_encode(encoder, padded[index * FRAME :].ctypes.data, FRAME, packet, len(packet))
        gone = index < lost.size and bool(lost[index])
        target = arrived[index * FRAME :].ctypes.data
        opus.opus_decode(decoder, None if gone else packet, 0 if gone else size, target, FRAME, 0)
    opus.opus_encoder_destroy(encoder)
    opus.opus_decoder_destroy(decoder)
    return arrived[LOOKAHEAD : LOOKAHEAD + samples.size]
