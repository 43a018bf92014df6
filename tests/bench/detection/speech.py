"""Voices: synthesisers and recorded prompts of Debian packages, by half; what they say comes as 8 kHz samples.

Packages: espeak-ng (some 60 speakers that each speak all languages), flite, and asterisk's prompts, which are people's voices.
The same voices speak for people and for machines.
"""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from tests.bench.detection.labels import SAMPLE_RATE_HZ, Half

Samples = npt.NDArray[np.float32]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ESPEAK_SPEAKERS = {
    Half.TRAIN: _names(
        "adam Alex Andrea Andy antonio aunty benjamin boris Denis edward edward2 Gene Gene2 Hugo Jacky klatt "
        "klatt2 klatt3 klatt4 Lee marcelo Mario Michael michel Nguyen pablo pedro quincy rob steph steph2 steph3 "
        "zac f1 f3 m1 m3 m5 m7 grandpa"
    ),
    Half.TEST: _names(
        "Alicia Annie belinda caleb david Diogo ed gustave Henrique iven iven2 iven3 iven4 john kaukovalta linda "
        "Marco max miguel Mike paul RicishayMax RicishayMax2 robert sandro shelby travis victor norbert anika f2 "
        "f4 f5 m2 m4 m6 m8 grandma"
    ),
}
ESPEAK_ACCENTS = {
    "en": ("en-us", "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc"),
    "es": ("es", "es-419"),
    "fr": ("fr-fr", "fr-be", "fr-ch"),
    "de": ("de",),
    "it": ("it",),
    "pt": ("pt", "pt-br"),
    "hi": ("hi",),
}
FLITE_SPEAKERS = {Half.TRAIN: ("kal16", "awb"), Half.TEST: ("slt", "rms")}
FLITE_SHARE = 0.2
"""Of the English clips."""
RECORDED_SHARE = 0.06
"""Of all clips whose behaviour recorded prompts can play."""
PROMPTS = Path("/usr/share/asterisk/sounds")
MUSIC = Path("/usr/share/asterisk/moh")
RECORDED_SPEAKERS = {
    Half.TRAIN: (("fr", "fr_CA_f_June"), ("ru", "ru_RU_f_IvrvoiceRU")),
    Half.TEST: (("en", "en_US_f_Allison"), ("en", "en_US_f_Allison"), ("es", "es_MX_f_Allison"), ("it", "it_IT_m_Carlo")),
}
PACKAGES = (
    "espeak-ng",
    "flite",
    "asterisk-core-sounds-en-wav",
    "asterisk-core-sounds-es-wav",
    "asterisk-core-sounds-fr-wav",
    "asterisk-core-sounds-it-wav",
    "asterisk-core-sounds-ru-wav",
    "asterisk-moh-opsound-wav",
)


class VoicesMissing(Exception):
    """A package that voices come from is not installed; the message says which and how."""


def missing_packages() -> list[str]:
    """Those of PACKAGES that are not installed, as far as their files tell."""
    there = {
        "espeak-ng": bool(shutil.which("espeak-ng")),
        "flite": bool(shutil.which("flite")),
        "asterisk-core-sounds-en-wav": (PROMPTS / "en_US_f_Allison/vm-intro.wav").exists(),
        "asterisk-core-sounds-es-wav": (PROMPTS / "es_MX_f_Allison/vm-intro.wav").exists(),
        "asterisk-core-sounds-fr-wav": (PROMPTS / "fr_CA_f_June/vm-intro.wav").exists(),
        "asterisk-core-sounds-it-wav": (PROMPTS / "it_IT_m_Carlo/vm-intro.wav").exists(),
        "asterisk-core-sounds-ru-wav": (PROMPTS / "ru_RU_f_IvrvoiceRU/vm-intro.wav").exists(),
        "asterisk-moh-opsound-wav": MUSIC.exists(),
    }
    return [package for package in PACKAGES if not there[package]]


def require_packages() -> None:
    """Raise VoicesMissing unless all voices are there."""
    missing = missing_packages()
    if missing:
        raise VoicesMissing(f"the corpus is spoken by Debian packages; missing: apt-get install {' '.join(missing)}")


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker, and how this clip's speaker speaks."""

    engine: str
    """espeak, flite or recorded."""
    speaker: str
    """Unique to one half."""
    language: str
    accent: str = ""
    words_per_minute: int = 165
    pitch: int = 50
    """0 to 99, as espeak-ng counts it."""

    @property
    def name(self) -> str:
        """The speaker's name, by which the halves are kept apart."""
        return f"{self.engine}:{self.speaker}"


def draw_voice(*, half: Half, language: str, rng: np.random.Generator) -> Voice:
    """A synthetic speaker of a language, drawn in the same way for people and for machines."""
    if language == "en" and rng.random() < FLITE_SHARE:
        speakers = FLITE_SPEAKERS[half]
        return Voice(
            engine="flite",
            speaker=speakers[int(rng.integers(len(speakers)))],
            language=language,
            words_per_minute=int(rng.integers(135, 200)),
        )
    names, accents = ESPEAK_SPEAKERS[half], ESPEAK_ACCENTS[language]
    return Voice(
        engine="espeak",
        speaker=names[int(rng.integers(len(names)))],
        language=language,
        accent=accents[int(rng.integers(len(accents)))],
        words_per_minute=int(rng.integers(130, 205)),
        pitch=int(rng.integers(25, 75)),
    )


@functools.lru_cache(maxsize=64)
def speak(text: str, *, voice: Voice) -> Samples:
    """A text in a voice, silence trimmed, at 8 kHz, active speech at RMS 1. Deterministic."""
    if voice.engine == "recorded":
        return recorded(voice.speaker, text)
    with io.BytesIO(_synthesise(text, voice)) as wav:
        samples, rate_hz = soundfile.read(wav, dtype="float32")
    return normalised(trimmed(resampled(samples, from_hz=rate_hz)))


def _synthesise(text: str, voice: Voice) -> bytes:
    if voice.engine == "espeak":
        command = ["espeak-ng", "-v", f"{voice.accent}+{voice.speaker}", "-s", str(voice.words_per_minute)]
        command += ["-p", str(voice.pitch), "--stdout", "--", text]
    else:
        stretch = f"duration_stretch={165 / voice.words_per_minute:.3f}"
        command = ["flite", "-voice", voice.speaker, "--setf", stretch, "-t", text, "-o", "/dev/stdout"]
    spoken = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    # Neither knows the length when it begins to write to a pipe: the sizes of RIFF and data are put right here.
    at = spoken.index(b"data") + 4
    sizes = (len(spoken) - 8).to_bytes(4, "little"), (len(spoken) - at - 4).to_bytes(4, "little")
    return spoken[:4] + sizes[0] + spoken[8:at] + sizes[1] + spoken[at + 4 :]


@functools.cache
def recorded(speaker: str, prompt: str) -> Samples:
    """A recorded prompt, trimmed, active speech at RMS 1."""
    samples, rate_hz = soundfile.read(PROMPTS / speaker / f"{prompt}.wav", dtype="float32")
    return normalised(trimmed(resampled(samples, from_hz=rate_hz)))


def resampled(samples: Samples, *, from_hz: int) -> Samples:
    """To 8 kHz, by the whole spectrum: exact, and fast enough for single breaths."""
    if from_hz == SAMPLE_RATE_HZ or not samples.size:
        return samples
    length = round(samples.size * SAMPLE_RATE_HZ / from_hz)
    spectrum = np.fft.rfft(np.concatenate([samples, np.zeros(-samples.size % 64, np.float32)]))
    padded = samples.size + (-samples.size % 64)
    size = round(padded * SAMPLE_RATE_HZ / from_hz)
    kept = spectrum[: size // 2 + 1]
    return (np.fft.irfft(kept, size)[:length] * (size / padded)).astype(np.float32)


def floats(samples: npt.NDArray[np.floating[Any]]) -> Samples:
    """The same samples as 32 bit floats."""
    return np.array(samples, np.float32)


def trimmed(samples: Samples) -> Samples:
    """Without the silence before and after (40 dB below the loudest 10 ms)."""
    active = np.flatnonzero(loud_hops(samples, below_db=40.0))
    if not active.size:
        return samples[:0]
    return samples[max(0, active[0] * 80 - 40) : (active[-1] + 1) * 80 + 80]


def loud_hops(samples: Samples, *, below_db: float) -> npt.NDArray[np.bool_]:
    """Hops of 10 ms that are not further below the loudest one."""
    hops = samples[: samples.size // 80 * 80].reshape(-1, 80)
    power = (hops.astype(np.float64) ** 2).mean(axis=1) if hops.size else np.zeros(0)
    return np.array(power > (power.max(initial=0.0) * 10 ** (-below_db / 10) + 1e-12), np.bool_)


def normalised(samples: Samples) -> Samples:
    """Active speech at RMS 1: hops within 25 dB of the loudest count as active."""
    active = loud_hops(samples, below_db=25.0)
    if not active.any():
        return samples
    power = (samples[: active.size * 80].reshape(-1, 80)[active].astype(np.float64) ** 2).mean()
    return floats(samples / np.sqrt(power))
