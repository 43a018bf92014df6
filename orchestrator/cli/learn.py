"""`orchestrator trunks learn`: what a trunk's history says about its pre-connect rule, as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.errors import BadInput
from orchestrator.learning import Proposal, propose
from orchestrator.store.policy import TrunkChange, TrunkStatus
from orchestrator.store.trunk_history import PastDial, TrunkHistoryStore

MOST_PLOTTED = 4
"""Codes in one picture: those with most dials."""


@click.command("learn")
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 3650), default=90, metavar="N", help="How far back to look. [90]")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Draw ring times by later outcome."
)
@click.option("--apply", "take_over", is_flag=True, help="Take the proposal over: codes and window of this trunk.")
@with_desk
def learn(desk: Desk, name: str, days: int, plot: Path | None, *, take_over: bool) -> None:
    """Read a trunk's history of codes, ring times and later answers, and propose its pre-connect window.

    Nothing is changed without --apply. It takes detection on answered calls, and numbers that were dialled more than once.
    """

    async def work(stores: Stores) -> tuple[Sequence[PastDial], TrunkStatus]:
        dials = await TrunkHistoryStore(database=stores.database).dials(name, days=days)
        return dials, await stores.trunks.get(name)

    dials, status = desk.run(work)
    proposals = propose(dials)
    good = [proposal for proposal in proposals if proposal.is_worth_it]
    change = _change(good)
    desk.answer(
        {
            "trunk": name,
            "days": days,
            "dials": len(dials),
            "codes": [asdict(proposal) for proposal in proposals],
            "proposal": None if change is None else _proposed(change),
            "applied": take_over and change is not None,
        }
    )
    desk.table(
        ("code", "rang, not answered", "known later", "window", "machines within", "says"),
        (_row(proposal) for proposal in proposals),
        right=frozenset({"rang, not answered", "known later"}),
    )
    if not proposals:
        desk.say(f"trunk {name}: no dial of the last {days} days rang and ended in a code that could mean voicemail")
    if plot is not None:
        draw(plot, title=f"trunk {name}, {len(dials):,} dials that rang, {days} days", dials=dials, proposals=proposals)
        desk.say(f"drawn: {plot}")
    if change is None:
        desk.say("no proposal: the rule stays as it is")
        return
    codes = " ".join(f"--preconnect-code {code}" for code in sorted(change.preconnect_voicemail_codes or ()))
    command = (
        f"orchestrator trunks set {name} --preconnect {codes} --min-ring {change.min_ring_s:g} --max-ring {change.max_ring_s:g}"
    )
    if take_over:
        desk.run(lambda stores: stores.trunks.update(name, change))
        desk.say(f"trunk {name}: taken over; before it was {_window(status)}")
    else:
        desk.say(f"proposal: `{command}` (now {_window(status)}); --apply does it")


def draw(path: Path, *, title: str, dials: Sequence[PastDial], proposals: Sequence[Proposal]) -> None:
    """Write a PNG: a histogram of ring times for each code, by who answered later, with the window. Raises BadInput."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise BadInput("pictures need matplotlib: install call-orchestrator[plots]") from error
    shown = list(proposals[:MOST_PLOTTED])
    figure = Figure(figsize=(11, 1.2 + 2.3 * max(1, len(shown))), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    axes = figure.subplots(max(1, len(shown)), 1, squeeze=False)[:, 0]
    longest_s = max((dial.ring_ms for dial in dials), default=10_000) / 1000 + 1
    bins = [second / 2 for second in range(int(2 * longest_s) + 2)]
    for axis, proposal in zip(axes, shown, strict=False):
        past = [dial for dial in dials if dial.sip_code == proposal.sip_code]
        groups = [[dial.ring_ms / 1000 for dial in past if dial.later_machine is who] for who in (True, False, None)]
        labels = ("a machine answered later", "a person answered later", "nobody has, or it is not known who")
        axis.hist(groups, bins=bins, stacked=True, label=labels, color=("#b3001b", "#2e7d32", "#c8c8c8"))
        if proposal.min_ring_s is not None and proposal.max_ring_s is not None:
            colour = "#33658a" if proposal.is_worth_it else "#999999"
            axis.axvspan(proposal.min_ring_s, proposal.max_ring_s, color=colour, alpha=0.15)
        said = "proposed" if proposal.is_worth_it else "not proposed"
        axis.set_title(f"{proposal.sip_code}: {said}; {proposal.why}", loc="left", fontsize=9)
        axis.set(xlim=(0, longest_s), ylabel="dials")
    axes[0].legend(fontsize=8, frameon=False)
    axes[-1].set_xlabel("seconds that it rang")
    try:
        figure.savefig(path, format="png", dpi=110)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror or error}") from error


def _change(good: Sequence[Proposal]) -> TrunkChange | None:
    """The window of the code with most dials, for it and for all codes whose own lies within it: a trunk has one window."""
    if not good:
        return None
    best = good[0]
    alike = [
        proposal.sip_code
        for proposal in good
        if _ring(proposal.min_ring_s) >= _ring(best.min_ring_s) - 1 and _ring(proposal.max_ring_s) <= _ring(best.max_ring_s) + 1
    ]
    return TrunkChange(
        preconnect_voicemail=True,
        preconnect_voicemail_codes=tuple(alike),
        min_ring_s=best.min_ring_s,
        max_ring_s=best.max_ring_s,
    )


def _ring(value_s: float | None) -> float:
    return 0.0 if value_s is None else value_s


def _proposed(change: TrunkChange) -> dict[str, object]:
    return {
        "preconnect_voicemail_codes": sorted(change.preconnect_voicemail_codes or ()),
        "min_ring_s": change.min_ring_s,
        "max_ring_s": change.max_ring_s,
    }


def _window(status: TrunkStatus) -> str:
    trunk = status.trunk
    if not trunk.preconnect_voicemail:
        return "switched off"
    codes = ", ".join(map(str, sorted(trunk.preconnect_voicemail_codes)))
    return f"{codes} after {trunk.min_ring_s:g} to {trunk.max_ring_s:g} s"


def _row(proposal: Proposal) -> tuple[str, ...]:
    window = "-" if proposal.min_ring_s is None else f"{proposal.min_ring_s:g} to {proposal.max_ring_s:g} s"
    share = proposal.machines
    shown = "-" if share is None else f"{share.share:.0%} ({share.low:.0%} to {share.high:.0%})"
    return (str(proposal.sip_code), f"{proposal.dials:,}", f"{proposal.known:,}", window, shown, proposal.why)
