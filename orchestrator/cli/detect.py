"""`orchestrator detect`: who or what answers in a recording, and why. Needs neither settings nor database.

The numerical libraries are loaded by this command only, when it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.desk import report
from orchestrator.cli.documents import text_of
from orchestrator.cli.exits import Exit
from orchestrator.errors import BadInput, Error
from sip.voicemail.events import DetectorSettings, Pace

if TYPE_CHECKING:
    from orchestrator.cli.hearing import Hearing
    from orchestrator.cli.recordings import Recording

PIPE = "-"


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Answer in JSON, for programs: an array, or with --follow one object a line."
)
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG", help="Draw the recording. One file only."
)
@click.option("--follow", is_flag=True, help="Tell each finding as soon as it is known. FILE is a pipe, - standard input.")
@click.option("--rate", default=8000, metavar="HZ", help="Of a pipe with bare 16-bit samples; WAV says its own. [8000]")
@click.option("--channel", type=click.IntRange(min=1), metavar="N", help="The channel to hear, from 1. Default: all, mixed.")
@click.option("--answered-at", default=0.0, metavar="S", help="When the call was answered; audio before is early media. [0]")
@click.option(
    "--sensitivity", default=0.5, type=click.FloatRange(0, 1), metavar="0..1", help="How readily to say machine. [0.5]"
)
@click.option("--pace", default="careful", type=click.Choice([pace.value for pace in Pace]), help="When to give verdicts.")
@click.pass_context
def detect(
    context: click.Context,
    *,
    files: tuple[str, ...],
    as_json: bool,
    plot: Path | None,
    follow: bool,
    rate: int,
    channel: int | None,
    answered_at: float,
    sensitivity: float,
    pace: str,
) -> None:
    """Tell who or what answers in recordings: the timeline and the verdict.

    Leaves with 3 if some of the files could not be read, with 2 if none could.
    """
    from orchestrator.cli.hearing import Hearing, document_of, line_of  # noqa: PLC0415  loads numerical libraries

    if len(files) > 1 and (plot or follow):
        raise click.UsageError("--plot and --follow take one file")
    settings = DetectorSettings(sensitivity=sensitivity, pace=Pace(pace))
    documents: list[dict[str, object]] = []
    refused: list[Exit] = []
    for name in files:
        try:
            recording = _open(name, follow=follow, rate_hz=rate, channel=channel)
            hearing = Hearing(recording, settings=settings, answered_at_s=answered_at, keep_trace=plot is not None)
            for event in hearing:
                if follow:
                    click.echo(text_of(document_of(event)) if as_json else line_of(event))
                    sys.stdout.flush()
            if plot is not None:
                from orchestrator.cli.picture import draw  # noqa: PLC0415  as above

                draw(plot, title=_title(hearing), detector=hearing.detector, events=hearing.events)
        except Error as error:
            refused.append(report(error, as_json=as_json))
            continue
        if follow:
            continue
        if as_json:
            documents.append(hearing.document())
        else:
            click.echo("\n".join(hearing.lines()))
    if as_json and not follow:
        click.echo(text_of(documents))
    if refused:
        context.exit(refused[0] if len(refused) == len(files) else Exit.PARTLY_REFUSED)


def _open(name: str, *, follow: bool, rate_hz: int, channel: int | None) -> Recording:
    from orchestrator.cli.recordings import open_file, open_pipe  # noqa: PLC0415  loads numerical libraries

    if not follow and name != PIPE:
        return open_file(Path(name), channel=channel)
    if name == PIPE:
        return open_pipe(sys.stdin.buffer, name="standard input", raw_rate_hz=rate_hz, channel=channel)
    try:
        stream = Path(name).open("rb", buffering=0)  # noqa: SIM115  read as it comes, and closed with the process
    except OSError as error:
        raise BadInput(f"{name}: cannot be read: {error.strerror or error}") from error
    return open_pipe(stream, name=name, raw_rate_hz=rate_hz, channel=channel)


def _title(hearing: Hearing) -> str:
    verdict = hearing.verdict
    said = "no verdict" if verdict is None else f"{verdict.kind.value} ({verdict.rule})"
    return f"{Path(hearing.recording.name).name}: {said}"
