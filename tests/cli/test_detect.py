"""`orchestrator detect`: recordings of every common kind, bad ones named, the timeline, the verdict, the picture, a pipe."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from orchestrator.cli.main import cli
from orchestrator.cli.recordings import NotAudio, open_file, open_pipe
from orchestrator.errors import BadInput

RATE_HZ = 8000
PNG = b"\x89PNG"


def tone(hz: float, seconds: float, *, amplitude: float = 6000.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.round(amplitude * np.sin(2 * np.pi * hz * times)).astype(np.int16)


def quiet(seconds: float, *, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.zeros(round(seconds * rate_hz), np.int16)


def fax(*, rate_hz: int = RATE_HZ) -> np.ndarray:
    return np.concatenate([quiet(0.5, rate_hz=rate_hz), tone(2100, 3.0, rate_hz=rate_hz), quiet(1.0, rate_hz=rate_hz)])


def wav_bytes(samples: np.ndarray, *, rate_hz: int = RATE_HZ, channels: int = 1) -> bytes:
    memory = io.BytesIO()
    with wave.open(memory, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return memory.getvalue()


def run(*arguments: str | Path, feed: bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["detect", *map(str, arguments)], input=feed)


def heard(*arguments: str | Path) -> list[dict[str, object]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    documents: list[dict[str, object]] = json.loads(result.stdout)
    return documents


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "fax.wav"
    path.write_bytes(wav_bytes(fax()))
    return path


def test_the_verdict_and_the_timeline_are_told(recording):
    result = run(recording)
    assert result.exit_code == 0, result.output
    assert "4.50 s, 8000 Hz, mono" in result.output
    assert "tone: fax_ced" in result.output
    assert "verdict: fax" in result.output


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_common_kinds_of_audio_are_read_at_their_own_rate(tmp_path, suffix):
    path = tmp_path / f"fax.{suffix}"
    soundfile.write(path, fax(rate_hz=44_100), 44_100)
    [document] = heard(path)
    assert document["sample_rate_hz"] == 44_100
    assert document["verdict"]["kind"] == "fax"


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_24", "FLOAT"])
def test_wav_codings_are_read(tmp_path, subtype):
    path = tmp_path / "fax.wav"
    soundfile.write(path, fax(), RATE_HZ, subtype=subtype)
    [document] = heard(path)
    assert document["verdict"]["kind"] == "fax"


def test_stereo_is_mixed_or_one_channel_is_heard(tmp_path):
    path = tmp_path / "both.wav"
    soundfile.write(path, np.stack([fax(), quiet(4.5)], axis=1), RATE_HZ)
    [mixed], [first], [second] = heard(path), heard(path, "--channel", "1"), heard(path, "--channel", "2")
    assert (mixed["channels"], mixed["verdict"]["kind"], first["verdict"]["kind"]) == (2, "fax", "fax")
    assert second["verdict"]["kind"] != "fax"
    refused = run(path, "--channel", "3")
    assert refused.exit_code == 2
    assert "both.wav: there is no channel 3; it has 2" in refused.output


@pytest.mark.parametrize(
    "samples",
    [
        quiet(3),
        np.full(24_000, 32767, np.int16),
        np.where(np.arange(24_000) % 2, 32767, -32768).astype(np.int16),
        np.full(24_000, 900, np.int16),
        quiet(0.0005),
    ],
    ids=["zeros", "full scale", "clipped", "dc", "four samples"],
)
def test_odd_recordings_get_a_verdict_and_no_machine_is_made_of_them(tmp_path, samples):
    path = tmp_path / "odd.wav"
    path.write_bytes(wav_bytes(samples))
    [document] = heard(path)
    assert document["verdict"]["kind"] in {"nothing", "uncertain", "person"}


def test_what_is_no_recording_is_named_and_the_others_are_heard(tmp_path, recording):
    text, empty, bare = tmp_path / "text.wav", tmp_path / "empty.wav", tmp_path / "bare.wav"
    text.write_text("this is no audio")
    empty.write_bytes(b"")
    bare.write_bytes(wav_bytes(quiet(0)))
    result = run(text, empty, bare, tmp_path / "missing.wav", tmp_path, recording)
    assert result.exit_code == 3
    for name in ("text.wav", "empty.wav", "bare.wav", "missing.wav"):
        assert f"{name}: " in result.stderr
    assert "Traceback" not in result.output
    assert "verdict: fax" in result.stdout
    assert run(text).exit_code == 2


def test_a_file_that_was_cut_off_is_heard_as_far_as_it_goes(tmp_path):
    path = tmp_path / "cut.wav"
    path.write_bytes(wav_bytes(fax())[: 44 + 2 * 3 * RATE_HZ + 1])
    [document] = heard(path)
    assert document["duration_s"] == pytest.approx(3.0, abs=0.01)
    assert document["verdict"]["kind"] == "fax"


@pytest.mark.parametrize("rate_hz", [4000, 96_000])
def test_a_sample_rate_out_of_range_is_named(tmp_path, rate_hz):
    path = tmp_path / "rate.wav"
    path.write_bytes(wav_bytes(quiet(1, rate_hz=rate_hz), rate_hz=rate_hz))
    result = run(path)
    assert result.exit_code == 2
    assert str(rate_hz) in result.output


def test_a_long_recording_is_read_in_pieces(tmp_path):
    path = tmp_path / "long.wav"
    path.write_bytes(wav_bytes(quiet(600)))
    recording = open_file(path, channel=None)
    assert recording.length_s == 600
    assert max(len(block) for block in recording.blocks) <= RATE_HZ // 10


def test_the_picture_is_a_png(recording, tmp_path):
    picture = tmp_path / "out.png"
    assert run(recording, "--plot", picture).exit_code == 0
    assert picture.read_bytes().startswith(PNG)
    refused = run(recording, "--plot", tmp_path / "nowhere" / "out.png")
    assert refused.exit_code == 2
    assert "nowhere" in refused.output


def test_two_files_and_one_picture_do_not_fit(recording):
    assert run(recording, recording, "--plot", "x.png").exit_code == 2


@pytest.mark.parametrize("feed", [wav_bytes(fax()), fax().astype("<i2").tobytes()], ids=["wav", "bare samples"])
def test_a_pipe_is_followed_line_by_line(feed):
    result = run("-", "--follow", "--json", feed=feed)
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["kind"] for event in events if event["event"] == "verdict"][-1] == "fax"


def test_a_pipe_tells_what_it_hears_before_it_ends(settings):
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "detect", "-", "--follow"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(np.concatenate([fax(), quiet(2)]).astype("<i2").tobytes())
        process.stdin.flush()
        lines = []
        while not lines or b"verdict" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_16", 2), ("ULAW", 1), ("ALAW", 2)])
def test_a_pipe_is_the_same_however_it_comes(tmp_path, size, subtype, channels):
    path = tmp_path / "x.wav"
    samples = np.random.default_rng(1).integers(-20_000, 20_000, (801, channels)).astype(np.int16)
    soundfile.write(path, samples, RATE_HZ, subtype=subtype)
    pipe = open_pipe(Trickle(path.read_bytes(), size), name="pipe", raw_rate_hz=RATE_HZ, channel=None)
    file = open_file(path, channel=None)
    assert (pipe.sample_rate_hz, pipe.channels) == (file.sample_rate_hz, file.channels)
    assert np.array_equal(np.concatenate(list(pipe.blocks)), np.concatenate(list(file.blocks)))


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size if size is None or size < 0 else min(size, self._size))


_FLOATS = struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF\x00\x00\x00\x00WAVE",
        b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00",
        b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00"
        + struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32)
        + b"data\x00\x00\x00\x00",
        b"RIFF\x00\x00\x00\x00WAVEjunk\xff\xff\xff\xff",
    ],
)
def test_a_broken_stream_is_refused_by_name(content):
    with pytest.raises(NotAudio, match="the pipe"):
        open_pipe(io.BytesIO(content), name="the pipe", raw_rate_hz=RATE_HZ, channel=None)
    with pytest.raises(BadInput, match="4000"):
        open_pipe(io.BytesIO(b""), name="the pipe", raw_rate_hz=4000, channel=None)
