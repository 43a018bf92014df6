"""The picture of a recording: its level over time with speech, tones and verdicts, and what the verdict rests on.

Needs the package's extra `plots`. It must not know how any of it was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.errors import BadInput
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorEvent, PhraseHeard, SpeechEnded, Stage, Tone, Verdict

SPEECH, TONE, LEVEL, MACHINE, PERSON, UNSURE = "#7fb069", "#e6aa68", "#33658a", "#b3001b", "#2e7d32", "#777777"
FLOOR_DBM0 = -70.0
MOST_FACTS = 18
HOP_S = 0.01
_NAMES = {Stage.FIRST: "first", Stage.FINAL: "final", Stage.REVISED: "revised"}


def draw(path: Path, *, title: str, detector: CallDetector, events: Sequence[DetectorEvent]) -> None:
    """Write a PNG. Raises BadInput if it cannot be written, or if the extra is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise BadInput("pictures need matplotlib: install call-orchestrator[plots]") from error
    trace = detector.trace()
    levels = np.maximum(trace.level_dbm0, FLOOR_DBM0)
    times_s = np.arange(len(levels)) * HOP_S
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    level, words = figure.subplots(1, 2, width_ratios=(4.2, 1))
    level.fill_between(times_s, FLOOR_DBM0, levels, color=LEVEL, alpha=0.55, linewidth=0, label="level")
    level.set(ylim=(FLOOR_DBM0, 12), xlim=(0, max(1.0, len(levels) * HOP_S)), xlabel="seconds", ylabel="dBm0")
    level.set_title(title, loc="left", fontsize=11)
    for began_s, ended_s in _stretches(events, last_s=detector.now_s):
        level.axvspan(began_s, ended_s, ymin=0, ymax=0.04, color=SPEECH, linewidth=0)
    for tone in (event for event in events if isinstance(event, Tone)):
        level.axvspan(tone.began_s, tone.ended_s, color=TONE, alpha=0.35, linewidth=0)
        name = f"{tone.kind.value} {tone.detail}".strip()
        level.text((tone.began_s + tone.ended_s) / 2, FLOOR_DBM0 + 6, name, rotation=90, ha="center", va="bottom", fontsize=8)
    for phrase in (event for event in events if isinstance(event, PhraseHeard)):
        level.text(phrase.at_s, -60, f"“{phrase.phrase}”", rotation=90, ha="center", va="bottom", fontsize=7, color=UNSURE)
    verdicts = [event for event in events if isinstance(event, Verdict)]
    for number, verdict in enumerate(verdicts):
        colour = _colour(verdict)
        level.axvline(verdict.told_s, color=colour, linewidth=1.6, linestyle="-" if verdict.stage is Stage.FINAL else "--")
        text = f" {_NAMES[verdict.stage]}: {verdict.kind.value} (machine: {verdict.machine_probability:.0%}) "
        side = "right" if verdict.told_s > 0.7 * level.get_xlim()[1] else "left"
        level.text(verdict.told_s, 9 - 5 * (number % 3), text, color=colour, fontsize=9, ha=side, va="top", clip_on=True)
    level.grid(axis="x", alpha=0.25)
    level.set_title("green: speech   orange: tone   lines: verdicts, the final one unbroken", loc="right", fontsize=8)
    words.axis("off")
    words.text(0, 1, _facts(verdicts), va="top", fontsize=8, family="monospace", transform=words.transAxes)
    try:
        figure.savefig(path, format="png", dpi=110)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror or error}") from error


def _stretches(events: Sequence[DetectorEvent], *, last_s: float) -> list[tuple[float, float]]:
    return [(event.began_s, min(event.ended_s, last_s)) for event in events if isinstance(event, SpeechEnded)]


def _colour(verdict: Verdict) -> str:
    if verdict.kind.is_machine:
        return MACHINE
    return PERSON if verdict.machine_probability < 0.5 else UNSURE


def _facts(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "no verdict"
    last = verdicts[-1]
    lines = [last.kind.value, f"machine: {last.machine_probability:.1%}", f"at {last.told_s:.2f} s", f"rule {last.rule}", ""]
    for name, value in list(last.evidence.items())[:MOST_FACTS]:
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        lines.append(f"{name[:24]:<24} {shown[:10]}")
    return "\n".join(lines)
