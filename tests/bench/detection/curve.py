"""A picture of the two errors over the sensitivity, with the cadence rules beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench.detection.scoring import errors_of, wilson
from tests.bench.detection.targets import cadence_of, final_of
from tests.bench.detection.trials import CAREFUL, SENSITIVITIES, Trial, Way

LOST, MISSED, UNCERTAIN = "#b3261e", "#1f5fa8", "#8a8a8a"


def draw(trials: Sequence[Trial], path: Path) -> list[str]:
    """Draw it from the clips on which all sensitivities were tried; also its figures as lines."""
    import matplotlib as mpl  # noqa: PLC0415 - only this picture needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    ways = [Way(CAREFUL.pace, words=False, sensitivity=sensitivity) for sensitivity in SENSITIVITIES]
    tried = [trial for trial in trials if all(way in trial.heard for way in ways)]
    all_errors = [errors_of(tried, final_of(way)) for way in ways]
    classic = errors_of(tried, cadence_of)
    figure, axes = plt.subplots(figsize=(9, 5.4), dpi=110)
    lines = [
        f"  on {classic.people_lost.total} people and {classic.machines_missed.total} machines; final, careful, no transcripts"
    ]
    for name, colour, shares in (
        ("people taken for machines", LOST, [errors.people_lost for errors in all_errors]),
        ("machines taken for people", MISSED, [errors.machines_missed for errors in all_errors]),
        ("uncertain", UNCERTAIN, [errors.uncertain for errors in all_errors]),
    ):
        values = [share.value * 100 for share in shares]
        bounds = [wilson(share.count, share.total) for share in shares]
        axes.plot(SENSITIVITIES, values, color=colour, marker="o", label=name, linestyle="--" if name == "uncertain" else "-")
        axes.fill_between(
            SENSITIVITIES, [low * 100 for low, _ in bounds], [high * 100 for _, high in bounds], color=colour, alpha=0.12
        )
    for share, colour, name in (
        (classic.people_lost, LOST, "cadence rules lose"),
        (classic.machines_missed, MISSED, "cadence rules miss"),
    ):
        axes.axhline(share.value * 100, color=colour, linewidth=1, linestyle=":")
        axes.annotate(f"{name} {share.value:.1%}", (0.06, share.value * 100), color=colour, fontsize=9, va="bottom")
    axes.axvline(0.5, color="#444444", linewidth=0.8)
    axes.annotate("default", (0.505, 0.13), fontsize=9, color="#444444")
    axes.set_yscale("symlog", linthresh=0.5)
    axes.set_ylim(0, 90)
    axes.set_yticks([0, 0.25, 0.5, 1, 2, 5, 10, 20, 50], ["0", "0.25", "0.5", "1", "2", "5", "10", "20", "50"])
    axes.set_xlabel("sensitivity (how readily it says machine)")
    axes.set_ylabel("% of people, of machines, of both")
    axes.set_title("The two errors over sensitivity: final verdict, no transcripts, test half (bands: 95 %)", fontsize=11)
    axes.grid(visible=True, alpha=0.25)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=3, frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
    for sensitivity, errors in zip(SENSITIVITIES, all_errors, strict=True):
        lines.append(
            f"  {sensitivity:.2f}  lost {errors.people_lost.value:6.2%}  missed {errors.machines_missed.value:6.2%}"
            f"  uncertain {errors.uncertain.value:6.2%}"
        )
    return lines
