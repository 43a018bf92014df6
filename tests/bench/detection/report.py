"""The benchmark's text: tables of figures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence

from sip.voicemail.events import Kind, ToneKind
from tests.bench.detection.cadence import CadenceVerdict
from tests.bench.detection.labels import Label
from tests.bench.detection.scoring import (
    HANG_UP,
    Share,
    calibration,
    counts_as_person_or_machine,
    errors_of,
    false_beeps,
    quantile,
    taken_for,
    times_of,
    tone_scores,
    wilson,
)
from tests.bench.detection.targets import cadence_of, final_of, first_of, targets
from tests.bench.detection.trials import CAREFUL, WAYS, Told, Trial, Way

Chooser = Callable[[Trial], Told | CadenceVerdict | None]
SUBSETS: dict[str, Callable[[Label], bool]] = {
    "in all": lambda _: True,
    "outside long answers": lambda label: not label.is_long,
    "long answers only": lambda label: label.is_long or label.kind is not Kind.PERSON,
}


def percent(share: Share) -> str:
    """12.3 % [11.0, 13.7]  (45/367)."""
    if not share.total:
        return "-"
    low, high = wilson(share.count, share.total)
    return f"{share.value:6.2%} [{low:.2%}, {high:.2%}] ({share.count}/{share.total})"


def corpus_table(trials: Sequence[Trial]) -> list[str]:
    """What the half is made of."""
    main = [trial.label for trial in trials if trial.label.part.value == "main"]
    kinds = Counter(label.scenario if label.kind in {Kind.NOTHING, Kind.MACHINE} else label.kind.value for label in main)
    people = [label for label in main if label.kind is Kind.PERSON]
    lines = [f"main part: {len(main):,} clips; extra part: {len(trials) - len(main):,}"]
    lines.append("  " + ", ".join(f"{kind} {count} ({count / max(1, len(main)):.1%})" for kind, count in kinds.most_common()))
    longs = sum(label.is_long for label in people)
    lines.append(f"  people {len(people):,}, of them {longs} long answers ({longs / max(1, len(people)):.1%})")
    languages = Counter(label.language or "none" for label in main)
    lines.append(
        "  languages " + ", ".join(f"{name} {count / max(1, len(main)):.0%}" for name, count in languages.most_common())
    )
    codecs = Counter(label.codec for label in main)
    lines.append("  codecs " + ", ".join(f"{name} {count / max(1, len(main)):.0%}" for name, count in codecs.most_common()))
    voices = {voice for trial in trials for voice in trial.label.voices}
    lossy = sum(label.loss > 0 for label in main) / max(1, len(main))
    lines.append(
        f"  {len(voices)} voices; packets lost in {lossy:.0%} of the clips (to 5 %); {hours(trials):.1f} hours of audio"
    )
    return lines


def hours(trials: Sequence[Trial]) -> float:
    """Hours of audio."""
    return sum(trial.label.duration_s for trial in trials) / 3600


def error_tables(trials: Sequence[Trial]) -> list[str]:
    """Both errors for every way, stage and subset, and for the cadence rules."""
    lines: list[str] = []
    choosers: list[tuple[str, Chooser]] = [("cadence rules (app_amd, defaults)", cadence_of)]
    for way in WAYS:
        choosers += [(f"first, {way.name}", first_of(way)), (f"final, {way.name}", final_of(way))]
    for subset, only in SUBSETS.items():
        lines.append(f"{subset}:")
        for name, chooses in choosers:
            errors = errors_of(trials, chooses, only=only)
            lines.append(f"  {name}")
            lines.append(f"    people taken for machines  {percent(errors.people_lost)}")
            if subset != "long answers only":
                lines.append(f"    machines taken for people  {percent(errors.machines_missed)}")
                lines.append(f"    uncertain                  {percent(errors.uncertain)}")
                lines.append(f"    accuracy of the decided    {percent(errors.right)}")
    return lines


def hang_up_table(trials: Sequence[Trial]) -> list[str]:
    """What a policy that hangs up at a probability of 0.98 would do."""
    lines = []
    for way in WAYS:
        people, machines = Share(), Share()
        for trial in trials:
            if counts_as_person_or_machine(trial.label):
                told = trial.heard[way].final
                up = told is not None and taken_for(told).value == "machine" and told.machine_probability >= HANG_UP
                (people if trial.label.kind is Kind.PERSON else machines).add(counts=up)
        lines.append(f"  {way.name:32s} people {percent(people)}   machines {percent(machines)}")
    return lines


def confusion(trials: Sequence[Trial], way: Way) -> list[str]:
    """Truth against the final verdict's kind, main part."""
    columns = [*Kind]
    rows: dict[str, Counter[Kind]] = {}
    for trial in trials:
        if trial.label.part.value == "main":
            label = trial.label
            truth = label.scenario if label.kind in {Kind.NOTHING, Kind.MACHINE} else label.kind.value
            told = trial.heard[way].final
            rows.setdefault(truth, Counter())[told.kind if told else Kind.NOTHING] += 1
    seen = [kind for kind in columns if any(row[kind] for row in rows.values())]
    lines = ["  " + " " * 14 + "".join(f"{kind.value[:9]:>10s}" for kind in seen)]
    lines += [
        f"  {truth:14s}" + "".join(f"{rows[truth][kind] or '.':>10}" for kind in seen)
        for truth in sorted(rows, key=lambda name: -sum(rows[name].values()))
    ]
    return lines


def time_table(trials: Sequence[Trial]) -> list[str]:
    """Time to right verdicts."""
    lines = ["  median / p95 of the right ones; people: after their first utterance ends; machines: after their first speech"]
    choosers: list[tuple[str, Chooser]] = [("cadence rules", cadence_of)]
    for way in WAYS:
        choosers += [(f"first, {way.name}", first_of(way)), (f"final, {way.name}", final_of(way))]
    for name, chooses in choosers:
        t = times_of(trials, chooses)
        people = f"people {t.people_median:5.2f} / {t.people_p95:5.2f} s"
        lines.append(f"  {name:40s} {people}   machines {t.machines_median:5.2f} / {t.machines_p95:5.2f} s")
    return lines


def hard_case_table(trials: Sequence[Trial]) -> list[str]:
    """Each hard case by name: right, wrong, uncertain."""
    names = sorted({name for trial in trials for name in trial.label.hard_cases})
    ways = [
        ("cadence", cadence_of),
        ("careful", final_of(CAREFUL)),
        ("careful+words", final_of(WAYS[1])),
        ("fast", final_of(WAYS[2])),
    ]
    lines = ["  taken for person / machine / uncertain, of clips whose truth is as named (screening is a machine's voice)"]
    for name in names:
        for truth in ("person", "machine", "neither"):
            chosen = [trial for trial in trials if name in trial.label.hard_cases and _truth(trial.label) == truth]
            if not chosen:
                continue
            cells = []
            for way, chooses in ways:
                counts = Counter(taken_for(chooses(trial)).value for trial in chosen)
                cells.append(f"{way} {counts['person']}/{counts['machine']}/{counts['uncertain']}")
            lines.append(f"  {name:16s} {truth:8s} n={len(chosen):4d}  " + "   ".join(cells))
    late = [trial for trial in trials if "picked_up" in trial.label.hard_cases]
    if late:
        found = Share()
        delays = []
        for trial in late:
            since = trial.label.person_from_s or 0.0
            told = [one for one in trial.heard[CAREFUL].revised if one.kind is Kind.PERSON and one.told_s >= since]
            final = trial.heard[CAREFUL].final
            is_person = bool(told) or (final is not None and taken_for(final).value != "machine")
            found.add(counts=is_person)
            delays += [told[0].told_s - since] if told else []
        delay_s = quantile(delays, 0.5)
        left = f"not left a machine {percent(found)}, revised after {delay_s:.2f} s (median)"
        lines.append(f"  a person picks up during a greeting: {left}")
    return lines


def scenario_table(trials: Sequence[Trial]) -> list[str]:
    """Final verdicts by scenario."""
    lines = []
    for name in sorted({trial.label.scenario for trial in trials if counts_as_person_or_machine(trial.label)}):
        chosen = [trial for trial in trials if trial.label.scenario == name and trial.label.part.value == "main"]
        cells = []
        for way in (WAYS[0], WAYS[1]):
            counts = Counter(taken_for(trial.heard[way].final).value for trial in chosen)
            cells.append(f"{counts['person']:5d} /{counts['machine']:5d} /{counts['uncertain']:5d}")
        lines.append(f"  {name:24s}" + "     with transcripts: ".join(cells))
    return lines


def _truth(label: Label) -> str:
    if label.kind is Kind.PERSON:
        return "person"
    return "machine" if label.kind.is_machine or label.kind is Kind.SCREENING else "neither"


def tone_table(trials: Sequence[Trial]) -> list[str]:
    """Recall and class of every kind of tone, on clean and degraded lines."""
    lines = [
        "  by the tone detectors alone; class of information tones, country of ringback; delay after the end (patterns: start)"
    ]
    for name, only in (("clean", lambda label: label.is_clean), ("degraded", lambda label: not label.is_clean)):
        for kind, score in sorted(
            tone_scores(trials, lambda trial: trial.tones, only=only).items(), key=lambda item: item[0].value
        ):
            delay = (
                f"delay {quantile(score.delays_s, 0.5):5.2f} / {quantile(score.delays_s, 0.95):5.2f} s"
                if score.delays_s
                else ""
            )
            lines.append(
                f"  {name:9s}{kind.value:9s} found {percent(score.found):44s} class {percent(score.class_right):44s} {delay}"
            )
    return lines


def beep_table(trials: Sequence[Trial]) -> list[str]:
    """Beeps as the tone detectors and as the call's detector tell them."""
    lines = []
    for name, tells in (
        ("tone detectors", lambda trial: trial.tones),
        ("call's detector", lambda trial: trial.heard[CAREFUL].tones),
    ):
        score = tone_scores(trials, tells, only=lambda _: True).get(ToneKind.BEEP)
        false = false_beeps(trials, tells)
        if score is None:
            continue
        delays = f"{quantile(score.delays_s, 0.5) * 1000:.0f} / {quantile(score.delays_s, 0.95) * 1000:.0f} ms"
        lines.append(f"  {name}: found {percent(score.found)}, told after its end by {delays} (median / p95)")
        rate = false.in_speech / max(false.speech_hours, 1e-9)
        speech = f"false in speech {false.in_speech} in {false.speech_hours:.2f} h: {rate:.2f} an hour"
        music = f"in music {false.in_music} in {false.music_hours:.2f} h"
        lines.append(f"    {speech}; other tones {false.other_tones}; {music}; in silence and noise {false.in_silence}")
    return lines


def calibration_table(trials: Sequence[Trial]) -> list[str]:
    """Told against seen, at the first and the final verdict."""
    lines = []
    for way in WAYS[:2]:
        for stage, chooses in (("first", first_of(way)), ("final", final_of(way))):
            lines.append(f"  {stage}, {way.name}: told probability of a machine, clips, mean told, share of machines seen")
            lines += [
                f"    {low:.2f} to {high:.2f}  {count:6d}  {mean:.3f}  {seen:.3f}"
                for low, high, count, mean, seen in calibration(trials, chooses)
            ]
    return lines


def cost_table(trials: Sequence[Trial], *, memory_bytes: float) -> list[str]:
    """CPU and memory."""
    cpu_s, listened_s = sum(trial.cpu_s for trial in trials), sum(trial.listened_s for trial in trials)
    per_s = cpu_s / max(listened_s, 1e-9)
    cpu = f"{per_s * 3600:.2f} CPU seconds for each hour of audio that is listened to ({per_s * 1000:.3f} ms a second)"
    load = f"the machine's load average was {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores"
    return [
        f"  {cpu}: {1 / per_s:,.0f} live streams on one core; {load}",
        f"  {memory_bytes / 1000:.0f} KB a stream (48 kHz, after a whole clip)",
    ]


def whole(trials: Sequence[Trial], *, memory_bytes: float) -> list[str]:
    """All tables."""
    sections: list[tuple[str, list[str]]] = [
        ("What was measured on", corpus_table(trials)),
        ("Targets of the issue", [target.line() for target in targets(trials, memory_bytes=memory_bytes)]),
        (
            "The two errors (95 % intervals: Wilson); machines: voicemail, mailbox full, menu, screening, announcement",
            error_tables(trials),
        ),
        ("Would be hung up on: final verdict machine at a probability of at least 0.98", hang_up_table(trials)),
        ("Time to verdict", time_table(trials)),
        ("Confusion, final verdict, careful, without transcripts (rows: truth)", confusion(trials, WAYS[0])),
        ("Confusion, final verdict, careful, with transcripts", confusion(trials, WAYS[1])),
        ("Hard cases", hard_case_table(trials)),
        ("Scenarios: taken for person / machine / uncertain, final, careful", scenario_table(trials)),
        ("Beeps", beep_table(trials)),
        ("Tones", tone_table(trials)),
        ("Calibration", calibration_table(trials)),
        ("Cost", cost_table(trials, memory_bytes=memory_bytes)),
    ]
    lines: list[str] = []
    for title, table in sections:
        lines += ["", title, "-" * len(title), *table]
    return lines
