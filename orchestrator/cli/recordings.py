"""Recordings as a detector takes them: mono blocks of 16-bit samples, from a file of any common kind or from a pipe.

Files are read by libsndfile (WAV, FLAC, Ogg, MP3, AU and others, G.711 among them). In a pipe nothing can be sought: it carries
a WAV stream (16-bit PCM, mu-law or A-law) or bare 16-bit little-endian samples. It must not know what is done with the audio.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from orchestrator.errors import BadInput

BLOCK_S = 0.1
LEAST_RATE_HZ, MOST_RATE_HZ = 8_000, 48_000
_MU_LAW, _A_LAW, _PCM, _EXTENSIBLE = 7, 6, 1, 0xFFFE
_LARGEST_HEADER = 1 << 16
"""Bytes of a WAV stream before its samples; more is no WAV."""


class NotAudio(BadInput):
    """It holds no audio that can be read."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One open recording. `blocks` can be gone through once."""

    name: str
    sample_rate_hz: int
    channels: int
    length_s: float | None
    """As its header says; None: a pipe."""
    blocks: Iterator[np.ndarray]
    """int16, one dimension, about a tenth of a second each."""


def open_file(path: Path, *, channel: int | None) -> Recording:
    """A file. `channel`: which one to hear, from 1; None: all of them mixed. Raises NotAudio or BadInput naming the file."""
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = "no such file" if not path.exists() else "it is a directory" if path.is_dir() else _plainly(error)
        raise NotAudio(f"{path}: cannot be read as audio: {reason}") from error
    rate_hz, channels = int(sound.samplerate), int(sound.channels)
    try:
        _check(str(path), rate_hz=rate_hz, channels=channels, channel=channel)
        if sound.frames == 0:
            raise NotAudio(f"{path}: holds no audio: 0 samples")
    except BadInput:
        sound.close()
        raise
    return Recording(str(path), rate_hz, channels, sound.frames / rate_hz, _blocks_of(sound, str(path), channel))


def open_pipe(stream: BinaryIO, *, name: str, raw_rate_hz: int, channel: int | None) -> Recording:
    """A pipe. `raw_rate_hz`: of bare samples; a WAV stream says its own. Raises NotAudio or BadInput naming the pipe."""
    start = _read_all(stream, 12)
    if start[:4] != b"RIFF" or start[8:12] != b"WAVE":
        _check(name, rate_hz=raw_rate_hz, channels=1, channel=channel)
        layout = _Layout(_PCM, 1, raw_rate_hz, None)
        return Recording(name, raw_rate_hz, 1, None, _samples(stream, start, layout, None))
    layout = _header(stream, name)
    _check(name, rate_hz=layout.rate_hz, channels=layout.channels, channel=channel)
    return Recording(name, layout.rate_hz, layout.channels, None, _samples(stream, b"", layout, channel))


def _check(name: str, *, rate_hz: int, channels: int, channel: int | None) -> None:
    if not LEAST_RATE_HZ <= rate_hz <= MOST_RATE_HZ:
        raise BadInput(f"{name}: {rate_hz} samples a second; a detector takes {LEAST_RATE_HZ} to {MOST_RATE_HZ}")
    if channel is not None and not 1 <= channel <= channels:
        raise BadInput(f"{name}: there is no channel {channel}; it has {channels}")


def _blocks_of(sound: soundfile.SoundFile, name: str, channel: int | None) -> Iterator[np.ndarray]:
    size = max(1, round(sound.samplerate * BLOCK_S))
    with sound:
        while True:
            try:
                block = sound.read(size, dtype="int16", always_2d=True)
            except soundfile.SoundFileError as error:
                raise NotAudio(f"{name}: cannot be read further: {_plainly(error)}") from error
            if not len(block):
                return
            yield _mono(block, channel)


def _mono(block: np.ndarray, channel: int | None) -> np.ndarray:
    """`block` has shape (n, channels)."""
    if channel is not None:
        return np.ascontiguousarray(block[:, channel - 1])
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    return np.asarray(np.round(block.mean(axis=1)), dtype=np.int16)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the samples of a pipe come."""

    coding: int
    channels: int
    rate_hz: int
    size: int | None
    """Bytes of all samples, as the header says; None: until the pipe ends (programs that cannot know write 0, or more than
    ever comes). After them may come a byte that pads, and chunks that are no samples."""


def _header(stream: BinaryIO, name: str) -> _Layout:
    """Afterwards the stream is at its first sample."""
    read, found = 12, None
    while read < _LARGEST_HEADER:
        chunk = _read_all(stream, 8)
        if len(chunk) < 8:
            break
        kind, size = struct.unpack("<4sI", chunk)
        if kind == b"data":
            if found is None:
                break
            return _Layout(*found, size=size or None)
        if size > _LARGEST_HEADER:
            break
        body = _read_all(stream, size + size % 2)
        read += 8 + len(body)
        if kind == b"fmt " and len(body) >= 16:
            coding, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            if coding == _EXTENSIBLE and len(body) >= 26:
                coding = struct.unpack("<H", body[24:26])[0]
            if (coding, bits) not in {(_PCM, 16), (_MU_LAW, 8), (_A_LAW, 8)} or not channels:
                raise NotAudio(
                    f"{name}: a pipe must carry 16-bit PCM, mu-law or A-law; this is format {coding} with {bits} bits"
                )
            found = (coding, channels, rate_hz)
    raise NotAudio(f"{name}: a WAV stream whose header is not whole")


def _samples(stream: BinaryIO, start: bytes, layout: _Layout, channel: int | None) -> Iterator[np.ndarray]:
    width = (2 if layout.coding == _PCM else 1) * layout.channels
    waiting, left = start, layout.size
    block = max(1, round(layout.rate_hz * BLOCK_S)) * width
    while left != 0:
        wanted = block - len(waiting) % width
        piece = stream.read(wanted if left is None else min(wanted, left))
        if not piece:
            return
        left = None if left is None else left - len(piece)
        waiting += piece
        whole = len(waiting) - len(waiting) % width
        if whole:
            yield _mono(_decoded(waiting[:whole], layout.coding).reshape(-1, layout.channels), channel)
            waiting = waiting[whole:]


def _decoded(octets: bytes, coding: int) -> np.ndarray:
    if coding == _PCM:
        return np.frombuffer(octets, dtype="<i2").astype(np.int16)
    values = np.frombuffer(octets, dtype=np.uint8).astype(np.int32)
    return _from_mu_law(values) if coding == _MU_LAW else _from_a_law(values)


def _from_mu_law(values: np.ndarray) -> np.ndarray:
    """ITU-T G.711, table 2."""
    inverted = ~values & 0xFF
    exponent, mantissa = (inverted >> 4) & 7, inverted & 15
    magnitude = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(inverted & 0x80, -magnitude, magnitude).astype(np.int16)


def _from_a_law(values: np.ndarray) -> np.ndarray:
    """ITU-T G.711, table 1."""
    toggled = values ^ 0x55
    exponent, mantissa = (toggled >> 4) & 7, toggled & 15
    linear = (mantissa << 4) + 8
    magnitude = np.where(exponent == 0, linear, (linear + 256) << np.maximum(exponent - 1, 0))
    return np.where(toggled & 0x80, magnitude, -magnitude).astype(np.int16)


def _read_all(stream: BinaryIO, size: int) -> bytes:
    read = b""
    while len(read) < size and (piece := stream.read(size - len(read))):
        read += piece
    return read


def _plainly(error: BaseException) -> str:
    """libsndfile's own words, without the path that the message of ours begins with."""
    return str(error).rpartition(": ")[2].strip().rstrip(".") or type(error).__name__
